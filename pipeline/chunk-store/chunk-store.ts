import type { LaneId } from "../entry.ts";

/** Facts of a stored body; the log's entry carries them, so that a reader can tell that it got the same bytes (L6). */
export type StoredChunk = { readonly key: string; readonly sha256: string; readonly bytes: number };

/**
 * Where bodies lie that are too large for the log. Keys are `lane/epoch/random`, generated here. An object is durable
 * (synced, its folder too) before `put` resolves; its entry is appended only after that.
 */
export interface ChunkStore {
  put(lane: LaneId, epoch: number, body: Uint8Array): Promise<StoredChunk>;
  /** Rejects with CHUNK_LOST where it is gone, CHUNK_DAMAGED with both sha256 where it is not what was written. */
  get(chunk: StoredChunk): Promise<Uint8Array>;
  delete(key: string): Promise<void>;
  /** Keys of the lane, with the epoch that wrote them and their age, for the sweep of what no valid entry names. */
  list(lane: LaneId): AsyncIterable<{ readonly key: string; readonly epoch: number; readonly ageMs: number }>;
  dropLane(lane: LaneId): Promise<void>;
}
