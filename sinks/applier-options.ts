import type { ChunkStore } from "../pipeline/chunk-store/chunk-store.ts";
import type { Clock } from "../pipeline/clock.ts";
import type { EntryHeader, LaneId } from "../pipeline/entry.ts";
import type { ChangeLog } from "../pipeline/log/log.ts";
import type { Probe } from "../pipeline/probe.ts";
import type { AppliedCounts } from "./apply-counters.ts";
import type { BatchLimits } from "./batch.ts";
import type { EntryFollower } from "./follower.ts";
import type { LaneSink } from "./sink.ts";

export type ApplierLimits = BatchLimits & { readonly prefetchBytes: number };

/**
 * A2, A3: large enough to cost the target little, small enough to hold locks for milliseconds and to share no key with
 * the transactions beside it.
 */
export const LIMITS: ApplierLimits = { changes: 500, bytes: 1024 * 1024, prefetchBytes: 8 * 1024 * 1024 };
export type ApplierOptions = {
  readonly log: ChangeLog;
  readonly lane: LaneId;
  readonly sink: LaneSink;
  readonly chunkStore: ChunkStore;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly limits?: Partial<ApplierLimits>;
  readonly follower?: EntryFollower;
  /** Every entry once, in seq order, when everything up to it is applied; its watermark may be durable a little later. */
  readonly onApplied?: (header: EntryHeader) => void;
};

export type ApplierState = {
  readonly watermark: number;
  readonly appliedSeq: number;
  readonly headSeqSeen: number;
  readonly inFlight: number;
  /** Why it waits or tries again, in the operator's words; null while it works or has nothing to do. */
  readonly reason: string | null;
  readonly applied: AppliedCounts;
};
