import { waitFor } from "./wait.ts";

/**
 * Bytes that may be under way at once. Taking waits while the budget is spent and goes on once it has fallen below 80%,
 * so that a full pipe does not stutter; one item larger than the budget passes alone.
 */
export class ByteBudget {
  readonly #limitBytes: number;
  #heldBytes = 0;
  #full = false;
  readonly #waiting: (() => void)[] = [];

  constructor(options: { readonly limitBytes: number }) {
    this.#limitBytes = options.limitBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Never refuses: the caller holds the bytes already. Await `room` before making more of them. */
  take(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes >= this.#limitBytes) this.#full = true;
  }

  release(bytes: number): void {
    this.#heldBytes -= bytes;
    if (this.#full && this.#heldBytes < this.#limitBytes * 0.8) {
      this.#full = false;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  async room(signal: AbortSignal): Promise<void> {
    while (this.#full) {
      const room = Promise.withResolvers<void>();
      this.#waiting.push(room.resolve);
      await waitFor(room, signal);
    }
  }
}
