import { waitFor } from "../../pipeline/wait.ts";

/** A value that comes and goes, for those who wait until it is there. */
export class Latch<T> {
  #value: T | null = null;
  #failure: unknown = null;
  readonly #waiting = new Set<PromiseWithResolvers<T>>();

  get value(): T | null {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#failure = null;
    for (const waiting of this.#waiting) waiting.resolve(value);
    this.#waiting.clear();
  }

  unset(): void {
    this.#value = null;
  }

  /** It will not come any more: waiting for it fails, until it is set again. */
  fail(error: unknown): void {
    this.#value = null;
    this.#failure = error;
    for (const waiting of this.#waiting) waiting.reject(error);
    this.#waiting.clear();
  }

  async wait(signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.#value !== null) return this.#value;
    if (this.#failure !== null) throw this.#failure;
    const waiting = Promise.withResolvers<T>();
    this.#waiting.add(waiting);
    try {
      return await waitFor(waiting, signal);
    } finally {
      this.#waiting.delete(waiting);
    }
  }
}
