import type {
  ActionResult,
  AdapterReport,
  Caller,
  CutoverRequest,
  CutoverResult,
  Evidence,
  FileFinding,
  FinishRequest,
  FinishResult,
  JournalEntry,
  LogLine,
  MoveEvent,
  MoveService,
  MoveStatus,
  PreflightReport,
  VerificationReport,
  VerificationStatus,
} from "../../cutover/move-service.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { plainEvidence } from "./plain-evidence.ts";

const TABLE = {
  covered: true,
  rowsVerified: 3_000,
  dirtyKeys: 2,
  differences: 0,
  moreDiffer: false,
  passUnderWay: false,
};
const VERIFIED: VerificationStatus = {
  ...TABLE,
  coverage: 1,
  rowsCompared: 3_002,
  tables: [{ ...TABLE, table: "shop.users", rowsCopied: 3_000 }],
};

/**
 * A MoveService without databases, for tests of the API and the command line alone: it keeps moves in memory, remembers
 * who asked for what, and answers as a test sets it. The product's own service is tried by the whole-move tests.
 */
export class MemoryService implements MoveService {
  readonly moves = new Map<string, MoveStatus>();
  readonly asked: unknown[][] = [];
  outcome: CutoverResult["outcome"] = "committed";
  preflightPasses = true;
  adapterPasses = true;
  differing = false;
  /** Thrown by the next call that acts. */
  failure: Error | null = null;
  /** Held until it is called, where a test sets it. */
  beforeResult: Promise<void> = Promise.resolve();
  cutoversEnded = 0;
  watching = 0;

  async preflight(request: unknown, caller: Caller): Promise<PreflightReport> {
    this.#note("preflight", request, caller);
    const finding = {
      id: "mysql.binlog-format",
      severity: this.preflightPasses ? ("info" as const) : ("error" as const),
      subject: "eu1 binlog_format",
      finding: "binlog_format is STATEMENT",
      remedy: "Set it to ROW.",
      fixSql: ["SET PERSIST binlog_format = 'ROW'"],
      fixOn: "eu1",
      rule: "M8",
    };
    return { passed: this.preflightPasses, findings: [finding], next: ["dray start"] };
  }

  async start(request: Parameters<MoveService["start"]>[0], caller: Caller): Promise<ActionResult> {
    this.#note("start", request, caller);
    const move = request.name ?? `shop-${request.tenant}`;
    if (this.moves.has(move)) throw new DrayError("MOVE_EXISTS", { move });
    const { tenant, from, to } = request;
    const status: MoveStatus = {
      ...{ move, manifest: "shop", tenant, from, to, phase: "copying", generation: 0, alarms: [], problem: null },
      ...{ lanes: [lane(move)], attempt: null, finish: null, next: [`dray status ${move} --watch`] },
      ...{
        verification: "100% verified (3000 rows), 2 dirty keys, 0 differences",
        accepted: null,
        rollback: "unavailable (not in this version)",
      },
    };
    this.moves.set(move, status);
    return { done: `${move} has started`, status };
  }

  async list(): Promise<readonly MoveStatus[]> {
    return [...this.moves.values()];
  }

  async status(move: string): Promise<MoveStatus> {
    const status = this.moves.get(move);
    if (status === undefined) throw new DrayError("MOVE_UNKNOWN", { move });
    return status;
  }

  async *events(move: string, signal: AbortSignal): AsyncGenerator<MoveEvent> {
    yield { type: "status", status: await this.status(move) };
    this.watching += 1;
    try {
      yield { type: "step", step: "gate", state: "done", atMs: 1, facts: {} };
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    } finally {
      this.watching -= 1;
    }
  }

  async cutover(
    move: string,
    request: CutoverRequest,
    caller: Caller,
    onEvent: (event: MoveEvent) => void,
  ): Promise<CutoverResult> {
    this.#note("cutover", move, request, caller);
    const status = await this.status(move);
    onEvent({ type: "step", step: "fence", state: "started", atMs: 1, facts: { adapter: "router" } });
    onEvent({ type: "step", step: "fence", state: "done", atMs: 5, facts: {} });
    await this.beforeResult;
    this.cutoversEnded += 1;
    return {
      outcome: request.dryRun ? "would-run" : this.outcome,
      generation: request.dryRun ? null : 1,
      gate: [{ name: "lag", verdict: "yes", value: "0.004 s", limit: "1 s" }],
      steps: [{ step: "fence", startedMs: 0, tookMs: 4.25 }],
      predicted: [{ step: "fence", ms: 5, how: "measured" }],
      pauseMs: request.dryRun ? null : 12.5,
      reason: null,
      status,
    };
  }

  rollback = (move: string, request: CutoverRequest, caller: Caller, onEvent: (event: MoveEvent) => void) =>
    this.cutover(move, request, caller, onEvent);
  pause = (move: string, caller: Caller) => this.#act("pause", move, caller);
  resume = (move: string, caller: Caller) => this.#act("resume", move, caller);
  retry = (move: string, caller: Caller) => this.#act("retry", move, caller);
  abort = (move: string, caller: Caller) => this.#act("abort", move, caller);
  skip = (move: string, target: unknown, caller: Caller) => this.#act("skip", move, target, caller);
  recopy = (move: string, table: string | null, caller: Caller) => this.#act("recopy", move, table, caller);
  verify = (move: string, request: unknown, caller: Caller) => this.#act("verify", move, request, caller);
  resolve = (move: string, owner: string, caller: Caller) => this.#act("resolve", move, owner, caller);

