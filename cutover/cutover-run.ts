import type { Blocker } from "../connectors/source-control.ts";
import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import { Attempt, type AttemptResult } from "./attempt.ts";
import { CommitPoint, isCommitted, type Outcomes } from "./commit-point.ts";
import type { JsonObject } from "./control-store.ts";
import type { Fencing } from "./fencing.ts";
import { closedConditions, evaluateGate } from "./gate.ts";
import type { AttemptNote, Move } from "./move.ts";
import type { CutoverRequest, CutoverResult, GateCondition, MoveEvent } from "./move-service.ts";
import type { StepName } from "./timeline.ts";

export type RunResult = Omit<CutoverResult, "status">;

/** C11: what the pause may take where nobody says otherwise, besides the grace and the adapters' timeouts. */
const DEFAULT_PAUSE_MS = 1_000;

/** `dray cutover`: the gate, then one attempt. */
export async function runCutover(
  move: Move,
  request: CutoverRequest,
  by: string,
  onEvent: (event: MoveEvent) => void,
  forward: AbortSignal,
): Promise<RunResult> {
  move.require("attempt");
  const { context } = move;
  const { manifest } = context.journal.move;
  const fencing = context.fencing();
  const maxLagSeconds = request.maxLagSeconds ?? manifest.cutover.maxLagSeconds;
  const maxPauseMs =
    request.maxPauseMs ?? manifest.cutover.maxPauseMs ?? DEFAULT_PAUSE_MS + manifest.fence.graceMs + fencing.timeoutsMs;
  const gate = await evaluateGate(
    {
      lanes: move.lanes.runtimes,
      fencing,
      maxLagSeconds,
      heartbeats: manifest.cutover.heartbeats,
      maxPauseMs,
      skipped: move.details.skipped.filter(({ tables }) => tables.length > 0).map(({ seq }) => seq),
      blockers: (signal) => blockers(move, signal),
      recheck: (signal) => recheck(move, signal),
    },
    forward,
  );
  onEvent({ type: "gate", gate });
  const closed = closedConditions(gate);
  const nothing = { generation: null, gate, steps: [], pauseMs: null };
  if (closed.length > 0) {
    const reason = closed.map(({ name, value }) => `${name}: ${value}`).join("; ");
    return { ...nothing, outcome: "refused", reason };
  }
  if (request.dryRun) return { ...nothing, outcome: "would-run", reason: null };
  const generation = await takeGeneration(move, fencing, by, forward);
  const attempt = await openAttempt(move, fencing, generation, maxPauseMs, onEvent, forward);
  return await finish(move, generation, gate, await withPriority(move, () => attempt.run(forward)));
}

/** M9: behind a fence, the tenant's lanes wait for nobody else's. */
async function withPriority<T>(move: Move, work: () => Promise<T>): Promise<T> {
  const releases = move.lanes.all.map(({ store, source }) => store.pair.connector.prioritise(source.lane));
  try {
    return await work();
  } finally {
    for (const release of releases) release();
  }
}

/** C2: an attempt that a crash cut short is brought to its end, forward or back; only then do its lanes run again. */
export async function recoverCutover(move: Move, signal: AbortSignal): Promise<RunResult> {
  const note = move.details.attempt;
  const generation = note?.generation ?? move.context.journal.move.generation;
  const fencing = move.context.fencing();
  const attempt = await openAttempt(move, fencing, generation, DEFAULT_PAUSE_MS, () => {}, signal, note);
  const result = await attempt.recover(signal);
  move.run();
  return await finish(move, generation, [], result);
}

/** C2: 1 + the highest that the control store, both sides' outcomes or any adapter knows; journalled before the fence. */
async function takeGeneration(move: Move, fencing: Fencing, by: string, signal: AbortSignal): Promise<number> {
  const { journal, probe } = move.context;
  const point = commitPoint(move, () => {});
  const outcomes = await point.read(signal);
  refuseCommitted(move, outcomes);
  const generation = await journal.raiseGeneration(
    Math.max(...outcomes.keys(), await fencing.highestGeneration(signal)),
  );
  // A process that works on a copy of our memory may be about to commit a lower one, whose routes our fence would refuse.
  await point.settle(generation - 1, outcomes, { by, because: generation }, signal);
  await move.advance("attempt", { generation }, by);
  await probe("cutover.attempt-journalled");
  return generation;
}

async function openAttempt(
  move: Move,
  fencing: Fencing,
  generation: number,
  maxPauseMs: number,
  onEvent: (event: MoveEvent) => void,
  signal: AbortSignal,
  note: AttemptNote | "new" | null = "new",
): Promise<Attempt> {
  const { context } = move;
  const { sourceControl } = home(move).pair;
  // Of an attempt that is recovered, which server was the home is what its note says, or nobody knows it (C1).
  const homeUuid =
    note === "new" ? (await sourceControl.outcomes.serverIdentity(signal)).uuid : (note?.homeUuid ?? null);
  // Durable before the first fence call: a process that takes this over knows which server was the home (C1).
  await move.setDetails({ attempt: running(generation, homeUuid) });
  const onHeld = (step: StepName, error: Error) => {
    raiseHeld(move, generation, step, error).catch((failure: unknown) => {
      // It is told again as long as it holds.
      context.logger.error({ move: move.name, step, error: reasonOf(failure) }, "an alarm could not be kept");
    });
  };
  return new Attempt({
    generation,
    lanes: move.lanes.runtimes,
    fencing,
    commitPoint: commitPoint(move, (side, error) => onHeld(side === "home" ? "commit" : "route", error)),
    quiesce: (deadlineMs, each) => quiesce(move, deadlineMs, each),
    homeUuid,
    maxPauseMs,
    routePatienceMs: context.settings.routePatienceMs,
    clock: context.clock,
    probe: context.probe,
    onStep: ({ step, state, atMs }) => onEvent({ type: "step", step, state, atMs, facts: {} }),
    onHeld,
    onCommitted: async () => {
      await move.advance("committed", { generation }, "server");
    },
  });
}

