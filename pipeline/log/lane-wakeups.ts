import type { LaneId } from "../entry.ts";

/** Readers at the end of a lane wait here for its next entry; nobody polls. */
export class LaneWakeups {
  readonly #sleepers = new Map<LaneId, Set<() => void>>();

  /** Resolves at the lane's next `wake`, or when the signal aborts. Whoever asks must not have awaited since looking. */
  next(lane: LaneId, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleepers = this.#sleepers.get(lane) ?? new Set();
      this.#sleepers.set(lane, sleepers);
      const rise = () => {
        sleepers.delete(rise);
        if (sleepers.size === 0 && this.#sleepers.get(lane) === sleepers) this.#sleepers.delete(lane);
        signal.removeEventListener("abort", rise);
        resolve();
      };
      sleepers.add(rise);
      signal.addEventListener("abort", rise, { once: true });
    });
  }

  wake(lane: LaneId): void {
    for (const rise of [...(this.#sleepers.get(lane) ?? [])]) rise();
  }

  wakeAll(): void {
    for (const lane of [...this.#sleepers.keys()]) this.wake(lane);
  }
}
