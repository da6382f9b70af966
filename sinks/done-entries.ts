import type { EntryHeader } from "../pipeline/entry.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { AppliedRange } from "./sink.ts";

/** What need not be applied: what the target has above its watermark since before a restart, and what is skipped (A8). */
export class DoneEntries {
  readonly #skipped = new Set<number>();
  #holes: readonly AppliedRange[] = [];
  #end = 0;

  /** As the target said when the applier began. */
  startWith(applied: readonly AppliedRange[]): void {
    this.#holes = applied;
    for (const { last } of applied) this.#end = Math.max(this.#end, last);
  }

  /** The last seq that the target has above its watermark. */
  get end(): number {
    return this.#end;
  }

  skip(seq: number): void {
    this.#skipped.add(seq);
  }

  isSkipped(seq: number): boolean {
    return this.#skipped.has(seq);
  }

  has({ seq, nonce, lane }: EntryHeader): boolean {
    if (this.#skipped.has(seq)) return true;
    if (seq > this.#end) return false;
    const hole = this.#holes.find(({ first, last }) => first <= seq && seq <= last);
    if (hole && hole.nonce !== nonce) {
      // L7: the log lost its tail after the target had applied it, and another writer has used the seq again.
      throw new DrayError("LOG_TRUNCATED", { lane, seq, appliedNonce: hole.nonce });
    }
    return hole !== undefined;
  }
}
