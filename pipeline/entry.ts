import type { Bound, Coverage, KeyRange } from "./coverage.ts";

/** A place in the source's own history. Only the connector that made it may parse or compare it. */
export type Position = string & { readonly __brand: "Position" };

/** `<move>.<store>.<f|r><generation>`: one move x one store x one direction, numbered by the generation that opened it. */
export type LaneId = string & { readonly __brand: "LaneId" };

/**
 * Canonical bytes of a primary key (W5), compared for equality. Where the table's keys are `ordered` (integers, BINARY),
 * their byte order is the key order too.
 */
export type KeyBytes = Uint8Array;

export type ChangeOp = "insert" | "update" | "delete";

/**
 * One row's change, already the tenant's own: an update that changed key or tenant has been split (W3). `row` is the
 * store's own encoding of the full after image; for a delete, of what the guard needs (the before image).
 */
export type Change = {
  readonly table: string;
  readonly op: ChangeOp;
  readonly key: KeyBytes;
  readonly row: Uint8Array;
};

export type MarkKind = "start" | "low" | "high" | "heartbeat" | "count" | "sentinel" | "seal" | "reverse";

/** A row that Drayage committed in the source to appear in its change stream at an exact place (M1). */
export type Mark = {
  /** The lane it is for, or "server" for a heartbeat that is fanned out to every lane of the server. */
  readonly scope: LaneId | "server";
  readonly epoch: number;
  /** 32 hex digits, never reused. */
  readonly nonce: string;
  readonly kind: MarkKind;
};

export type TableCounts = Readonly<Record<string, { insert: number; update: number; delete: number }>>;

/** What each kind says of itself in the header, so that `dray log` and a reader need not open the body. */
export type EntryDetail =
  | { readonly kind: "epoch" }
  | { readonly kind: "changes"; readonly tables: TableCounts; readonly endsTransaction: boolean }
  | { readonly kind: "range"; readonly range: KeyRange }
  | {
      readonly kind: "chunk";
      readonly range: KeyRange;
      readonly rows: number;
      /** Rows changed in the window, left to the stream (W1). */
      readonly leftOut: number;
    }
  | { readonly kind: "mark"; readonly mark: Mark }
  | {
      readonly kind: "verify";
      readonly scope: VerifyScope;
      readonly rows: number;
      /** Rows changed in the window: not compared (V1). */
      readonly leftOut: number;
    }
  | { readonly kind: "schema" }
  | { readonly kind: "member" };
export type EntryKind = EntryDetail["kind"];

/** V1: a range by digests, or single keys by whole rows. */
export type VerifyScope =
  | { readonly form: "range"; readonly table: string; readonly after: Bound | null; readonly upTo: Bound | null }
  | { readonly form: "keys"; readonly table: string; readonly keys: number };

export type BodyRef = {
  /** Of the bytes as stored (compressed where `encoding` says so). */
  readonly sha256: string;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly encoding: "plain" | "zstd";
  /** Set where the body lies in the chunk store instead of behind the header (L6). */
  readonly chunkKey: string | null;
};

/** L1. The last valid header is all that a writer needs to go on. */
export type EntryHeader = {
  readonly lane: LaneId;
  /** 1, 2, 3, … in its lane without gaps; an `epoch` entry takes none and says 0. A safe integer. */
  readonly seq: number;
  /** The writer's generation, and the random nonce (32 hex digits) its `epoch` entry carried (L7). */
  readonly epoch: number;
  readonly nonce: string;
  /** The source's history up to and including this entry: reading goes on behind it. */
  readonly position: Position;
  /** When the source committed it, by the source's clock; for people and rough lag only. */
  readonly committedAtMs: number;
  /** The snapshot's state after this entry. */
  readonly coverage: Coverage;
  readonly detail: EntryDetail;
  readonly body: BodyRef;
};

/** What a writer hands in; lane, seq, epoch, nonce and the body's facts are the log's to fill. */
export type EntryDraft = {
  readonly position: Position;
  readonly committedAtMs: number;
  readonly coverage: Coverage;
  readonly detail: EntryDetail;
  /** Plain bytes; the log compresses them. Empty for range and mark. */
  readonly body: Uint8Array;
  /** Called at most once, when nobody needs the body's bytes any more and they may be overwritten. */
  readonly release?: () => void;
};

/** An entry's plain body that is still in memory. Whoever has done with it may say so; nobody has to. */
export type HeldBody = { readonly plain: Uint8Array; readonly release: () => void };

export type LogEntry = {
  readonly header: EntryHeader;
  /** As stored. `openBody` (entry-codec.ts) checks the sha256, reads the chunk store where needed, and inflates. */
  readonly stored: Uint8Array;
  /** Instead of `stored`, where the process that reads has written the entry itself (`ReadOptions.takesHeld`). */
  readonly held?: HeldBody;
  /** Where it stands in the log, as the log counts: an SQLite rowid, a Kafka offset. */
  readonly offset: string;
};

/** How a sink names the last entry it has applied, so that it finds exactly that one again at open (L7). */
export type LogAnchor = {
  readonly offset: string;
  readonly epoch: number;
  readonly nonce: string;
  readonly seq: number;
};
