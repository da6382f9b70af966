import { reasonOf } from "../pipeline/backoff.ts";
import type { Position } from "../pipeline/entry.ts";
import { DrayError } from "../pipeline/errors.ts";
import { checkTables, readKnown, readManifest } from "../pipeline/manifest-check.ts";
import { guessBelonging, writeManifest } from "../pipeline/manifest-init.ts";
import { hasErrors } from "../pipeline/preflight.ts";
import { type AdapterReport, testAdapter } from "./adapters/test-kit.ts";
import { AttemptRuns, isToBeEnded } from "./attempt-runs.ts";
import type { JournalEntry, NewMove } from "./control-store.ts";
import type { Direction } from "./direction.ts";
import { gatherEvidence } from "./evidence.ts";
import { beginFinish } from "./finish.ts";
import { notePreflight } from "./kept-facts.ts";
import { readLog, tablesOf } from "./log-lines.ts";
import type { Move } from "./move.ts";
import { abortMove, closeMove, resolveOwner } from "./move-end.ts";
import { MoveLease } from "./move-lease.ts";
import type {
  ActionResult,
  AdapterTestRequest,
  Caller,
  CutoverRequest,
  CutoverResult,
  Evidence,
  FinishRequest,
  FinishResult,
  LogLine,
  LogQuery,
  ManifestCheckRequest,
  MoveEvent,
  MoveRequest,
  MoveService,
  MoveStatus,
  PreflightReport,
  VerificationReport,
  VerifyRequest,
} from "./move-service.ts";
import { startMove } from "./move-start.ts";
import { moveStatus } from "./move-status.ts";
import { Pace } from "./pace.ts";
import { allowed, type Phase } from "./phases.ts";
import { preflightReport } from "./preflight-report.ts";
import { findUnknownAttempt } from "./reconcile.ts";
import type { ServiceParts } from "./service-parts.ts";
import { unrouted } from "./unrouted.ts";
import { askForPass, repairDifferences, verificationReport } from "./verification.ts";
import { rollbackFrom, wayBackFindings } from "./way-back.ts";

/** Kafka topics, file names and ASCII columns carry the name. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
/** Phases of a journal that may be older than the databases, as from a restored copy. */
const MAY_HIDE_AN_ATTEMPT: ReadonlySet<Phase> = new Set<Phase>([
  "copying",
  "streaming",
  "cutting-over",
  "rolling-back",
  "paused",
  "failed",
  "watching",
  "rolled-back",
]);
const RECONCILE_TIMEOUT_MS = 10_000;
type OnEvent = (event: MoveEvent) => void;

const SAMPLE_EVERY_MS = 1_000;
const WATCH_EVERY_MS = 500;

/** Everything an operator can ask for, over the moves of this server (K4). */
export class DrayService implements MoveService {
  readonly #parts: ServiceParts;
  readonly #moves = new Map<string, Move>();
  readonly #pace: Pace;
  readonly #life = new AbortController();
  readonly #leases = new Map<string, MoveLease>();
  readonly #attempts: AttemptRuns;

  private constructor(parts: ServiceParts) {
    this.#parts = parts;
    this.#pace = new Pace({ clock: parts.clock });
    this.#attempts = new AttemptRuns({ logger: parts.logger, life: this.#life.signal });
  }

  /** Takes up every move where the journal and the outcomes in the databases say it stands (C2). */
  static async open(parts: ServiceParts): Promise<DrayService> {
    const service = new DrayService(parts);
    for (const record of await parts.control.listMoves()) {
      const move = await parts.makeMove(record.name);
      service.#moves.set(move.name, move);
      await service.#lease(move);
      await move.takeUp();
      void service.#takeUp(move);
    }
    void service.#sample();
    return service;
  }

