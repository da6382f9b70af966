import type { EntryDraft, EntryHeader, LaneId, LogAnchor, LogEntry } from "../entry.ts";

/** A lane's size and reach in the log. */
export type LaneStats = {
  readonly entries: number;
  readonly bytes: number;
  readonly firstSeq: number | null;
  readonly lastSeq: number | null;
};

/** Where reading may start; kept in the control store, at most 64 MiB behind the tail (L2). Only the log parses it. */
export type LogCheckpoint = LogAnchor;

/**
 * The one writer of a lane. Appends are durable in the order of the calls; several may wait together and are written as
 * one. After any rejection the writer is dead and the lane is opened again (L4): the tail says where to go on.
 */
export interface LogWriter {
  readonly epoch: number;
  readonly nonce: string;
  /** The last valid entry before this writer's epoch; null in an empty lane. Never an `epoch` entry. */
  readonly tail: EntryHeader | null;
  /** Bytes read to find the tail: 64 MiB at most, whatever the lane's size. */
  readonly openedBytes: number;
  /**
   * Resolves with the entry's header once it is durable; awaiting it is the back-pressure. Rejects with FENCED once a
   * newer epoch opened, LOG_FULL, LOG_UNAVAILABLE, LOG_OUTCOME_UNKNOWN, or ENTRY_TOO_LARGE.
   */
  append(draft: EntryDraft): Promise<{ readonly header: EntryHeader; readonly offset: string }>;
  /** A place to start the next opening at; null until something was appended or read. */
  checkpoint(): LogCheckpoint | null;
  /** Waits for appends under way; later ones are refused. */
  close(): Promise<void>;
}

export type OpenWriterOptions = {
  readonly lane: LaneId;
  /** The highest epoch the control store knows; the writer takes one above it and above any in the log (L2). */
  readonly aboveEpoch: number;
  readonly checkpoint: LogCheckpoint | null;
  /** The entry the sink recorded with its watermark: the fallback where the checkpoint is gone, kept by trimming. */
  readonly anchor: LogAnchor | null;
  /**
   * Keeps the next opening within 64 MiB (L2): called whenever 16 MiB were appended, and awaited before the next send;
   * a rejection ends the writer.
   */
  readonly saveCheckpoint?: (checkpoint: LogCheckpoint) => Promise<void>;
  readonly signal: AbortSignal;
};

export type ReadOptions = {
  readonly lane: LaneId;
  /**
   * The entry the target has applied up to, or null to read from the first entry. It must be found exactly (offset,
   * nonce, seq), else LOG_TRUNCATED: the log lost entries that the target has, or was replaced (L7).
   */
  readonly after: LogAnchor | null;
  /** Entries may come with their plain bodies from memory (`LogEntry.held`). For the one reader that applies the lane. */
  readonly takesHeld?: boolean;
  readonly signal: AbortSignal;
};

/**
 * Entries in seq order, pushed as they become durable, without repeats and without entries of a superseded epoch (L3).
 * Ends only by its signal (returns) or by an error (LOG_TRUNCATED, LOG_CORRUPT, LOG_UNAVAILABLE).
 */
export interface ChangeLog {
  readonly kind: "embedded" | "kafka";
  openWriter(options: OpenWriterOptions): Promise<LogWriter>;
  /** Asking for the next batch releases the last: a slow consumer holds at most one batch (about 8 MiB) and a prefetch. */
  read(options: ReadOptions): AsyncIterable<readonly LogEntry[]>;
  /** Removes entries below `anchor.seq`, never the anchor itself; a reader or writer at work is not disturbed. */
  trim(lane: LaneId, anchor: LogAnchor): Promise<void>;
  /** Removes the lane; it may be created again under the same name. */
  drop(lane: LaneId): Promise<void>;
  stats(lane: LaneId): Promise<LaneStats>;
  close(): Promise<void>;
}
