import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import { Attempt, type AttemptOptions, type AttemptResult } from "./attempt.ts";
import { closedConditions } from "./conditions.ts";
import { candidateStates, confirmTargets } from "./confirm-targets.ts";
import type { JsonObject } from "./control-store.ts";
import type { Direction } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import { type CountedLane, evaluateGate, evaluateVerification } from "./gate.ts";
import { noteGate } from "./kept-facts.ts";
import type { AttemptNote, Move } from "./move.ts";
import type { CutoverRequest, CutoverResult, GateCondition, MoveEvent, PredictedStep } from "./move-service.ts";
import { beside, predictPause } from "./prediction.ts";
import {
  blockersOf,
  commitPoint,
  homeOf,
  lanesOf,
  quiesceAll,
  recheck,
  requireLivesAt,
  storesWithoutLane,
} from "./switch-parts.ts";
import type { StepName } from "./timeline.ts";
import { routingSettled, unrouted } from "./unrouted.ts";
import { judgeWayBack, markBeginnings, rollbackWords, startCarrying, switchLanes } from "./way-back.ts";

export type RunResult = Omit<CutoverResult, "status">;

const ATTEMPT = { forward: "attempt", reverse: "attempt-back" } as const;
const RETRY_ROUTING = { forward: "retry-routing", reverse: "retry-routing-back" } as const;

type Plan = Pick<AttemptOptions, "direction" | "generation" | "maxPauseMs" | "accepted">;

/** C11: what the pause may take where nobody says otherwise, besides the grace and the adapters' timeouts. */
const DEFAULT_PAUSE_MS = 1_000;

/** `dray cutover`, and `dray rollback` with the roles swapped (C8): the gate, then one attempt. */
export async function runCutover(
  move: Move,
  direction: Direction,
  request: CutoverRequest,
  by: string,
  onEvent: (event: MoveEvent) => void,
  forward: AbortSignal,
): Promise<RunResult> {
  move.require(ATTEMPT[direction]);
  const { context } = move;
  const { manifest, from, to } = context.journal.move;
  const fencing = context.fencing(direction);
  const maxLagSeconds = request.maxLagSeconds ?? manifest.cutover.maxLagSeconds;
  const maxPauseMs =
    request.maxPauseMs ?? manifest.cutover.maxPauseMs ?? DEFAULT_PAUSE_MS + manifest.fence.graceMs + fencing.timeoutsMs;
  const counts: CountedLane[] = [];
  const gate = await evaluateGate(
    {
      lanes: move.lanes.runtimes,
      without: storesWithoutLane(move, direction).map((store) => ({ store, why: rollbackWords(move) })),
      fencing,
      maxLagSeconds,
      heartbeats: manifest.cutover.heartbeats,
      maxPauseMs,
      skipped: move.details.skipped.filter(({ tables }) => tables.length > 0).map(({ seq }) => seq),
      blockers: (signal) => blockersOf(move, direction, signal),
      recheck: (signal) => recheck(move, direction, signal),
      to: direction === "forward" ? to : from,
      candidates: (withinMs, signal) => candidateStates(move, direction, withinMs, signal),
      wayBack: (signal) => judgeWayBack(move, signal),
      onCounted: (each) => counts.push(each),
    },
    forward,
  );
  const { predicted, condition } = await predictedWithin(move, direction, fencing, maxPauseMs, gate, forward);
  const { acceptUnverified } = request;
  const limits = { maxPauseMs, acceptUnverified };
  const { conditions, accepted } = await evaluateVerification(move.lanes.runtimes, limits, forward);
  const asked = [...gate, ...condition, ...conditions];
  onEvent({ type: "gate", gate: asked });
  const closed = closedConditions(asked);
  const nothing = { generation: null, gate: asked, steps: [], predicted, pauseMs: null };
  if (closed.length > 0) {
    const reason = closed.map(({ name, value }) => `${name}: ${value}`).join("; ");
    return { ...nothing, outcome: "refused", reason };
  }
  if (request.dryRun) return { ...nothing, outcome: "would-run", reason: null };
  const without = storesWithoutLane(move, direction);
  if (without.length > 0) throw new DrayError("LANES_MISSING", { move: move.name, direction, stores: without });
  await noteGate(move, { direction, conditions: asked, counts, predicted, maxPauseMs }, by);
  await noteAccepted(move, asked, by);
  const generation = await takeGeneration(move, direction, fencing, by, forward);
  const plan = { direction, generation, maxPauseMs, accepted };
  const attempt = await openAttempt(move, fencing, plan, onEvent, forward);
  return await finish(move, plan, { gate: asked, predicted }, await withPriority(move, () => attempt.run(forward)));
}

