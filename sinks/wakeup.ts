/** One waiter, many notifiers. A notice given while nobody waits is kept, so that none is lost between look and wait. */
export class Wakeup {
  #noticed = false;
  #wake: (() => void) | null = null;

  notify(): void {
    this.#noticed = true;
    this.#wake?.();
  }

  /** Rejects with the signal's reason. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        signal.removeEventListener("abort", onAbort);
        this.#wake = null;
        this.#noticed = false;
        settle();
      };
      const onAbort = () => end(() => reject(signal.reason));
      if (signal.aborted) return reject(signal.reason);
      if (this.#noticed) return end(resolve);
      this.#wake = () => end(resolve);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
