import type { Clock } from "../../pipeline/clock.ts";

/** What a drain took longer ago says nothing of the next. */
const COUNT_FOR_MS = 600_000;

/** How long drains of a lane took, each from writing a mark until the target has applied it durably. */
export class DrainTimes {
  readonly #clock: Clock;
  #drains: { readonly atMs: number; readonly tookMs: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async timed<T>(drain: () => Promise<T>): Promise<T> {
    const atMs = this.#clock.monotonicMs();
    const drained = await drain();
    this.#drains.push({ atMs, tookMs: this.#clock.monotonicMs() - atMs });
    return drained;
  }

  /** Of late, in ms; null where there was none. Behind a fence nothing of the tenant stands before a mark. */
  get fastestMs(): number | null {
    const sinceMs = this.#clock.monotonicMs() - COUNT_FOR_MS;
    this.#drains = this.#drains.filter(({ atMs }) => atMs >= sinceMs);
    return this.#drains.length === 0 ? null : Math.min(...this.#drains.map(({ tookMs }) => tookMs));
  }
}
