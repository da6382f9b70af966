import type { Clock } from "../../pipeline/clock.ts";
import type { ChunkBudget } from "../../pipeline/source.ts";
import { RANGES_AT_ONCE } from "../../pipeline/verify/verify-rounds.ts";

export type VerifyPaceOptions = {
  readonly clock: Clock;
  /** Of a range where nothing else is at work. */
  readonly chunkBudget: ChunkBudget;
  readonly isCopied: () => boolean;
  /** The newest entry of the log with changes. */
  readonly lastChangeSeq: () => number;
  readonly lagSeconds: () => number | null;
  /** Of the time, beside a copy and beside changes, in which it works; 100: as if nothing else were at work. */
  readonly sharePercent: number;
};

/**
 * A range that is read and compared beside changes is so much smaller, divided by the share: each change waits for less,
 * and whoever gives verification more of the time gives it larger ranges too, which cost less a row.
 */
const SMALLER_BESIDE_CHANGES = 400;
/** Changes keep verification at a walk for so long. */
const BUSY_FOR_MS = 1_000;
const YIELDS_ABOVE_S = 2;

/** V1: how much verification takes of what copy, stream and cutover need. */
export class VerifyPace {
  readonly #options: VerifyPaceOptions;
  #change = { seq: 0, seenMs: Number.NEGATIVE_INFINITY };
  /** Behind the fence only the cutover has rows compared: nobody else's comparing is waited for there. */
  isFenced = false;

  constructor(options: VerifyPaceOptions) {
    this.#options = options;
  }

  /** Why nothing should be compared now; null: it may. */
  yieldsTo(): string | null {
    if (this.isFenced) return "the tenant is fenced, and the cutover compares what is left";
    const seconds = this.#options.lagSeconds();
    if (seconds === null || seconds <= YIELDS_ABOVE_S) return null;
    return `the stream is ${seconds.toFixed(1)} s behind, and goes first`;
  }

  /** How long each range's worker rests for a millisecond of work, so that all of them take the share together. */
  restPerMs(): number {
    const { isCopied, sharePercent } = this.#options;
    if ((isCopied() && !this.#isBusy()) || sharePercent === 100) return 0;
    return (RANGES_AT_ONCE * 100) / sharePercent - 1;
  }

  rangeBudget(): ChunkBudget {
    const { isCopied, chunkBudget, sharePercent } = this.#options;
    if (!isCopied() || !this.#isBusy() || sharePercent === 100) return chunkBudget;
    const { rows, bytes } = chunkBudget;
    const smaller = SMALLER_BESIDE_CHANGES / sharePercent;
    return { rows: Math.ceil(rows / smaller), bytes: Math.ceil(bytes / smaller) };
  }

  /** Changes were carried lately. */
  #isBusy(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const seq = this.#options.lastChangeSeq();
    if (seq !== this.#change.seq) this.#change = { seq, seenMs: nowMs };
    return nowMs - this.#change.seenMs < BUSY_FOR_MS;
  }
}
