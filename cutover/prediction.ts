import type { Clock } from "../pipeline/clock.ts";
import type { Direction } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import type { FencedPrediction } from "./lane/verify-half.ts";
import type { Move } from "./move.ts";
import type { PredictedStep } from "./move-service.ts";
import { blockersOf, homeOf } from "./switch-parts.ts";
import type { Step, StepName } from "./timeline.ts";

/**
 * Asked so often, and the fastest one counts: the tenant is at work now, and behind the fence its writes stand before
 * nothing.
 */
const TIMES = 5;
/** What is before a mark in the stream differs from one to the next: these, and all of late, tell the fastest. */
const MARK_TIMES = 10;
/** The middle one counts. */
const ADAPTER_TIMES = 3;
const WITHIN_MS = 60_000;
const COMPARED_WITHIN_MS = 15_000;
/** Behind the fence nobody else of the tenant is at work, and adapters' answers are their own to predict. */
const STEPS: readonly StepName[] = [
  ...(["fence", "quiesce", "drain", "verify", "pin", "drain-again", "prepare", "confirm", "commit", "route"] as const),
];

export type Prediction = {
  readonly steps: readonly PredictedStep[];
  readonly totalMs: number;
};

/**
 * What the pause will take by step, and how each is known: what can be done without a fence is done now and timed (C10).
 * Adapters are read, as each of their calls is one answer of the same far side.
 */
export async function predictPause(
  move: Move,
  direction: Direction,
  fencing: Fencing,
  forward: AbortSignal,
): Promise<Prediction> {
  // A lane that cannot answer must not hold the move: what would mend it is a command too.
  const signal = AbortSignal.any([forward, AbortSignal.timeout(WITHIN_MS)]);
  const { clock } = move.context;
  const { pair } = homeOf(move, direction);
  const lanes = move.lanes.active;
  const timed = (work: () => Promise<unknown>) => fastestOf(clock, work);
  const before = changesCarried(move);
  const beganMs = clock.monotonicMs();
  for (let i = 0; i < MARK_TIMES; i++) await Promise.all(lanes.map(({ runtime }) => runtime.drain(signal)));
  const sentinelMs = Math.max(...lanes.map(({ runtime }) => runtime.drains.fastestMs ?? 0));
  const lookMs = await timed(() => blockersOf(move, direction, signal));
  const homeMs = await timed(() => pair.sourceControl.outcomes.readOutcomes(move.name, signal));
  const targetMs = await timed(() => pair.targetControl.outcomes.readOutcomes(move.name, signal));
  const watermarks = lanes.map(({ source }) => ({ lane: source.lane, seq: 0 }));
  const historyMs = await timed(() => pair.targetControl.history.acknowledged(watermarks, signal));
  const standby = move.lanes.with("standby");
  const writeMs =
    standby.length === 0 ? 0 : await timed(() => Promise.all(standby.map(({ runtime }) => runtime.writeMark(signal))));
  const echoMs =
    standby.length === 0 ? 0 : await timed(() => Promise.all(standby.map(({ runtime }) => runtime.echo(signal))));
  const adapters = await fencing.answerTimes(ADAPTER_TIMES, signal);
  const fenceMs = adapters.fences.reduce((sum, { ms }) => sum + ms, 0);
  const pinMs = adapters.fences.filter(({ expires }) => expires).reduce((sum, { ms }) => sum + ms, 0);
  const routeMs = adapters.routes.reduce((sum, { ms }) => sum + ms, 0);
  const comparing = AbortSignal.any([signal, AbortSignal.timeout(COMPARED_WITHIN_MS)]);
  const compareMs = await timed(() =>
    Promise.all(lanes.map(({ runtime }) => runtime.verification.compareDirtyNow(comparing))),
  ).catch(() => {
    signal.throwIfAborted();
    // The gate says what is not verified: then no key is compared before the fence holds.
    return Number.POSITIVE_INFINITY;
  });
  // Keys are compared as they get dirty until the fence holds: those of the last round are left. A grace that is longer than
  // a round is one: nobody acts on an old answer when it ends.
  const perMs = (changesCarried(move) - before) / Math.max(1, clock.monotonicMs() - beganMs);
  const keys = fencing.graceMs > compareMs ? 0 : Math.ceil(perMs * Math.min(fenceMs + fencing.graceMs, compareMs));
  const verify = slowest(lanes.map(({ runtime }) => runtime.verification.predictFenced(keys)));
  const known: Readonly<Partial<Record<StepName, Omit<PredictedStep, "step">>>> = {
    fence: { ms: fenceMs + fencing.graceMs, how: `the fences' measured answers, and ${fencing.graceMs} ms of grace` },
    quiesce: { ms: lookMs, how: "one look at the source's transactions, measured" },
    drain: { ms: sentinelMs, how: "the fastest mark of late to the target and back, measured" },
    verify: { ms: verify?.ms ?? 0, how: verifyWords(keys, verify) },
    pin: { ms: pinMs, how: "the measured answers of fences that end by themselves" },
    "drain-again": { ms: sentinelMs, how: "the fastest mark of late to the target and back, measured" },
    prepare: {
      ms: Math.max(0, echoMs - pinMs - sentinelMs),
      how:
        standby.length === 0 ? "no way back" : "a mark at the new home and back, measured, beside pin and drain-again",
    },
    confirm: { ms: historyMs, how: "what the target has executed, asked and timed" },
    commit: { ms: homeMs + targetMs + writeMs, how: "dray.cutover of both sides read, and a durable write, measured" },
    route: { ms: routeMs, how: "the routes' measured answers" },
  };
  const steps = STEPS.flatMap((step) => {
    const one = known[step];
    return one === undefined ? [] : [{ step, ...one }];
  });
  return { steps, totalMs: steps.reduce((sum, { ms }) => sum + ms, 0) };
}

/** Lanes are compared beside each other: the slowest is waited for. */
function slowest(lanes: readonly FencedPrediction[]): FencedPrediction | null {
  return lanes.toSorted((a, b) => b.ms - a.ms)[0] ?? null;
}

/** How the figure is known: nobody should take an assumption for a measurement. */
export function verifyWords(keys: number, prediction: FencedPrediction | null): string {
  const dirty = `about ${keys} keys will be dirty`;
  if (keys === 0 || prediction === null) return `${dirty}: nothing is read`;
  const pace = `${prediction.msPerKey.toFixed(3)} ms a key`;
  return prediction.known === "measured"
    ? `${dirty}, at ${pace}, measured as keys were compared`
    : `${dirty}, at ${pace}, assumed: none was compared by itself yet`;
}

function changesCarried(move: Move): number {
  return move.lanes.active.reduce((sum, { runtime }) => sum + runtime.changesCarried, 0);
}

/** Predicted and actual side by side, steps that came more than once summed up. */
export function beside(
  prediction: readonly PredictedStep[],
  steps: readonly Step[],
): readonly { readonly step: string; readonly predictedMs: number; readonly actualMs: number; readonly how: string }[] {
  return prediction.map(({ step, ms, how }) => {
    const actualMs = steps.filter((each) => each.step === step).reduce((sum, { tookMs }) => sum + tookMs, 0);
    return { step, predictedMs: ms, actualMs, how };
  });
}

async function fastestOf(clock: Clock, work: () => Promise<unknown>): Promise<number> {
  let fastestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TIMES; i++) {
    const beganMs = clock.monotonicMs();
    await work();
    fastestMs = Math.min(fastestMs, clock.monotonicMs() - beganMs);
  }
  return fastestMs;
}
