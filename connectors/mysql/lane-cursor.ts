import type { Change, Position } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { LaneSource } from "../../pipeline/source.ts";
import type { MarkRow } from "./dray-rows.ts";
import { type Gtid, type GtidSet, gtidText } from "./gtid-set.ts";
import type { FeedBuffer } from "./lane-feed.ts";
import { formatPosition, type MarkTaken, type MysqlPosition, type Partial } from "./position.ts";

/** L6, M4: what one slice of a transaction may hold, unless a single rows event holds more. */
export const SLICE_BYTES = 512 * 1024;

/** The transaction that a reader is inside of, as its lanes see it. */
export type OpenTransaction = {
  readonly gtid: Gtid;
  readonly committedAtMs: number;
  readonly serverUuid: string;
  /** Rows events read so far, foreign ones too. */
  readonly ordinal: number;
  /** The session that wrote it, where the server says so. */
  readonly session: number | null;
  /** Of unknown outcome until its XA PREPARE has said more: nothing of it is given out before (M7). */
  readonly isXa: boolean;
};

/**
 * Where one lane stands in its reader's stream, and the slice it is collecting. A lane that begins after its reader, or
 * that has read further, steps over what it has: whole transactions by its own set, one by its ordinal (M4).
 */
export class LaneCursor {
  readonly source: LaneSource;
  readonly feed: FeedBuffer;
  /** Nonce of the start mark that is still to come: nothing before it is the lane's (M5). */
  awaiting: string | null = null;
  /** Taken by this lane beyond what its reader has read; null once the reader has all of it. */
  ahead: GtidSet | null;
  mark: MarkTaken | null;
  /** In cutover: it waits for no other lane, and others wait for it (M9). */
  hasPriority = false;
  #partial: Partial | null;
  /** Of the transaction under way: rows events up to here are taken, Infinity where all of it is. */
  #takenOrdinal = 0;
  #changes: Change[] = [];
  #bytes = 0;
  #sliceOrdinal = 0;
  #stopped = false;

  constructor(options: { readonly source: LaneSource; readonly feed: FeedBuffer; readonly from: MysqlPosition }) {
    this.source = options.source;
    this.feed = options.feed;
    this.ahead = options.from.completed.isEmpty ? null : options.from.completed.clone();
    this.#partial = options.from.partial;
    this.mark = options.from.mark;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  get hasSlice(): boolean {
    return this.#changes.length > 0;
  }

  /** Has given out a part of the transaction under way. */
  get isInside(): boolean {
    return this.#partial !== null;
  }

  /** Whether `beginTransaction` has anything to say to it. */
  get isOrdinary(): boolean {
    return this.awaiting === null && this.ahead === null && this.#partial === null && this.#takenOrdinal === 0;
  }

  position(readerCompleted: GtidSet): MysqlPosition {
    return {
      completed: this.ahead === null ? readerCompleted.clone() : readerCompleted.union(this.ahead),
      partial: this.#partial,
      mark: this.mark,
    };
  }

  /** Its reader begins again, or another one takes it over: it goes on from what it has given out. */
  rebase(readerCompleted: GtidSet): void {
    this.ahead = this.position(readerCompleted).completed;
    this.#changes = [];
    this.#bytes = 0;
    this.#takenOrdinal = 0;
    this.#sliceOrdinal = 0;
  }

  beginTransaction(gtid: Gtid): void {
    if (this.awaiting !== null || this.ahead?.has(gtid)) {
      this.#takenOrdinal = Number.POSITIVE_INFINITY;
    } else {
      const partial = this.#partial;
      const same = partial !== null && partial.gtid.number === gtid.number && partial.gtid.source === gtid.source;
      this.#takenOrdinal = same ? partial.ordinal : 0;
    }
  }

  /** Nothing of the transaction under way is for this lane. */
  get stepsOver(): boolean {
    return this.#stopped || this.#takenOrdinal === Number.POSITIVE_INFINITY;
  }

  takes(ordinal: number): boolean {
    return ordinal > this.#takenOrdinal && !this.#stopped;
  }

  /** Collects a change of the rows event `transaction.ordinal`; a slice that would grow too large is given out first. */
  add(change: Change): void {
    this.#changes.push(change);
    this.#bytes += change.key.length + change.row.length;
  }

  /** Before each change; slices end between rows events only (M4). A row as text may be larger than its image. */
  beginRowsEvent(transaction: OpenTransaction, readerCompleted: GtidSet, eventBytes: number): void {
    if (this.#sliceOrdinal === transaction.ordinal) return;
    if (this.#changes.length > 0 && this.#bytes + 3 * eventBytes > SLICE_BYTES) {
      if (transaction.isXa) return this.stop(new DrayError("XA_NOT_YET", { transaction: gtidText(transaction.gtid) }));
      this.#partial = {
        gtid: transaction.gtid,
        ordinal: this.#sliceOrdinal,
        serverUuid: transaction.serverUuid,
      };
      this.#give(transaction, this.#positionText(readerCompleted), false);
    }
    this.#sliceOrdinal = transaction.ordinal;
  }

  /** After the reader's set has taken the transaction in. */
  endTransaction(transaction: OpenTransaction, readerCompleted: GtidSet): void {
    const wasInside = this.#partial !== null && gtidText(this.#partial.gtid) === gtidText(transaction.gtid);
    if (wasInside) this.#partial = null;
    if (this.#changes.length > 0 || (wasInside && !this.#stopped)) {
      this.#give(transaction, this.#positionText(readerCompleted), true);
    }
    this.#takenOrdinal = 0;
    this.#sliceOrdinal = 0;
    if (this.ahead?.isSubsetOf(readerCompleted)) this.ahead = null;
  }

  /** Nothing of the transaction under way is the lane's after all (C7). */
  forget(): void {
    this.#changes = [];
    this.#bytes = 0;
  }

  takeMark({ id, mark }: MarkRow, transaction: OpenTransaction, readerCompleted: GtidSet): void {
    if (this.#stopped) return;
    // Ids are given out before commits are ordered: the highest seen is what deleting below must leave (M1).
    if (this.mark === null || id > this.mark.id) this.mark = { id, nonce: mark.nonce };
    const position = this.#positionText(readerCompleted);
    this.feed.push({ type: "mark", position, committedAtMs: transaction.committedAtMs, mark });
  }

  /** What was given out stands; the slice in hand does not. Other lanes never notice (M8, M9). */
  stop(error: DrayError): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.forget();
    this.feed.fail(error);
  }

  #positionText(readerCompleted: GtidSet): Position {
    const completed = this.ahead === null ? readerCompleted : readerCompleted.union(this.ahead);
    return formatPosition({ completed, partial: this.#partial, mark: this.mark });
  }

  #give(transaction: OpenTransaction, position: Position, endsTransaction: boolean): void {
    const changes = this.#changes;
    const bytes = this.#bytes;
    this.forget();
    this.feed.push({
      type: "changes",
      position,
      committedAtMs: transaction.committedAtMs,
      changes,
      bytes,
      endsTransaction,
      transaction: gtidText(transaction.gtid),
      session: transaction.session,
    });
  }
}