/** C11: asked where nothing else stands in the way, for measuring takes the target's time. */
async function predictedWithin(
  move: Move,
  direction: Direction,
  fencing: Fencing,
  maxPauseMs: number,
  gate: readonly GateCondition[],
  signal: AbortSignal,
): Promise<{ readonly predicted: readonly PredictedStep[]; readonly condition: readonly GateCondition[] }> {
  if (closedConditions(gate).length > 0) return { predicted: [], condition: [] };
  const name = "predicted pause";
  const limit = `${maxPauseMs} ms`;
  try {
    const { steps, totalMs } = await predictPause(move, direction, fencing, signal);
    const verdict = totalMs <= maxPauseMs ? "yes" : "no";
    return { predicted: steps, condition: [{ name, verdict, value: `${totalMs.toFixed(0)} ms`, limit }] };
  } catch (error) {
    signal.throwIfAborted();
    return { predicted: [], condition: [{ name, verdict: "unknown", value: reasonOf(error), limit }] };
  }
}

/** What a person answers for stands in every later line about the move: only another acceptance takes its place. */
async function noteAccepted(move: Move, gate: readonly GateCondition[], by: string): Promise<void> {
  const what = gate.filter(({ verdict }) => verdict === "accepted").map(({ name, value }) => `${name}: ${value}`);
  if (what.length === 0) return;
  await move.note("accept-unverified", { what }, by);
  await move.setDetails({ accepted: { by, what: what.join("; ") } });
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
  const direction = note?.direction ?? move.way;
  const fencing = move.context.fencing(direction);
  const plan = { direction, generation, maxPauseMs: DEFAULT_PAUSE_MS, accepted: new Set<string>() };
  const attempt = await openAttempt(move, fencing, plan, () => {}, signal, note);
  const result = await attempt.recover(signal);
  move.run();
  return await finish(move, plan, { gate: [], predicted: note?.predicted ?? [] }, result);
}

/** C2: 1 + the highest that the control store, both sides' outcomes or any adapter knows; journalled before the fence. */
async function takeGeneration(
  move: Move,
  direction: Direction,
  fencing: Fencing,
  by: string,
  signal: AbortSignal,
): Promise<number> {
  const { journal, probe } = move.context;
  const point = commitPoint(move, direction, () => {});
  const outcomes = await point.read(signal);
  requireLivesAt(move, move.details.lives.side, outcomes);
  const generation = await journal.raiseGeneration(
    Math.max(...outcomes.keys(), await fencing.highestGeneration(signal)),
  );
  // A process that works on a copy of our memory may be about to commit a lower one, whose routes our fence would refuse.
  await point.settle(generation - 1, outcomes, { by, because: generation }, signal);
  // C2: recovery asks the note for the attempt, so it must never find that of an earlier one.
  const attempt = running({ direction, generation }, null);
  await move.advance(ATTEMPT[direction], { generation }, by, { attempt, unrouted: null });
  await probe("cutover.attempt-journalled");
  return generation;
}

async function openAttempt(
  move: Move,
  fencing: Fencing,
  plan: Plan,
  onEvent: (event: MoveEvent) => void,
  signal: AbortSignal,
  note: AttemptNote | "new" | null = "new",
): Promise<Attempt> {
  const { context } = move;
  const { generation, direction, ...limits } = plan;
  const { sourceControl } = homeOf(move, direction).pair;
  // Of an attempt that is recovered, which server was the home is what its note says, or nobody knows it (C1).
  const homeUuid =
    note === "new" ? (await sourceControl.outcomes.serverIdentity(signal)).uuid : (note?.homeUuid ?? null);
  // Durable before the first fence call: a process that takes this over knows which server was the home (C1).
  await move.setDetails({ attempt: running(plan, homeUuid) });
  const onHeld = (step: StepName, error: Error) => {
    raiseHeld(move, generation, step, error).catch((failure: unknown) => {
      // It is told again as long as it holds.
      context.logger.error({ move: move.name, step, error: reasonOf(failure) }, "an alarm could not be kept");
    });
  };
  return new Attempt({
    ...limits,
    generation,
    direction,
    lanes: lanesOf(move, direction).map(({ runtime }) => runtime),
    fencing,
    commitPoint: commitPoint(move, direction, (side, error) => onHeld(side === "home" ? "commit" : "route", error)),
    quiesce: (deadlineMs, each) => quiesceAll(move, direction, deadlineMs, each),
    prepare: (each) => markBeginnings(move, generation, each),
    confirmTargets: (sealed, each) =>
      confirmTargets(move, direction, sealed, (error) => onHeld("confirm", error), each),
    onSlipped: async (rows) => {
      context.logger.warn({ move: move.name, generation, rows }, "writes came through the fence behind S1");
      await move.note("fence-leak", { generation, rows: rows.map((row) => ({ ...row })) }, "server");
    },
    onUnproven: async (reopened) => {
      context.logger.warn({ move: move.name, generation, reopened }, "a capture was opened anew between S1 and S2");
      await move.note("interval-unproven", { generation, lanes: reopened.map((lane) => ({ ...lane })) }, "server");
    },
    slipPolicy: context.journal.move.manifest.cutover.onSlip,
    homeUuid,
    routePatienceMs: context.settings.routePatienceMs,
    clock: context.clock,
    probe: context.probe,
    onStep: ({ step, state, atMs }) => onEvent({ type: "step", step, state, atMs, facts: {} }),
    onHeld,
    onCommitted: async (targets, marks) => {
      await move.advance("committed", { generation, targets }, "server");
      await move.setDetails({ targets });
      await switchLanes(move, { direction, generation, marks });
      startCarrying(move);
    },
  });
}

