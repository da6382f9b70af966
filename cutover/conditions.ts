import { reasonOf } from "../pipeline/backoff.ts";
import type { LaneRuntime } from "./lane/lane-runtime.ts";
import type { GateCondition } from "./move-service.ts";

export type Judged = Omit<GateCondition, "name">;

/** Asked one after the other, so that an operator sees all that is in the way at once; what cannot be told counts as no. */
export class Conditions {
  readonly #signal: AbortSignal;
  readonly #asked: GateCondition[] = [];

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  get asked(): readonly GateCondition[] {
    return this.#asked;
  }

  /** `limit` is told where the question itself fails. */
  async judge(name: string, limit: string | null, work: () => Promise<Judged> | Judged): Promise<void> {
    try {
      this.#asked.push({ name, ...(await work()) });
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#asked.push({ name, verdict: "unknown", value: reasonOf(error), limit });
    }
  }
}

/** Those that stand in the way; empty: all is open. */
export function closedConditions(asked: readonly GateCondition[]): readonly GateCondition[] {
  return asked.filter(({ verdict }) => verdict === "no" || verdict === "unknown");
}

/** Neither half of the lane has stopped, and its capture is connected. */
export function connected(lane: LaneRuntime): Judged {
  const { feed, stopped, waiting } = lane.state();
  const problem = stopped.capture ?? stopped.apply;
  if (problem !== undefined) return { verdict: "no", value: reasonOf(problem), limit: null };
  if (feed === null || feed.state === "connecting" || feed.state === "stopped") {
    return { verdict: "no", value: feed?.reason ?? waiting[0] ?? "capture is not connected", limit: null };
  }
  return { verdict: "yes", value: feed.state, limit: null };
}
