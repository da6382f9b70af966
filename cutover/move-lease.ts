import type { Clock } from "../pipeline/clock.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import type { ControlStore, Lease } from "./control-store.ts";

export type MoveLeaseOptions = {
  readonly control: ControlStore;
  readonly move: string;
  /** This installation: the same one takes its own lease again at once, as its folder has one process only. */
  readonly holder: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Another took over: nothing of the move may run here any more. */
  readonly onLost: (error: unknown) => void;
};

/** K2: who works on a move. Taken before its lanes run, renewed three times within its life. */
export class MoveLease {
  readonly #options: MoveLeaseOptions;
  readonly #life = new AbortController();
  #lease: Lease;

  private constructor(options: MoveLeaseOptions, lease: Lease) {
    this.#options = options;
    this.#lease = lease;
  }

  /** MOVE_HELD, naming the holder, where another's lease has not run out. */
  static async take(options: MoveLeaseOptions): Promise<MoveLease> {
    const { control, move, holder, ttlMs } = options;
    const attempt = await control.acquireLease(`move:${move}`, holder, ttlMs);
    if (!attempt.held) throw new DrayError("MOVE_HELD", { move, by: attempt.by.holder });
    const lease = new MoveLease(options, attempt.lease);
    void lease.#renew();
    return lease;
  }

  async release(): Promise<void> {
    this.#life.abort(new Error("released"));
    await this.#options.control.releaseLease(this.#lease);
  }

  async #renew(): Promise<void> {
    const { control, ttlMs, clock, onLost } = this.#options;
    const { signal } = this.#life;
    for (;;) {
      await clock.sleep(ttlMs / 3, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        this.#lease = await control.renewLease(this.#lease, ttlMs);
      } catch (error) {
        if (signal.aborted) return;
        if (!isDrayError(error, "LEASE_LOST")) continue; // tried again before it runs out
        onLost(error);
        return;
      }
    }
  }
}