async function finish(
  move: Move,
  generation: number,
  gate: readonly GateCondition[],
  result: AttemptResult,
): Promise<RunResult> {
  const { alarms, logger } = move.context;
  const reason = result.error === null || result.error === undefined ? null : reasonOf(result.error);
  const code = isDrayError(result.error) ? result.error.code : null;
  const facts: JsonObject = {
    generation,
    pauseMs: Math.round(result.pauseMs),
    adapterMs: Math.round(result.adapterMs),
    repeats: result.repeats,
    decidedIn: result.decidedIn,
    reason,
    steps: result.steps.map(({ step, startedMs, tookMs }) => ({ step, startedMs, tookMs })),
  };
  const committed = result.outcome !== "aborted";
  const note = {
    ...running(generation, move.details.attempt?.homeUuid ?? null),
    outcome: committed ? ("committed" as const) : ("aborted" as const),
    step: result.steps.at(-1)?.step ?? "gate",
    reason,
    steps: result.steps,
    decidedIn: result.decidedIn,
    pauseMs: result.pauseMs,
    adapterMs: result.adapterMs,
  };
  await move.setDetails({ attempt: note });
  await alarms.clear(move.name, "CUTOVER_HELD");
  if (result.outcome === "committed") {
    await alarms.clear(move.name, "ROUTE_AMBIGUOUS");
    await move.setDetails({ problem: null });
    await move.advance("routed", facts, "server");
  } else if (result.outcome === "aborted") {
    await move.advance("attempt-aborted", facts, "server");
    await move.settle();
  } else {
    const error = result.error instanceof DrayError ? result.error : new DrayError("INTERNAL", {}, result.error);
    await move.setDetails({ problem: { code: error.code, message: error.message, facts: error.facts as JsonObject } });
    await alarms.raise(move.name, error.code, error.message, facts);
    await move.advance("ambiguous", facts, "server");
  }
  logger.info({ move: move.name, ...facts, code }, `cutover ${generation}: ${result.outcome}`);
  return { outcome: result.outcome, generation, gate, steps: result.steps, pauseMs: result.pauseMs, reason };
}

function running(generation: number, homeUuid: string | null): AttemptNote {
  return {
    generation,
    outcome: "running",
    step: "fence",
    reason: null,
    steps: [],
    decidedIn: "home",
    homeUuid,
    pauseMs: null,
    adapterMs: null,
  };
}

export function commitPoint(move: Move, onHeld: (side: "home" | "target", error: Error) => void): CommitPoint {
  const { sourceControl, targetControl } = home(move).pair;
  return new CommitPoint({
    move: move.name,
    home: sourceControl.outcomes,
    target: targetControl.outcomes,
    clock: move.context.clock,
    probe: move.context.probe,
    earlier: move.details.earlier,
    onHeld,
  });
}

/** C2: whatever this process remembers, a move that COMMITTED goes forward only. */
export function refuseCommitted(move: Move, outcomes: Outcomes): void {
  for (const [generation, rows] of outcomes) {
    if (!isCommitted(rows)) continue;
    throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation });
  }
}

/** C1: the manifest's first store with a log. */
function home(move: Move) {
  const [first] = move.context.stores;
  if (first === undefined) throw new Error(`${move.name} has no store`);
  return first;
}

async function blockers(move: Move, signal: AbortSignal): Promise<readonly Blocker[]> {
  const found = await Promise.all(
    move.lanes.all.map(({ store, source }) => store.pair.sourceControl.blockers(source.tables, signal)),
  );
  return found.flat();
}

async function quiesce(move: Move, deadlineMs: number, signal: AbortSignal): Promise<void> {
  await Promise.all(
    move.lanes.all.map(({ store, source }) => store.pair.sourceControl.quiesce(source.tables, { deadlineMs, signal })),
  );
}

async function recheck(move: Move, signal: AbortSignal) {
  const { tenant, manifest } = move.context.journal.move;
  const fencedSchemas = manifest.fence.steps.flatMap((step) => (step.kind === "adapter" ? [] : [step.schema]));
  const found = await Promise.all(
    move.context.stores.map(({ definition, pair }) =>
      pair.check({ store: definition, tenant, fencedSchemas, consents: manifest.consents, when: "gate" }, signal),
    ),
  );
  return found.flat();
}

async function raiseHeld(move: Move, generation: number, step: StepName, error: Error): Promise<void> {
  const code = isDrayError(error) ? error.code : "INTERNAL";
  const message = `cutover ${generation} is held in ${step}, the tenant waits: ${reasonOf(error)}`;
  await move.context.alarms.raise(move.name, "CUTOVER_HELD", message, { generation, step, code });
}

/** Everything that `dray retry` does for a cutover whose routing stayed ambiguous: the calls are made again. */
export async function retryRouting(move: Move, by: string): Promise<RunResult> {
  const note = move.details.attempt;
  if (note === null) throw new DrayError("ILLEGAL_STEP", { move: move.name, phase: move.phase, event: "retry" });
  await move.advance("retry-routing", { generation: note.generation }, by);
  const { signal } = new AbortController();
  return await withBackoff(() => recoverCutover(move, signal), { signal, onRetry: () => {} });
}
