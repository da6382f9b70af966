import type { LaneId, LogAnchor } from "../entry.ts";
import type { ErrorCode } from "../errors.ts";

/** What the log asks of its writing thread. The bytes of a whole `append` travel in one transferred buffer. */
export type AppendBatch = {
  readonly lane: LaneId;
  readonly epoch: number;
  readonly nonce: string;
  readonly firstSeq: number;
  readonly entries: readonly {
    readonly headerBytes: number;
    readonly storedBytes: number;
    readonly chunkKey: string | null;
  }[];
};

export type SqliteRequest =
  | { readonly op: "append"; readonly batches: readonly AppendBatch[]; readonly bytes: ArrayBuffer }
  | {
      readonly op: "open";
      readonly lane: LaneId;
      readonly aboveEpoch: number;
      readonly nonce: string;
      readonly wallMs: number;
    }
  | { readonly op: "trim"; readonly lane: LaneId; readonly anchor: LogAnchor }
  | { readonly op: "drop"; readonly lane: LaneId }
  | { readonly op: "close" };

/** An error in the shape that crosses threads. */
export type Failure = { readonly code: ErrorCode; readonly facts: Readonly<Record<string, unknown>> };
export type BatchAnswer = { readonly firstId: number } | { readonly failure: Failure };
export type OpenAnswer = { readonly epoch: number; readonly epochId: number };
/** `more`: ask again; a long job goes in small transactions so that appends come between. */
export type RemoveAnswer = { readonly more: boolean; readonly chunkKeys: readonly string[] };

export type SqliteAnswers = {
  readonly append: readonly BatchAnswer[];
  readonly open: OpenAnswer;
  readonly trim: RemoveAnswer;
  readonly drop: RemoveAnswer;
  readonly close: null;
};

export type SqliteMessage = { readonly id: number; readonly request: SqliteRequest };
/** `bytes`: the buffer of an `append`, handed back to be used again. */
export type SqliteReply = { readonly id: number; readonly bytes: ArrayBuffer | null } & (
  | { readonly answer: unknown }
  | { readonly failure: Failure }
);
