import type { Blocker } from "../connectors/source-control.ts";
import { reasonOf } from "../pipeline/backoff.ts";
import type { Finding } from "../pipeline/preflight.ts";
import type { CandidateState } from "../sinks/target-history.ts";
import { Conditions, connected, type Judged } from "./conditions.ts";
import { judgeCandidates } from "./confirm-targets.ts";
import type { Fencing } from "./fencing.ts";
import { judgeCount, type TableVerdict } from "./gate-count.ts";
import { judgeVerification } from "./gate-verification.ts";
import type { LaneRuntime } from "./lane/lane-runtime.ts";
import type { GateCondition } from "./move-service.ts";

export type GateOptions = {
  readonly lanes: readonly LaneRuntime[];
  /** Stores from which no lane carries this way, and why. */
  readonly without: readonly { readonly store: string; readonly why: string }[];
  readonly fencing: Fencing;
  readonly maxLagSeconds: number;
  readonly heartbeats: number;
  readonly maxPauseMs: number;
  /** Seqs that were passed over and whose tables have not been copied again (A8). */
  readonly skipped: readonly number[];
  /** Transactions of the source that write covered tables now (C11). */
  readonly blockers: (signal: AbortSignal) => Promise<readonly Blocker[]>;
  /** The checks of preflight that can go wrong while a move runs. */
  readonly recheck: (signal: AbortSignal) => Promise<readonly Finding[]>;
  /** Whether what the tenant writes at its new home can be carried back (C8). */
  readonly wayBack: (signal: AbortSignal) => Promise<Judged>;
  /** The cluster that the tenant goes to. */
  readonly to: string;
  /** C6: whether each of its failover candidates has, within so many milliseconds, all that it has now. */
  readonly candidates: (withinMs: number, signal: AbortSignal) => Promise<readonly CandidateState[]>;
  readonly onCounted: (counted: CountedLane) => void;
};

/** The rows of both sides, table by table. */
export type CountedLane = { readonly lane: string; readonly tables: readonly TableVerdict[] };

/** A target that cannot be counted in this time is not one to fence for. */
const COUNT_TIMEOUT_MS = 60_000;

/**
 * What must hold before a fence (C). Everything is asked, so that an operator sees all that is in the way at once; what
 * cannot be told counts as no. What preflight found to be unavailable is `absent`: said, not held against it.
 */
export async function evaluateGate(options: GateOptions, signal: AbortSignal): Promise<readonly GateCondition[]> {
  const conditions = new Conditions(signal);
  const judge: Conditions["judge"] = (name, limit, work) => conditions.judge(name, limit, work);
  for (const { store, why } of options.without)
    await judge("lanes", null, () => ({ verdict: "no", value: `none for ${store}: ${why}`, limit: null }));
  for (const lane of options.lanes) {
    await judge(`${lane.lane} streaming`, null, () => streaming(lane));
    await judge(`${lane.lane} lag`, `${options.maxLagSeconds} s`, () => lag(lane, options));
  }
  await judge("nothing skipped", "0", () => skipped(options.skipped));
  await judge("no old writers", `${options.maxPauseMs} ms`, async () =>
    blockers(await options.blockers(signal), options),
  );
  await judge("adapters answer", null, async () => {
    const generation = await options.fencing.highestGeneration(signal);
    return { verdict: "yes", value: `highest generation ${generation}`, limit: null };
  });
  await judge("servers fit", null, async () => findings(await options.recheck(signal)));
  const withinMs = Math.min(options.maxLagSeconds * 1000, options.maxPauseMs);
  await judge(`${options.to} candidates`, `${withinMs} ms`, async () =>
    judgeCandidates(await options.candidates(withinMs, signal), withinMs),
  );
  for (const lane of options.lanes) {
    // Counting waits for the target, so it is asked only where the stream runs.
    await judge(`${lane.lane} rows`, null, () =>
      rows(lane, options.onCounted, AbortSignal.any([signal, AbortSignal.timeout(COUNT_TIMEOUT_MS)])),
    );
  }
  await judge("rollback", "connected", () => options.wayBack(signal));
  return conditions.asked;
}

/**
 * The last of it, asked by itself: dirty keys are compared now, so that what is dirty when the fence comes down is what
 * changed since this moment (V2).
 */
