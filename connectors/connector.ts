import type { LaneId } from "../pipeline/entry.ts";
import type { LaneSource, StreamSource } from "../pipeline/source.ts";

export type {
  ChunkBudget,
  ChunkRows,
  CoveredTable,
  FeedState,
  LaneFeed,
  LaneSource,
  SourceEvent,
  TableRange,
} from "../pipeline/source.ts";

/** Reads a source. One per source server, however many moves it serves. */
export interface Connector extends StreamSource {
  readonly kind: string;
  /** The tenant's rows per table, one statement each, for the gate's count between two marks; read as a range is. */
  countRows(source: LaneSource, signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
  /** The server's own guess of the tenant's rows per table; cheap, for progress only. */
  estimateRows(source: LaneSource, signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
  /** How long the source keeps its history; null where it never purges by age. */
  retentionSeconds(signal: AbortSignal): Promise<number | null>;
  /** M9: this lane waits for no other until the returned function is called, as its tenant stands behind a fence. */
  prioritise(lane: LaneId): () => void;
  close(): Promise<void>;
}
