import type { ChunkStore } from "../chunk-store/chunk-store.ts";
import type { LaneId } from "../entry.ts";

/** An object younger than this may belong to an append that is still under way. */
export const SWEEP_AFTER_MS = 60 * 60 * 1000;

export type SweepOptions = {
  readonly lane: LaneId;
  readonly belowEpoch: number;
  readonly chunkStore: ChunkStore;
  readonly isNamed: (key: string) => boolean;
};

/** L6: removes objects of earlier writers that no valid entry names. */
export async function sweepChunks(options: SweepOptions): Promise<void> {
  for await (const { key, epoch, ageMs } of options.chunkStore.list(options.lane)) {
    if (epoch >= options.belowEpoch || ageMs < SWEEP_AFTER_MS || options.isNamed(key)) continue;
    await options.chunkStore.delete(key);
  }
}