export async function evaluateVerification(
  lanes: readonly LaneRuntime[],
  options: { readonly maxPauseMs: number; readonly acceptUnverified: boolean },
  signal: AbortSignal,
): Promise<{
  readonly conditions: readonly GateCondition[];
  /** Lanes that would have closed the gate, and that a person answers for. */
  readonly accepted: ReadonlySet<string>;
}> {
  const conditions: GateCondition[] = [];
  const accepted = new Set<string>();
  for (const lane of lanes) {
    const name = `${lane.lane} verification`;
    const judged = await judgeLane(lane, options.maxPauseMs / 4, signal);
    const isAccepted = options.acceptUnverified && judged.verdict !== "yes";
    if (isAccepted) accepted.add(lane.lane);
    conditions.push({ name, ...judged, ...(isAccepted && { verdict: "accepted" as const }) });
  }
  return { conditions, accepted };
}

async function judgeLane(lane: LaneRuntime, budgetMs: number, signal: AbortSignal): Promise<Judged> {
  if (streaming(lane).verdict !== "yes") {
    return { verdict: "unknown", value: "not compared: the lane does not stream", limit: null };
  }
  try {
    return await judgeVerification(lane, { budgetMs }, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { verdict: "unknown", value: reasonOf(error), limit: null };
  }
}

function streaming(lane: LaneRuntime): Judged {
  const judged = connected(lane);
  // The phase follows a moment later.
  const isBusy = judged.verdict === "yes" && !lane.isCopied;
  return isBusy ? { verdict: "no", value: "tables are being copied", limit: null } : judged;
}

function lag(lane: LaneRuntime, options: GateOptions): Judged {
  const { lag: now } = lane.state();
  const limit = `${options.maxLagSeconds} s for ${options.heartbeats} heartbeats`;
  if (now.seconds === null) return { verdict: "unknown", value: "no heartbeat has come through", limit };
  const below = now.below(options.maxLagSeconds);
  const value = `${now.seconds.toFixed(3)} s, ${below} heartbeats below`;
  return { verdict: below >= options.heartbeats ? "yes" : "no", value, limit };
}

function skipped(seqs: readonly number[]): Judged {
  if (seqs.length === 0) return { verdict: "yes", value: "0", limit: "0" };
  return { verdict: "no", value: `seqs ${seqs.join(", ")}: copy their tables again`, limit: "0" };
}

function blockers(found: readonly Blocker[], options: GateOptions): Judged {
  const limit = `${options.maxPauseMs} ms`;
  const old = found.filter(
    ({ prepared, ageSeconds }) => prepared === "yes" || (ageSeconds ?? 0) * 1000 > options.maxPauseMs,
  );
  if (old.length === 0) return { verdict: "yes", value: `${found.length} writing now`, limit };
  const named = old.map(({ sessionId, account, xid, ageSeconds, tables, prepared }) =>
    prepared === "yes"
      ? `prepared XA transaction ${xid ?? "(see XA RECOVER)"}`
      : `thread ${sessionId} of ${account} writing ${tables.join(", ")} for ${ageSeconds} s`,
  );
  return { verdict: "no", value: named.join("; "), limit };
}

function findings(found: readonly Finding[]): Judged {
  const errors = found.filter(({ severity }) => severity === "error");
  if (errors.length === 0) return { verdict: "yes", value: `${found.length} warnings`, limit: null };
  return {
    verdict: "no",
    value: errors.map(({ subject, finding }) => `${subject}: ${finding}`).join("; "),
    limit: null,
  };
}

async function rows(lane: LaneRuntime, onCounted: GateOptions["onCounted"], signal: AbortSignal): Promise<Judged> {
  const { verdict } = streaming(lane);
  if (verdict !== "yes") return { verdict: "unknown", value: "not counted: the lane does not stream", limit: null };
  const count = await lane.count(signal);
  if (count === null) return { verdict: "unknown", value: "the lane was opened anew while counting", limit: null };
  const judged = judgeCount(count);
  onCounted({ lane: lane.lane, tables: judged });
  const wrong = judged.filter(({ fits }) => fits === "no");
  if (wrong.length === 0) {
    const sum = judged.reduce((total, { target }) => total + target, 0);
    return { verdict: "yes", value: `${sum} rows in ${judged.length} tables`, limit: null };
  }
  const named = wrong.map(
    ({ table, source, target, least, most }) =>
      `${table}: ${source} at the source, ${target} at the target, which allows ${least} to ${most} of difference`,
  );
  return { verdict: "no", value: named.join("; "), limit: null };
}
