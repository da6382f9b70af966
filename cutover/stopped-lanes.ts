import type { LaneId } from "../pipeline/entry.ts";
import type { Move } from "./move.ts";
import type { OpenLane } from "./move-lanes.ts";
import { SWITCHING } from "./phases.ts";
import { standByAgain } from "./way-back.ts";

const STAND_BY_AGAIN_MS = 500;
const STAND_BY_AGAIN_MOST_MS = 60_000;

/** What becomes of a move a lane of which has stopped for good: by what the lane is for, when something is done about it. */
export class StoppedLanes {
  readonly #move: Move;
  #standbyFailures = 0;

  constructor(move: Move) {
    this.#move = move;
  }

  /** One that was dropped meanwhile, as by a recopy, or started again, fails nobody. */
  async stopped(lane: LaneId): Promise<void> {
    const move = this.#move;
    let untilMs: number | null = null;
    for (;;) {
      const stopped = move.lanes.all.find(({ source }) => source.lane === lane);
      const error = stopped === undefined ? undefined : whyStopped(stopped);
      if (stopped === undefined || error === undefined) return;
      if (move.lanes.roleOf(stopped) !== "standby") return await move.failed(error);
      const nowMs = move.context.clock.monotonicMs();
      untilMs ??= nowMs + Math.min(STAND_BY_AGAIN_MS * 2 ** this.#standbyFailures++, STAND_BY_AGAIN_MOST_MS);
      // It has nothing to lose: another one takes its place, and until then the gate says why there is no way back. But an
      // attempt under way has counted on it: either that ends first, or the lane is to carry from its mark on.
      if (nowMs >= untilMs && !SWITCHING.has(move.phase)) return await standByAgain(move, move.life);
      await this.#changed(Math.max(untilMs - nowMs, STAND_BY_AGAIN_MS));
    }
  }

  /** After an attempt: a half that stopped meanwhile could not say so, as the move was switching. */
  async settle(): Promise<void> {
    for (const lane of this.#move.lanes.active) {
      const error = whyStopped(lane);
      if (error !== undefined) await this.#move.failed(error);
    }
  }

  /** The next change of the move, or so much time. */
  async #changed(ms: number): Promise<void> {
    const { life, context } = this.#move;
    const change = new AbortController();
    const stop = this.#move.onChange(() => change.abort(new Error("changed")));
    try {
      await context.clock.sleep(ms, AbortSignal.any([life, change.signal])).catch(() => life.throwIfAborted());
    } finally {
      stop();
    }
  }
}

function whyStopped({ runtime }: OpenLane): unknown {
  const { stopped } = runtime.state();
  return stopped.capture ?? stopped.apply;
}