async function finish(
  move: Move,
  plan: Plan,
  { gate, predicted }: { readonly gate: readonly GateCondition[]; readonly predicted: readonly PredictedStep[] },
  result: AttemptResult,
): Promise<RunResult> {
  const { generation } = plan;
  const { alarms, logger } = move.context;
  const reason = result.error === null || result.error === undefined ? null : reasonOf(result.error);
  const code = isDrayError(result.error) ? result.error.code : null;
  const facts: JsonObject = {
    generation,
    pauseMs: Math.round(result.pauseMs),
    adapterMs: Math.round(result.adapterMs),
    repeats: result.repeats,
    proof: result.proof.map((each) => ({ ...each })),
    decidedIn: result.decidedIn,
    reason,
    steps: result.steps.map(({ step, startedMs, tookMs }) => ({ step, startedMs, tookMs })),
    predicted: beside(predicted, result.steps).map((each) => ({ ...each })),
  };
  const committed = result.outcome !== "aborted";
  const note = {
    ...running(plan, move.details.attempt?.homeUuid ?? null),
    outcome: committed ? ("committed" as const) : ("aborted" as const),
    step: result.steps.at(-1)?.step ?? "gate",
    reason,
    steps: result.steps,
    predicted,
    decidedIn: result.decidedIn,
    pauseMs: result.pauseMs,
    adapterMs: result.adapterMs,
  };
  await move.setDetails({ attempt: note });
  await alarms.clear(move.name, "CUTOVER_HELD");
  if (result.outcome === "committed") {
    await routingSettled(move, "routed", facts, "server");
    move.standBy();
  } else if (result.outcome === "aborted") {
    await move.advance("attempt-aborted", facts, "server", { unrouted: null });
    await move.settle();
    if (result.isMarked) move.standByAgain();
    else move.standBy();
  } else {
    const error = result.error instanceof DrayError ? result.error : new DrayError("INTERNAL", {}, result.error);
    const { code: named, message } = error;
    const beside = unrouted(move)?.beside ?? move.details.problem;
    const problem = { code: named, message, facts: error.facts as JsonObject };
    await alarms.raise(move.name, named, message, facts);
    await move.advance("ambiguous", facts, "server", { problem, unrouted: { generation, beside } });
  }
  logger.info({ move: move.name, ...facts, code }, `cutover ${generation}: ${result.outcome}`);
  const { outcome, steps, pauseMs } = result;
  return { outcome, generation, gate, steps, predicted, pauseMs, reason };
}

function running(
  { generation, direction }: Pick<Plan, "generation" | "direction">,
  homeUuid: string | null,
): AttemptNote {
  return {
    generation,
    direction,
    outcome: "running",
    step: "fence",
    reason: null,
    steps: [],
    predicted: [],
    decidedIn: "home",
    homeUuid,
    pauseMs: null,
    adapterMs: null,
  };
}

async function raiseHeld(move: Move, generation: number, step: StepName, error: Error): Promise<void> {
  const code = isDrayError(error) ? error.code : "INTERNAL";
  const message = `cutover ${generation} is held in ${step}, the tenant waits: ${reasonOf(error)}`;
  await move.context.alarms.raise(move.name, "CUTOVER_HELD", message, { generation, step, code });
}

/** Everything that `dray retry` does for a cutover whose routing stayed ambiguous: the calls are made again. */
export async function retryRouting(move: Move, by: string, signal: AbortSignal): Promise<RunResult> {
  const note = move.details.attempt;
  if (note === null) throw new DrayError("ILLEGAL_STEP", { move: move.name, phase: move.phase, event: "retry" });
  await move.advance(RETRY_ROUTING[note.direction], { generation: note.generation }, by);
  return await withBackoff(() => recoverCutover(move, signal), { signal, onRetry: () => {} });
}
