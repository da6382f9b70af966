import type { CoveredTable, TableRange } from "../connectors/connector.ts";
import type { KeyRange } from "../pipeline/coverage.ts";
import type { Change, KeyBytes, LaneId, LogAnchor } from "../pipeline/entry.ts";
import type { RowDigests } from "../pipeline/verify/row-digests.ts";

export type LaneTarget = {
  readonly lane: LaneId;
  /** Named to other moves that meet a row of this one (A8). */
  readonly move?: string;
  readonly tenant: string;
  readonly tables: readonly CoveredTable[];
  /** The applier epoch that this process held last: one above it is another's, and opening throws FENCED (A7). */
  readonly lastEpoch?: number | null;
  /** Names who opens, over all openings: an epoch that it took without hearing so is its own, and not another's. */
  readonly claim?: string;
};

export type SeqRange = { readonly first: number; readonly last: number };

/** Stands in `dray.applied`. The nonce names the writer: a seq alone may come again after a log lost its tail (L7). */
export type AppliedRange = SeqRange & { readonly nonce: string };

/** What the target itself knows of a lane: the truth about apply. */
export type Progress = {
  /** Everything up to here is durably applied; 0 in a new lane. */
  readonly watermark: number;
  readonly anchor: LogAnchor | null;
  /** Seqs above the watermark that are applied already: skipped after a restart (A2). */
  readonly applied: readonly AppliedRange[];
  /** The lane was closed for good at the commit point or by an abort (C5). */
  readonly closed: boolean;
};

/**
 * Whether the log is known to hold, behind this unit, a change of the row whose key has this text: what the unit itself
 * brings of it then need not be written where a row of another move stands in its way (A8).
 */
export type ChangedLater = (table: string, key: string) => boolean;

/** Changes of whole seqs, in log order. The sink coalesces per key; on a guard error it retries in log order (A3). */
export type ChangeBatch = {
  readonly seqs: AppliedRange;
  readonly changes: readonly (readonly Change[])[];
  readonly changedLater?: ChangedLater;
};

export type ChunkUnit = {
  readonly seq: number;
  readonly nonce: string;
  readonly range: KeyRange;
  readonly leftOut: readonly KeyBytes[];
  /** The store's own encoding, from the connector's `ChunkRows.encode`. */
  readonly body: Uint8Array;
  readonly rows: number;
  readonly changedLater?: ChangedLater;
};

/** A target read view at an exact log place: while it is open later entries may commit, and it does not see them. */
export interface ReadView {
  countRows(signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
  /** The tenant's rows of a range in key order, as `ChunkRows.digest` makes them of equal rows at the source (V1). */
  digestRange(range: TableRange, key: Uint8Array, signal: AbortSignal): Promise<RowDigests>;
  /** The tenant's rows with these keys, by key text; each as `ChunkRows.single` makes it of an equal row. */
  readKeys(table: string, keys: readonly KeyBytes[], signal: AbortSignal): Promise<ReadonlyMap<string, Uint8Array>>;
  close(): Promise<void>;
}

/**
 * One lane's end in the target. Errors say by code what kind they are (A8): transient ones (`retry: backoff`) have
 * changed nothing or are of unknown outcome, which `progress()` settles; final ones stop the lane and have changed
 * nothing. Contended ones (GUARD_CONTENDED) are transient too, and may have removed rows of this tenant that the very
 * unit removes anyway. FENCED: a newer applier owns the lane.
 */
export interface LaneSink {
  readonly epoch: number;
  /** Names the target's server: another one may hold other rows. */
  readonly server: string;
  /** How many transactions may be under way at once. */
  readonly sessions: number;
  /** A2: whether changes of this table may overtake each other where they share no key. */
  mayOvertake(table: string): boolean;
  /** A4: chunks and changes of such a table go strictly in log order. */
  hasOtherUnique(table: string): boolean;
  /**
   * W4: whether a stale row may stand in the way of a row with other key bytes, by another unique index or by a key
   * that the target compares otherwise than by bytes. A recopy clears such a table first.
   */
  meetsStaleRows(table: string): boolean;
  /** Whether another move that is still under way brings rows of the table into this target (A8). */
  isShared(table: string, signal: AbortSignal): Promise<boolean>;
  /** Read again from the target: after an error of unknown outcome, and at open. */
  progress(signal: AbortSignal): Promise<Progress>;
  /** One transaction that holds every change of these seqs and nothing else, its first write in `dray.applied` (A2). */
  applyChanges(batch: ChangeBatch, signal: AbortSignal): Promise<void>;
  /** Replaces the range by the chunk (W4), one transaction. */
  applyChunk(chunk: ChunkUnit, signal: AbortSignal): Promise<void>;
  /** Durable when it resolves; deletes what `dray.applied` holds below it. Never goes back. */
  advance(anchor: LogAnchor, signal: AbortSignal): Promise<void>;
  /** W4, a table that is copied again: removes the tenant's rows of it, guarded, in batches. */
  clearTable(table: string, signal: AbortSignal, onBatch?: (rows: number) => void): Promise<{ readonly rows: number }>;
  /** Opened while nothing of what will be read in it is being applied; the reading runs beside the stream. */
  openReadView(signal: AbortSignal): Promise<ReadView>;
  /** C5: no applier of this lane may ever write again. */
  closeForGood(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Rows removed, by table. */
export type RemovedRows = Readonly<Record<string, number>>;

/** Rows that a removal leaves where they are, as keys' text by the lane's tables. */
export type RowsToSpare = {
  /** As far as is known now. */
  known(table: string): ReadonlySet<string>;
  /** Before rows are locked: resolves once `confirm` can be expected to answer in a moment. */
  ready(signal: AbortSignal): Promise<void>;
  /** While rows are locked: when it resolves, `known` names every row that was written until it was called. */
  confirm(signal: AbortSignal): Promise<void>;
};

export type Removal = {
  readonly onBatch: (table: string, rows: number) => void;
  readonly spare?: RowsToSpare;
  /** Once a table is done: the keys, as text, of the rows that were spared. */
  readonly onLeft?: (table: string, keys: readonly string[]) => void;
};

/** Writes a target. One per target server. */
export interface Sink {
  readonly kind: string;
  /** A7: takes a higher applier epoch, ends the old applier's connections and waits for their locks. */
  open(target: LaneTarget, signal: AbortSignal): Promise<LaneSink>;
  /**
   * The tenant's rows, removed again: guarded, in small batches with pauses. Only behind `closeForGood` (else
   * LANE_NOT_CLOSED). May be ended by its signal and begun again: what is left is found, not remembered.
   */
  removeRows(target: LaneTarget, removal: Removal, signal: AbortSignal): Promise<RemovedRows>;
  close(): Promise<void>;
}
