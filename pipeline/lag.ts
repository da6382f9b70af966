import type { Clock } from "./clock.ts";

export type Lag = {
  /** Seconds between a commit at the source and its effect in the target; null before the first heartbeat came through. */
  readonly seconds: number | null;
  /** Of that, until it stood in the log; grows while nothing gets there. */
  readonly captureSeconds: number | null;
  /** Heartbeats in a row, newest last, that were applied below the limit they are asked about. */
  below(limitSeconds: number): number;
};

type Beat = { readonly seq: number; readonly markedMs: number };

const KEPT = 64;

/**
 * M3: lag measured by heartbeats through the whole path, both ends on the marking process's monotonic clock. Silence is
 * lag too: while no newer heartbeat comes through, the lag grows with the time since the last one that did.
 */
export class LagMeter {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #inLog: Beat[] = [];
  #applied: number[] = [];
  #lastAppliedMs: number | null = null;
  #captureMs: number | null = null;
  #lastInLogMs: number | null = null;

  constructor(options: { readonly clock: Clock; readonly intervalMs: number }) {
    this.#clock = options.clock;
    this.#intervalMs = options.intervalMs;
  }

  /** A heartbeat stands in the log. `markedMs`: the monotonic time just before it was committed. */
  inLog(seq: number, markedMs: number): void {
    this.#captureMs = this.#clock.monotonicMs() - markedMs;
    this.#lastInLogMs = markedMs;
    this.#inLog.push({ seq, markedMs });
    // A target that stands still for hours: only the oldest matters, and the newest.
    if (this.#inLog.length > KEPT * KEPT) this.#inLog.splice(1, KEPT);
  }

  /** The target has durably applied everything up to `seq`. */
  applied(seq: number): void {
    const nowMs = this.#clock.monotonicMs();
    while (this.#inLog[0] !== undefined && this.#inLog[0].seq <= seq) {
      const beat = this.#inLog.shift() as Beat;
      this.#lastAppliedMs = beat.markedMs;
      this.#applied.push(nowMs - beat.markedMs);
    }
    this.#applied = this.#applied.slice(-KEPT);
  }

  /** The path was interrupted: what was measured before says nothing about now. */
  reset(): void {
    this.#applied = [];
    this.#inLog.length = 0;
  }

  read(): Lag {
    const measuredMs = this.#applied.at(-1) ?? null;
    const silentMs = this.#lastAppliedMs === null ? null : this.#silentMs(this.#lastAppliedMs);
    const lagMs = measuredMs === null ? silentMs : Math.max(measuredMs, silentMs ?? 0);
    const captureMs =
      this.#captureMs === null ? null : Math.max(this.#captureMs, this.#silentMs(this.#lastInLogMs ?? 0));
    return {
      seconds: lagMs === null ? null : lagMs / 1000,
      captureSeconds: captureMs === null ? null : captureMs / 1000,
      below: (limitSeconds) => this.#below(limitSeconds * 1000, silentMs),
    };
  }

  #silentMs(lastMs: number): number {
    // Between two heartbeats silence is normal.
    return Math.max(0, this.#clock.monotonicMs() - lastMs - 2 * this.#intervalMs);
  }

  #below(limitMs: number, silentMs: number | null): number {
    if (silentMs === null || silentMs > limitMs) return 0;
    let count = 0;
    for (let i = this.#applied.length - 1; i >= 0 && (this.#applied[i] as number) <= limitMs; i--) count++;
    return count;
  }
}