  /** Stops every lane and waits for what is under way; nothing is lost by not calling it. */
  async shutDown(): Promise<void> {
    this.#life.abort(new Error("the server stops"));
    await Promise.all([...this.#moves.values()].map((move) => move.stop()));
    await Promise.all([...this.#leases.values()].map((lease) => lease.release()));
  }

  async preflight(request: MoveRequest, _caller: Caller, signal: AbortSignal): Promise<PreflightReport> {
    const { manifest, findings } = readKnown(this.#parts.knownNames, request.manifest, request.manifestFile);
    if (manifest === null) return preflightReport({ request, file: findings, checks: [] });
    const checks = await this.#parts.check({ ...request, manifest, when: "preflight" }, signal);
    const back = wayBackFindings(await this.#parts.checkWayBack({ ...request, manifest }, signal), checks);
    return preflightReport({ request, file: findings, checks: [...checks, ...back] });
  }

  async start(
    request: MoveRequest & { readonly name: string | null },
    caller: Caller,
    signal: AbortSignal,
  ): Promise<ActionResult> {
    const { manifest, findings } = readKnown(this.#parts.knownNames, request.manifest, request.manifestFile);
    if (manifest === null) throw new DrayError("MANIFEST_INVALID", { findings });
    const name = request.name ?? `${manifest.name}-${request.tenant}`;
    if (!NAME.test(name)) throw new DrayError("MOVE_NAME_INVALID", { name });
    this.#requireFree(name, request.tenant);
    const checks = await this.#parts.check({ ...request, manifest, when: "preflight" }, signal);
    if (hasErrors(checks)) {
      throw new DrayError("PREFLIGHT_REFUSED", { ...preflightReport({ request, file: findings, checks }) });
    }
    const { tenant, from, to } = request;
    const { by } = caller;
    const wayBack = await this.#parts.checkWayBack({ ...request, manifest }, signal);
    const rollback = rollbackFrom(wayBack);
    const details = { rollback: { ...rollback } };
    const move = await this.#create({ name, manifest, tenant, from, to, phase: "planned", by, details });
    const found = preflightReport({
      request,
      file: findings,
      checks: [...checks, ...wayBackFindings(wayBack, checks)],
    }).findings;
    await move.command("start", by, async () => {
      await notePreflight(move, found, by);
      await startMove(move, by, signal);
    });
    return await this.#done(move, `${name} has started: the copy runs, and every change of the tenant is captured`);
  }

  async list(): Promise<readonly MoveStatus[]> {
    return await Promise.all([...this.#moves.values()].map((move) => moveStatus(move, this.#pace)));
  }

  async status(name: string): Promise<MoveStatus> {
    return await moveStatus(this.#move(name), this.#pace);
  }

  async *events(name: string, signal: AbortSignal): AsyncIterable<MoveEvent> {
    const both = AbortSignal.any([signal, this.#life.signal]);
    while (!both.aborted) {
      const move = this.#move(name);
      const status = await moveStatus(move, this.#pace);
      yield { type: "status", status };
      if (status.phase === "closed" || status.phase === "finished") return;
      await this.#changeOf(move, both);
    }
  }

  cutover(name: string, request: CutoverRequest, caller: Caller, onEvent: OnEvent): Promise<CutoverResult> {
    return this.#switch(name, "forward", request, caller, onEvent);
  }

  rollback(name: string, request: CutoverRequest, caller: Caller, onEvent: OnEvent): Promise<CutoverResult> {
    return this.#switch(name, "reverse", request, caller, onEvent);
  }

  async #switch(
    name: string,
    direction: Direction,
    request: CutoverRequest,
    { by }: Caller,
    onEvent: OnEvent,
  ): Promise<CutoverResult> {
    const result = await this.#attempts.run(this.#move(name), direction, request, by, onEvent);
    return { ...result, status: await this.status(name) };
  }

  async pause(name: string, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    await move.command("pause", by, () => move.pause(by));
    return await this.#done(move, "snapshot and apply stand still; capture goes on");
  }

  async resume(name: string, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    await move.command("resume", by, () => move.resume(by));
    return await this.#done(move, "snapshot and apply go on");
  }

  async retry(name: string, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    const isRouting = unrouted(move) !== null;
    await (isRouting ? this.#attempts.retryRouting(move, by) : move.command("retry", by, () => move.retry(by)));
    return await this.#done(
      move,
      isRouting ? "the routing calls were made again" : "what had stopped was started again",
    );
  }

  async skip(
    name: string,
    target: { readonly lane: string | null; readonly seq: number },
    { by }: Caller,
  ): Promise<ActionResult> {
    const move = this.#move(name);
    await move.command("skip", by, async () => {
      await move.skip(target.lane, target.seq, await tablesOf(move, target, this.#life.signal), by);
    });
    return await this.#done(move, `seq ${target.seq} counts as applied without being applied; copy its tables again`);
  }

  async recopy(name: string, table: string | null, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    await move.command("recopy", by, () => move.recopy(table, by, this.#life.signal));
    return await this.#done(move, table === null ? "every table is copied again" : `${table} is copied again`);
  }

  async verify(name: string, { table, repair }: VerifyRequest, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    return await move.command("verify", by, async () => {
      if (!repair) {
        await askForPass(move, table, by);
        return await this.#done(move, `${table ?? "everything"} is compared again, from end to end`);
      }
      const { ranges, tables } = await repairDifferences(move, by, this.#life.signal);
      const again = tables.length === 0 ? "" : `; ${tables.join(", ")} as a whole`;
      return await this.#done(move, `${ranges} ranges are copied again${again}, and then compared`);
    });
  }

  async verification(
    name: string,
    showValues: boolean,
    { by }: Caller,
    signal: AbortSignal,
  ): Promise<VerificationReport> {
    const move = this.#move(name);
    // Rows are shown to nobody before the journal says to whom (K5).
    if (showValues) await move.note("verify-values", {}, by);
    return await verificationReport(move, { showValues }, signal);
  }

  async resolve(name: string, owner: "from" | "to", { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    await this.#attempts.letGo(move);
    await move.command("resolve", by, () => resolveOwner(move, owner, by, this.#life.signal));
    return await this.#done(move, `the tenant lives in ${owner === "to" ? "the target" : "the source"}`);
  }

  async abort(name: string, { by }: Caller): Promise<ActionResult> {
    const move = this.#move(name);
    await move.command("abort", by, () => abortMove(move, by, this.#life.signal));
    return await this.#done(move, "the move is aborted; the copied rows are gone from the target");
  }

  async close(name: string, { by }: Caller): Promise<ActionResult & { readonly sql: readonly string[] }> {
    const move = this.#move(name);
    await this.#attempts.leaveFinish(move);
    const sql = await move.command("close", by, () => closeMove(move, by));
    return { ...(await this.#done(move, "reader, lanes, log and watch are released; the source's rows stay")), sql };
  }

  async finish(name: string, request: FinishRequest, { by }: Caller, signal: AbortSignal): Promise<FinishResult> {
    const move = this.#move(name);
    const result = await move.command("finish", by, () => beginFinish(move, request, by, signal));
    this.#attempts.recover(move);
    return { ...result, status: await this.status(name) };
  }

  async journal(name: string, afterSeq: number): Promise<readonly JournalEntry[]> {
    return await this.#move(name).context.journal.entries(afterSeq);
  }

  async evidence(name: string, signal: AbortSignal): Promise<Evidence> {
    return await gatherEvidence(this.#move(name), this.#parts.about, signal);
  }

  async *log(name: string, query: LogQuery, { by }: Caller, signal: AbortSignal): AsyncIterable<LogLine> {
    const move = this.#move(name);
    // Rows are shown to nobody before the journal says to whom (K5).
    if (query.bodies)
      await move.note("log-bodies", { lane: query.lane, afterSeq: query.afterSeq, limit: query.limit }, by);
    yield* readLog(move, query, signal);
  }

  async manifestInit(cluster: string, schemas: readonly string[], signal: AbortSignal) {
    const live = await this.#parts.liveTables(cluster, schemas, signal);
    const text = writeManifest(schemas[0] ?? cluster, guessBelonging(live));
    return { manifest: text, findings: readManifest({ text, file: "manifest.yaml" }).findings };
  }

  async manifestCheck(request: ManifestCheckRequest, signal: AbortSignal) {
    const read = readKnown(this.#parts.knownNames, request.manifest, request.manifestFile);
    if (read.manifest === null || request.cluster === null) return { findings: read.findings };
    const schemas = read.manifest.stores.flatMap((store) => store.schemas.map(({ source }) => source));
    const live = await this.#parts.liveTables(request.cluster, schemas, signal);
    return { findings: [...read.findings, ...checkTables(read.manifest, live, read.locate)] };
  }

  async adapterTest(request: AdapterTestRequest, _caller: Caller, signal: AbortSignal): Promise<AdapterReport> {
    const adapter = this.#parts.httpAdapter(request.adapter);
    return await testAdapter({ adapter, tenant: request.tenant, to: request.to, move: "dray-adapter-test", signal });
  }

  /** Of all lanes that begin at a cluster, running or not; none where one is not known (M1). */
  lanePositions(cluster: string): readonly Position[] {
    const positions = [...this.#moves.values()].flatMap((move) => {
      const { from, to } = move.context.journal.move;
      const here = move.lanes.all.filter(({ direction }) => (direction === "forward" ? from : to) === cluster);
      return here.map(({ runtime }) => runtime.durablePosition);
    });
    const known = positions.filter((position) => position !== null);
    return known.length === positions.length ? known : [];
  }

  #move(name: string): Move {
    const move = this.#moves.get(name);
    if (move === undefined) throw new DrayError("MOVE_UNKNOWN", { move: name, known: [...this.#moves.keys()] });
    return move;
  }

  /** A name belongs to one tenant, and to one move at a time: it is free again once that has ended. */
  #requireFree(name: string, tenant: string): Move | null {
    const earlier = this.#moves.get(name);
    if (earlier === undefined) return null;
    const { phase } = earlier;
    const isFree = allowed(phase).includes("start-again") && earlier.context.journal.move.tenant === tenant;
    if (!isFree) throw new DrayError("MOVE_EXISTS", { name, phase, tenant: earlier.context.journal.move.tenant });
    return earlier;
  }

  async #create(draft: NewMove): Promise<Move> {
    const { control, makeMove } = this.#parts;
    const { name, by } = draft;
    const earlier = this.#requireFree(name, draft.tenant);
    const create = async () => {
      if (earlier === null) await control.createMove(draft);
      else await earlier.giveWayTo(draft);
      await this.#leases.get(name)?.release();
      const move = await makeMove(name);
      this.#moves.set(name, move);
      await this.#lease(move);
      return move;
    };
    // Of two that begin again at once the second is told: by the first's command, or by the phase it finds.
    return await (earlier === null ? create() : earlier.command("start", by, create));
  }

  async #done(move: Move, done: string): Promise<ActionResult> {
    return { done, status: await moveStatus(move, this.#pace) };
  }

  async #lease(move: Move): Promise<void> {
    const { control, clock, installationId: holder, leaseMs: ttlMs, logger } = this.#parts;
    const onLost = (error: unknown) => {
      logger.error({ move: move.name, error: reasonOf(error) }, "another process has taken this move over");
      void move.stop();
    };
    this.#leases.set(move.name, await MoveLease.take({ control, move: move.name, holder, ttlMs, clock, onLost }));
  }

  /** C2: the databases and adapters are asked first; a move whose servers do not answer runs, and is asked before a fence. */
  async #takeUp(move: Move): Promise<void> {
    const { logger } = this.#parts;
    if (MAY_HIDE_AN_ATTEMPT.has(move.phase)) {
      const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(RECONCILE_TIMEOUT_MS)]);
      await findUnknownAttempt(move, signal).catch((error: unknown) => {
        logger.warn({ move: move.name, error: reasonOf(error) }, "outcomes could not be read at the start");
      });
    }
    if (this.#life.signal.aborted) return;
    // What is removed at the source is watched meanwhile.
    if (move.phase === "finishing") move.run();
    if (isToBeEnded(move.phase)) this.#attempts.recover(move);
    else move.run();
  }

  async #sample(): Promise<void> {
    const { signal } = this.#life;
    while (!signal.aborted) {
      for (const move of this.#moves.values()) {
        for (const { source, runtime } of move.lanes.all) this.#pace.sample(source.lane, runtime.state());
      }
      await this.#parts.clock.sleep(SAMPLE_EVERY_MS, signal).catch(() => {});
    }
  }

  /** The next change of phase or details, or half a second: numbers move all the time. */
  async #changeOf(move: Move, signal: AbortSignal): Promise<void> {
    const waited = new AbortController();
    const stop = move.onChange(() => waited.abort(new Error("changed")));
    await this.#parts.clock.sleep(WATCH_EVERY_MS, AbortSignal.any([signal, waited.signal])).catch(() => {});
    stop();
  }
}
