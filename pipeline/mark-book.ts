import { waitFor } from "./wait.ts";

/** Marks that arrived before anyone asked for them: a mark can be read from the stream before its INSERT returns. */
const KEPT = 4096;

/** Brings together whoever committed a mark and the place where the stream showed it, whichever comes first. */
export class MarkBook<Place> {
  readonly #arrived = new Map<string, Place>();
  readonly #waiting = new Map<string, PromiseWithResolvers<Place>>();

  arrived(nonce: string, place: Place): void {
    const waiting = this.#waiting.get(nonce);
    if (waiting) {
      this.#waiting.delete(nonce);
      waiting.resolve(place);
      return;
    }
    this.#arrived.set(nonce, place);
    if (this.#arrived.size > KEPT) {
      const oldest = this.#arrived.keys().next();
      if (!oldest.done) this.#arrived.delete(oldest.value);
    }
  }

  async expect(nonce: string, signal: AbortSignal): Promise<Place> {
    const place = this.#arrived.get(nonce);
    if (place !== undefined) {
      this.#arrived.delete(nonce);
      return place;
    }
    signal.throwIfAborted();
    const waiting = Promise.withResolvers<Place>();
    this.#waiting.set(nonce, waiting);
    try {
      return await waitFor(waiting, signal);
    } finally {
      this.#waiting.delete(nonce);
    }
  }

  fail(error: unknown): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
