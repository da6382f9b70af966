import type { EntryHeader, EntryKind } from "../entry.ts";
import { DrayError } from "../errors.ts";

/** What L3 looks at. `digest` tells two records of one seq apart. */
export type EntryFacts = {
  readonly kind: EntryKind;
  readonly seq: number;
  readonly epoch: number;
  readonly nonce: string;
  readonly digest: string;
};

/**
 * owner: an `epoch` entry that counts; from here on the lane is its writer's. counts: the lane's next entry. repeat: an
 * entry that was seen before. superseded: of a writer that does not own the lane.
 */
export type Verdict = "owner" | "counts" | "repeat" | "superseded";

/** Repeats come from the last send only; a send has at most this many entries. */
export const LARGEST_SEND_ENTRIES = 512;
const REMEMBERED_ENTRIES = 2 * LARGEST_SEND_ENTRIES;

/**
 * L3: which entries of a lane count, a fold over their order in the log. Writers and readers, of both logs, go by this
 * and nothing else. What it accepts does not depend on where it started: at the first entry, or `behind` any that
 * counted.
 */
export class Validity {
  readonly #lane: string;
  #epoch = 0;
  #nonce = "";
  #seq = 0;
  /** The seq at which the current epoch began: it can have written nothing at or below. */
  #epochBeganAtSeq = 0;
  readonly #digests = new Map<number, string>();

  constructor(lane: string) {
    this.#lane = lane;
  }

  /** Goes on behind an entry that is known to count. */
  static behind(lane: string, entry: EntryFacts): Validity {
    const validity = new Validity(lane);
    validity.#epoch = entry.epoch;
    validity.#nonce = entry.nonce;
    validity.#accept(entry);
    return validity;
  }

  /** Of the current owner; 0 before the first `epoch` entry. */
  get epoch(): number {
    return this.#epoch;
  }
  get nonce(): string {
    return this.#nonce;
  }
  /** Of the last entry that counts; 0 where none does. */
  get seq(): number {
    return this.#seq;
  }

  /** Throws LOG_CORRUPT where a seq was written twice with different contents, LOG_TRUNCATED where something is missing. */
  judge(entry: EntryFacts): Verdict {
    if (entry.kind === "epoch") return this.#judgeEpoch(entry);
    if (entry.epoch > this.#epoch) {
      throw new DrayError("LOG_TRUNCATED", { ...this.#facts(entry), reason: "the epoch entry before it is missing" });
    }
    // A writer whose own epoch entry did not count has the same epoch and another nonce.
    if (entry.epoch < this.#epoch || entry.nonce !== this.#nonce) return "superseded";
    if (entry.seq === this.#seq + 1) {
      this.#accept(entry);
      return "counts";
    }
    if (entry.seq > this.#seq) throw new DrayError("LOG_TRUNCATED", { ...this.#facts(entry), reason: "a gap" });
    return this.#judgeRepeat(entry);
  }

  #judgeEpoch(entry: EntryFacts): Verdict {
    if (entry.epoch < this.#epoch) return "superseded";
    if (entry.epoch === this.#epoch) return entry.nonce === this.#nonce ? "repeat" : "superseded";
    this.#epoch = entry.epoch;
    this.#nonce = entry.nonce;
    this.#epochBeganAtSeq = this.#seq;
    return "owner";
  }

  #judgeRepeat(entry: EntryFacts): Verdict {
    const seen = this.#digests.get(entry.seq);
    const isOurs = entry.seq > this.#epochBeganAtSeq;
    // Too old to be remembered, or before the place where reading began: the first one has already counted.
    if (isOurs && (seen === undefined || seen === entry.digest)) return "repeat";
    throw new DrayError("LOG_CORRUPT", { ...this.#facts(entry), reason: "a seq was written twice" });
  }

  #accept(entry: EntryFacts): void {
    this.#seq = entry.seq;
    this.#digests.set(entry.seq, entry.digest);
    this.#digests.delete(entry.seq - REMEMBERED_ENTRIES);
  }

  #facts(entry: EntryFacts): Record<string, unknown> {
    return { lane: this.#lane, seq: entry.seq, epoch: entry.epoch, lastSeq: this.#seq, currentEpoch: this.#epoch };
  }
}

export function factsOf(header: EntryHeader, digest: string): EntryFacts {
  return { kind: header.detail.kind, seq: header.seq, epoch: header.epoch, nonce: header.nonce, digest };
}
