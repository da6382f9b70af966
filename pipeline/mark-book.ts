import { waitFor } from "./wait.ts";

/** Marks that arrived before anyone asked for them: a mark can be read from the stream before its INSERT returns. */
const KEPT = 4096;

/** Brings together whoever committed a mark and the place where the stream showed it, whichever comes first. */
export class MarkBook<Place> {
  readonly #arrived = new Map<string, Place>();
  readonly #waiting = new Map<string, PromiseWithResolvers<Place>>();
  /** Set once: nothing arrives behind it. */
  #failure: { readonly error: unknown } | null = null;

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
    // A mark may have been on its way to the source when the stream ended: nobody would ever answer.
    if (this.#failure !== null) throw this.#failure.error;
    const waiting = Promise.withResolvers<Place>();
    this.#waiting.set(nonce, waiting);
    try {
      return await waitFor(waiting, signal);
    } finally {
      this.#waiting.delete(nonce);
    }
  }

  /** The stream has ended, for whoever waits and whoever comes to wait. */
  fail(error: unknown): void {
    this.#failure = { error };
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
