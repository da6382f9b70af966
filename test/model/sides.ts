import { DrayError } from "../../pipeline/errors.ts";
import type { OutcomeDraft, OutcomeResult, OutcomeRow, OutcomeStore, ServerIdentity } from "../../pipeline/outcome.ts";
import type { Rules } from "./rules.ts";
import type { Process, Scheduler } from "./scheduler.ts";

export type SideName = "from" | "to";

const REPLICATION_MS = 10;

export function otherSide(side: SideName): SideName {
  return side === "from" ? "to" : "from";
}

/** A transaction as it stands in a database's stream. */
export type Transaction = {
  readonly kind: "application" | "applied" | "lost" | "sentinel" | "seal" | "reverse";
  readonly rows: readonly (readonly [key: string, value: number])[];
  /** The lane that applied it, or that the mark is for. */
  readonly lane: string | null;
  readonly markId: number | null;
  /** Of what a lane applied: its place in that lane's log. */
  readonly logIndex?: number;
};

/** An application's transaction that has not ended yet. */
export type OpenTransaction = { readonly node: string; isHung: "yes" | "no" };

/** One cluster's database of the tenant: rows, the stream of what was committed, and `dray.cutover`. */
export class Side {
  readonly name: SideName;
  #failovers = 0;
  readonly rows = new Map<string, number>();
  readonly stream: Transaction[] = [];
  readonly outcomes = new Map<number, OutcomeRow>();
  /** What stood once, though a failover may have lost it since. */
  readonly everCommitted = new Set<number>();
  readonly open = new Set<OpenTransaction>();
  /** Rows that the application overwrote behind the fence, against its own promise. */
  readonly spoiled = new Set<string>();
  /** Its candidate has every mark and outcome, and of what lanes applied all below this place of the stream. */
  #replicated = 0;
  #lackingSinceMs: number | null = null;
  #removedAt = 0;
  readonly #nowMs: () => number;

  constructor(name: SideName, nowMs: () => number) {
    this.name = name;
    this.#nowMs = nowMs;
  }

  get uuid(): string {
    return `${this.name}-${this.#failovers + 1}`;
  }

  commit(transaction: Transaction): void {
    this.stream.push(transaction);
    if (transaction.kind === "applied") this.#lackingSinceMs ??= this.#nowMs();
    for (const [key, value] of transaction.rows) this.rows.set(key, value);
  }

  /** An abort takes away what was copied. */
  removeRows(): void {
    this.rows.clear();
    this.#removedAt = this.stream.length;
  }

  /** Its candidate can go on: replication takes a moment. */
  get mayReplicate(): boolean {
    return this.#lackingSinceMs !== null && this.#nowMs() - this.#lackingSinceMs >= REPLICATION_MS;
  }

  get isCandidateBehind(): boolean {
    return this.#lackingSinceMs !== null;
  }

  hasReplicated(upTo: number): boolean {
    return this.#lackingSinceMs === null || this.#replicated >= upTo;
  }

  /** The candidate has executed all that there is by now. */
  replicate(): void {
    this.#replicated = this.stream.length;
    this.#lackingSinceMs = null;
  }

  /** The candidate takes over (C6): what it lacks was never applied there. Places in the stream stay what they are. */
  failOverToCandidate(): readonly Transaction[] {
    const lost = this.stream.slice(this.#replicated).filter(({ kind }) => kind === "applied");
    this.failOver([]);
    const kept = this.stream.map((each) => (lost.includes(each) ? { ...each, kind: "lost" as const, rows: [] } : each));
    this.stream.splice(0, this.stream.length, ...kept);
    this.replicate();
    this.rows.clear();
    for (const { rows } of this.stream.slice(this.#removedAt))
      for (const [key, value] of rows) this.rows.set(key, value);
    return lost;
  }

  /** Another server answers from now on; it may lack outcomes that this side decided last, as their home. */
  failOver(lost: readonly number[]): void {
    this.#failovers++;
    this.open.clear();
    for (const generation of lost) this.outcomes.delete(generation);
  }
}

/** `dray.cutover` of one side, over a connection that may fail. */
export class SimulatedOutcomes implements OutcomeStore {
  readonly #scheduler: Scheduler;
  readonly #process: Process;
  readonly #side: Side;
  readonly #rules: Rules;
  readonly #onInsert: (side: SideName, draft: OutcomeDraft) => void;

  constructor(options: {
    readonly scheduler: Scheduler;
    readonly process: Process;
    readonly side: Side;
    readonly rules: Rules;
    readonly onInsert: (side: SideName, draft: OutcomeDraft) => void;
  }) {
    this.#scheduler = options.scheduler;
    this.#process = options.process;
    this.#side = options.side;
    this.#rules = options.rules;
    this.#onInsert = options.onInsert;
  }

  readOutcomes(_move: string, signal: AbortSignal): Promise<readonly OutcomeRow[]> {
    const atServer = () => [...this.#side.outcomes.values()].sort((a, b) => a.generation - b.generation);
    return this.#scheduler.call(this.#process, `outcomes of ${this.#side.name}`, atServer, signal);
  }

  /** A lost answer is asked for by the same INSERT, as the MySQL store does; then it is unknown, and the caller's. */
  async insertOutcome(draft: OutcomeDraft, signal: AbortSignal): Promise<OutcomeResult> {
    const label = `${draft.outcome}(${draft.generation}) in ${this.#side.name}`;
    const send = () => this.#scheduler.call(this.#process, label, () => this.#insert(draft), signal);
    try {
      return await send().catch((error) => {
        if (signal.aborted || !(error instanceof DrayError) || error.code !== "MYSQL_UNREACHABLE") throw error;
        return send();
      });
    } catch (error) {
      if (error instanceof DrayError && error.code === "HOME_MOVED") throw error;
      throw new DrayError("OUTCOME_UNKNOWN", { generation: draft.generation }, error);
    }
  }

  serverIdentity(signal: AbortSignal): Promise<ServerIdentity> {
    const atServer = () => ({ uuid: this.#side.uuid, version: "", readOnly: false });
    return this.#scheduler.call(this.#process, `uuid of ${this.#side.name}`, atServer, signal);
  }

  #insert(draft: OutcomeDraft): OutcomeResult {
    const { outcomes, uuid, everCommitted, name } = this.#side;
    const { generation, outcome, homeUuid, facts, expectServerUuid } = draft;
    const row = outcomes.get(generation);
    if (row !== undefined && this.#rules.firstInsertWins === "yes") {
      return row.outcome === outcome ? { result: "already-same", row } : { result: "lost", row };
    }
    if (this.#rules.checksHomeUuid === "yes" && expectServerUuid !== null && expectServerUuid !== uuid) {
      throw new DrayError("HOME_MOVED", { expected: expectServerUuid, found: uuid });
    }
    outcomes.set(generation, { generation, outcome, homeUuid, facts });
    if (outcome === "COMMITTED") everCommitted.add(generation);
    this.#onInsert(name, draft);
    return { result: "won" };
  }
}
