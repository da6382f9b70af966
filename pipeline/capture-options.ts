import type { Coverage } from "./coverage.ts";
import type { Change, LogAnchor, Mark, TableCounts } from "./entry.ts";
import type { Appended } from "./lane-log.ts";
import type { ChangeLog, LogCheckpoint } from "./log/log.ts";
import type { Probe } from "./probe.ts";
import type { FeedState, LaneSource, StreamSource } from "./source.ts";

/** Where a mark stands in the lane's log. */
export type MarkPlace = Appended & {
  readonly mark: Mark;
  /** What this writer epoch has carried of each table before the mark. */
  readonly carried: TableCounts;
};

/** What a lane keeps outside the log: its epoch's floor and a place to begin reading at (L2). */
export interface LaneMemory {
  /** A number above all it has returned for this lane. */
  raiseEpoch(): Promise<number>;
  checkpoint(): Promise<LogCheckpoint | null>;
  saveCheckpoint(checkpoint: LogCheckpoint): Promise<void>;
  /** The entry that the target recorded with its watermark; null where it cannot be asked or has none. */
  anchor(): Promise<LogAnchor | null>;
}

export type LaneCaptureOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly log: ChangeLog;
  readonly memory: LaneMemory;
  readonly probe: Probe;
  /** Every mark but low and high, once its entry is durable: heartbeats for the lag meter. */
  readonly onMark: (place: MarkPlace) => void;
  /** A chunk stands in the log; its bytes are those before compression. */
  readonly onChunk: (seq: number, bytes: number) => void;
  /** Behind a seal. Awaited before the stream goes on, so that an alarm is durable before its place is passed. */
  readonly onStray: (stray: Stray) => Promise<void>;
  /**
   * watching: the lane was sealed for good by a commit, in this process or an earlier one (C5). standby: it leads back, and
   * carries nothing before the mark of the generation that it is told to begin at (C7).
   */
  readonly mode: "carrying" | "watching" | "standby";
  /** Of a lane that leads back: where it begins, or began. */
  readonly begins: Begin | null;
  /** 0, or above where an earlier lane of the move has copied already (W4). */
  readonly firstPass: number;
  /** Its target has every row already: nothing is copied, and it begins at a mark (C7). */
  readonly leadsBack: boolean;
};

/** C7: the mark of this generation at the new home; what the tenant writes there comes behind it. */
export type Begin = { readonly generation: number; readonly nonce: string };

/** A change of the tenant that the source took behind the seal: it goes nowhere until somebody decides. */
export type Stray = {
  readonly transaction: string;
  readonly committedAtMs: number;
  readonly session: number | null;
  readonly changes: readonly Change[];
};

export type CaptureState = {
  readonly epoch: number;
  readonly feed: FeedState;
  readonly coverage: Coverage;
  /** Changes kept since this epoch began, and the seq of the newest entry that holds one. */
  readonly carried: TableCounts;
  readonly lastChangeSeq: number;
};
