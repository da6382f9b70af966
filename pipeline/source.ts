import type { Bound, KeyRange } from "./coverage.ts";
import type { Change, KeyBytes, LaneId, Mark, MarkKind, Position } from "./entry.ts";
import type { RowDigests } from "./verify/row-digests.ts";

/** A table (collection) that moves. `definition` belongs to the kind of store and is kept as JSON in the control store. */
export type CoveredTable = {
  /** `schema.table` at the source: the name in entries, coverage, status and errors. */
  readonly id: string;
  /** The one row whose primary key is the tenant key (T2): announced after every other table's last chunk. */
  readonly root: boolean;
  /** KeyBytes sort as the keys do, so that W3 may drop what lies above all announced ranges. */
  readonly ordered: boolean;
  readonly definition: unknown;
};

export type LaneSource = {
  readonly lane: LaneId;
  /** The move whose own applied transactions this lane must never carry back (C7). */
  readonly move: string;
  /** The tenant key as the operator typed it; each table compares its canonical bytes (T1). */
  readonly tenant: string;
  readonly tables: readonly CoveredTable[];
};

/** One thing that the source's stream said to a lane, in stream order. */
export type SourceEvent =
  | {
      readonly type: "changes";
      /** Reading may go on behind this slice. */
      readonly position: Position;
      readonly committedAtMs: number;
      readonly changes: readonly Change[];
      /** Of keys and rows, for the byte budgets. */
      readonly bytes: number;
      /** The slice ends its transaction; only then does the position's set of completed transactions grow (M4). */
      readonly endsTransaction: boolean;
      /** The source's name of the transaction (a GTID), for alarms and errors. */
      readonly transaction: string;
      /** The source's number of the session that wrote it; null where the stream does not tell. */
      readonly session: number | null;
    }
  | {
      readonly type: "mark";
      readonly position: Position;
      readonly committedAtMs: number;
      readonly mark: Mark;
    };

export type FeedState = {
  readonly state: "connecting" | "shared" | "detached" | "stopped";
  /** How often the reader behind this feed has connected: a chunk whose window saw two is discarded (M2). */
  readonly connects: number;
  readonly position: Position;
  /** Why it waits or stopped, in the operator's words; null while it streams. */
  readonly reason: string | null;
};

/** A lane's end of the shared reader. Losing it loses nothing: a new feed from the last entry's position goes on. */
export interface LaneFeed {
  /**
   * Everything that waits, at least one event; asking again releases the last batch's bytes. Reconnects inside.
   * Throws what stops the lane: DIVERGED, BINLOG_PURGED, DDL_ON_COVERED_TABLE, …, each final until a person acts.
   */
  next(signal: AbortSignal): Promise<readonly SourceEvent[]>;
  state(): FeedState;
  close(): Promise<void>;
}

export type ChunkRows = {
  readonly rows: number;
  /** The store's own encoding of all rows whose keyText is not in `leaveOut`. Called once, after the window has closed. */
  encode(leaveOut: ReadonlySet<string>): EncodedRows;
  /** Instead of `encode`: what stands for each row, keyed with `key`. Called once; others get their turn in between. */
  digest(key: Uint8Array): Promise<RowDigests>;
  /** Instead of `encode`: each row by itself, its values in their one form (W6). */
  single(): readonly { readonly key: KeyBytes; readonly row: Uint8Array }[];
  /** Of the rows as read. */
  readonly bytes: number;
};

export type EncodedRows = {
  readonly body: Uint8Array;
  readonly rows: number;
  /** As in a chunk's body (change-codec.ts). */
  readonly headroomBytes: number;
  /** The body's bytes are needed by nobody any more: the next chunk may be read into them. */
  readonly release: () => void;
};

/** Keys of a table above `after` up to and including `upTo`. */
export type TableRange = Pick<KeyRange, "table" | "after" | "upTo">;

export type ChunkBudget = { readonly rows: number; readonly bytes: number };

/**
 * What the pipeline needs of a source: a stream for each lane, marks in it, and ranges read between marks. The part of
 * a Connector that capture and snapshot drive. Marks and reads wait until the lane's reader is connected, go to the very
 * server that it reads, its history checked (M6), and fail with what has stopped the lane, or for now where nobody reads.
 */
export interface StreamSource {
  /**
   * With `from`: goes on behind that position. With null: registers the lane's filter and then commits a `start` mark;
   * the feed's first event is that mark and the lane's history begins there (M5).
   */
  attach(source: LaneSource, from: Position | null, epoch: number, signal: AbortSignal): Promise<LaneFeed>;
  /** Commits a mark on the very server that is read; returned once committed. Its place in the stream is what counts. */
  mark(scope: LaneId, epoch: number, kind: MarkKind, signal: AbortSignal): Promise<Mark>;
  /**
   * The monotonic time, in ms, just before this process sent a heartbeat mark with that nonce (M3); null for another's,
   * or one long gone.
   */
  markedAtMs(nonce: string): number | null;
  /** The upper end of the next range behind `after` for this budget; null where the tenant's rows end inside it. */
  nextBound(
    source: LaneSource,
    table: string,
    after: Bound | null,
    budget: ChunkBudget,
    signal: AbortSignal,
  ): Promise<Bound | null>;
  /** One statement in a new read view (W1). Call only after the window's `low` mark is committed, then commit `high`. */
  readRange(source: LaneSource, range: TableRange, signal: AbortSignal): Promise<ChunkRows>;
  /** The tenant's rows with these keys, by primary key; between marks as `readRange`. May give others with equal keys. */
  readKeys(source: LaneSource, table: string, keys: readonly KeyBytes[], signal: AbortSignal): Promise<ChunkRows>;
  /**
   * A fingerprint of what must not change between `low` and the read: server uuid, binlog_order_commits, read_only (M2).
   * A range whose two fingerprints differ is discarded.
   */
  fingerprint(signal: AbortSignal): Promise<string>;
}