  async verification(move: string, showValues: boolean, caller: Caller): Promise<VerificationReport> {
    this.#note("verification", move, showValues, caller);
    const { from: source, to: target } = await this.status(move);
    const values = showValues ? { name: { source: "a", target: null } } : null;
    const place = { lane: `${move}.main.f1`, source, target, table: "shop.users", key: "id=5", seq: 9, foundAtMs: 0 };
    return {
      lanes: [{ lane: `${move}.main.f1`, ...VERIFIED }],
      differences: this.differing ? [{ ...place, values, kind: "differing", columns: ["name"] }] : [],
    };
  }

  async close(move: string, caller: Caller): Promise<ActionResult & { readonly sql: readonly string[] }> {
    return { ...(await this.#act("close", move, caller)), sql: ["DELETE FROM shop.users WHERE tenant_id = 'acme'"] };
  }

  async finish(move: string, request: FinishRequest, caller: Caller): Promise<FinishResult> {
    this.#note("finish", move, request, caller);
    const gate = [{ name: "retention", verdict: "yes" as const, value: "200.0 h since the cutover", limit: "168 h" }];
    const rows = { "shop.users": 3_000 };
    if (request.dryRun) return { outcome: "would-run", gate, rows, status: await this.status(move) };
    const left = { left: ["shop.users id=7"], rowsLeft: { "shop.users": 1 } };
    const done = { stage: "done" as const, rowsRemoved: rows, ...left, reason: null };
    this.moves.set(move, { ...(await this.status(move)), phase: "finished", finish: done });
    return { outcome: "begun", gate, rows, status: await this.status(move) };
  }

  async journal(move: string, afterSeq: number): Promise<readonly JournalEntry[]> {
    await this.status(move);
    const entry = { move, seq: 1, atMs: 0, from: "", event: "create", to: "planned", facts: {}, by: "ann" };
    return [entry].filter(({ seq }) => seq > afterSeq);
  }

  /** What each test tells of a move; the parts are those of a move that has just begun. */
  async evidence(move: string): Promise<Evidence> {
    this.#note("evidence", move);
    const { tenant, from, to, phase } = await this.status(move);
    return plainEvidence({ move, tenant, from, to, phase, journal: await this.journal(move, 0) });
  }

  async *log(move: string, query: unknown, caller: Caller): AsyncGenerator<LogLine> {
    this.#note("log", move, query, caller);
    await this.status(move);
    const { bodies } = query as { bodies: boolean };
    const base = { lane: `${move}.main.f1`, kind: "changes", tables: { "shop.users": "+1" }, position: "u:1-5" };
    yield { ...base, seq: 1, committedAtMs: 0, storedBytes: 80, body: bodies ? { rows: [[1]] } : null };
  }

  async manifestInit(
    cluster: string,
    schemas: readonly string[],
  ): Promise<{ manifest: string; findings: FileFinding[] }> {
    this.#note("manifestInit", cluster, schemas);
    return { manifest: "name: shop\n", findings: [] };
  }

  async manifestCheck(request: unknown): Promise<{ findings: FileFinding[] }> {
    this.#note("manifestCheck", request);
    const place = "shop.yaml:7:9";
    const remedy = "Add the line: users: {column: tenant_id}";
    return { findings: [{ severity: "error", place, message: "table `shop.users` is not classified", remedy }] };
  }

  async adapterTest(request: unknown, caller: Caller): Promise<AdapterReport> {
    this.#note("adapterTest", request, caller);
    const verdict = this.adapterPasses ? "passed" : "failed";
    const remedy = this.adapterPasses ? null : "Answer PUT with 200.";
    return { passed: this.adapterPasses, checks: [{ id: "fence", rule: "C4", verdict, finding: "200", remedy }] };
  }

  async #act(name: string, move: string, ...more: unknown[]): Promise<ActionResult> {
    this.#note(name, move, ...more);
    return { done: `${name} done`, status: await this.status(move) };
  }

  #note(...call: unknown[]): void {
    this.asked.push(call);
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }
}

function lane(move: string): MoveStatus["lanes"][number] {
  const table = { table: "shop.users", state: "copying" as const, rowsCopied: 1_500, rowsEstimated: 3_000 };
  return {
    ...{
      lane: `${move}.main.f1`,
      store: "main",
      role: "active",
      capture: "shared",
      apply: "running",
      position: "u:1-5",
    },
    ...{ tailSeq: 12, watermark: 10, lagSeconds: 0.25, headroomSeconds: 7_200, tables: [table] },
    ...{
      rowsPerSecond: 500,
      bytesPerSecond: 1_048_576,
      etaSeconds: 3,
      waiting: ["copy: threads 41 > 40"],
      verification: VERIFIED,
      problem: null,
    },
  };
}
