import { withBackoff } from "../pipeline/backoff.ts";
import type { CandidateState } from "../sinks/target-history.ts";
import type { AcknowledgedTarget } from "./acknowledged.ts";
import type { Drained } from "./attempt-lane.ts";
import type { Direction } from "./direction.ts";
import type { Move } from "./move.ts";
import type { GateCondition } from "./move-service.ts";

/**
 * C6: what the targets have acknowledged, once every lane's last mark is applied there, and what each of their named
 * failover candidates has executed by the time this resolves.
 */
export async function confirmTargets(
  move: Move,
  direction: Direction,
  sealed: readonly Drained[],
  onRetry: (error: Error) => void,
  signal: AbortSignal,
): Promise<readonly AcknowledgedTarget[]> {
  const headers = sealed.map(({ place }) => place.header);
  return await Promise.all(
    move.context.stores[direction].map(async (store) => {
      const { history } = store.pair.targetControl;
      const lanes = move.lanes.all.filter((lane) => lane.store === store).map(({ source }) => source.lane);
      const applied = headers.filter(({ lane }) => lanes.includes(lane)).map(({ lane, seq }) => ({ lane, seq }));
      const options = { signal, onRetry, minMs: 5, maxMs: 100, clock: move.context.clock };
      const acknowledged = await withBackoff(() => history.acknowledged(applied, signal), options);
      await history.confirmCandidates(acknowledged.set, signal);
      return { store: store.definition.name, ...acknowledged };
    }),
  );
}

/** The gate's question, which also opens the sessions that are needed behind the fence. */
export async function candidateStates(
  move: Move,
  direction: Direction,
  withinMs: number,
  signal: AbortSignal,
): Promise<readonly CandidateState[]> {
  const found = await Promise.all(
    move.context.stores[direction].map(({ pair }) => pair.targetControl.history.candidates(withinMs, signal)),
  );
  return found.flat();
}

export function judgeCandidates(states: readonly CandidateState[], withinMs: number): Omit<GateCondition, "name"> {
  const limit = `${withinMs} ms`;
  if (states.length === 0) return { verdict: "yes", value: "none named", limit: null };
  const value = states.map(({ candidate, value: said }) => `${candidate} ${said}`).join("; ");
  const worst = (["no", "unknown"] as const).find((verdict) => states.some((state) => state.verdict === verdict));
  return { verdict: worst ?? "yes", value, limit };
}
