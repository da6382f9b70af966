import type { LaneId } from "./entry.ts";
import type { Throttle } from "./throttle.ts";

/** A few chunks for each of the target's sessions: enough that it never waits for the source. */
const AHEAD_BYTES = 24 * 1024 * 1024;
const AGAIN_BELOW_BYTES = 16 * 1024 * 1024;
const MEBIBYTE = 1024 * 1024;

/**
 * W8: the snapshot reads on only while the target is not far behind with what was copied. Further ahead it would fill
 * the log, and read nothing sooner. The stream is never held.
 */
export class CopyPace {
  readonly #throttle: Throttle;
  readonly #holder: string;
  /** Chunks in the log that the target has not applied: seq to bytes. */
  readonly #ahead = new Map<number, number>();
  #aheadBytes = 0;
  #appliedSeq = 0;

  /** A throttle may be several lanes'. */
  constructor({ throttle, lane }: { readonly throttle: Throttle; readonly lane: LaneId }) {
    this.#throttle = throttle;
    this.#holder = `target of ${lane}`;
  }

  /** A chunk of so many bytes before compression stands in the log. */
  appended(seq: number, bytes: number): void {
    if (seq <= this.#appliedSeq) return;
    this.#ahead.set(seq, bytes);
    this.#aheadBytes += bytes;
    if (this.#aheadBytes < AHEAD_BYTES) return;
    const mebibytes = Math.round(this.#aheadBytes / MEBIBYTE);
    this.#throttle.hold(this.#holder, `snapshot: the target is ${mebibytes} MiB of copied rows behind`);
  }

  /** Everything up to it is applied. */
  applied(seq: number): void {
    this.#appliedSeq = seq;
    for (const [chunk, bytes] of this.#ahead) {
      if (chunk > seq) break;
      this.#ahead.delete(chunk);
      this.#aheadBytes -= bytes;
    }
    if (this.#aheadBytes < AGAIN_BELOW_BYTES) this.#throttle.release(this.#holder);
  }

  /** The lane's log is opened anew: what stands in it from before is not counted. */
  reset(): void {
    this.#ahead.clear();
    this.#aheadBytes = 0;
    this.#throttle.release(this.#holder);
  }
}
