import type { Kafka } from "kafkajs";
import type { ChunkStore } from "../chunk-store/chunk-store.ts";
import type { Clock } from "../clock.ts";
import type { LaneId, LogAnchor } from "../entry.ts";
import { entryDigest } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import { SWEEP_AFTER_MS } from "./chunk-sweep.ts";
import type { KafkaLaneMemory } from "./kafka-lane-memory.ts";
import { validityBehind } from "./kafka-opening.ts";
import { kafkaRange } from "./kafka-range.ts";
import type { KafkaTopic } from "./kafka-topic.ts";

export type KafkaTrimOptions = {
  readonly kafka: Kafka;
  readonly topic: KafkaTopic;
  readonly lane: LaneId;
  readonly anchor: LogAnchor;
  readonly chunkStore: ChunkStore;
  readonly clock: Clock;
  readonly memory: KafkaLaneMemory;
  readonly signal: AbortSignal;
};

/** Removes what lies before the anchor's entry, and the chunk store's objects that only those entries named (L6). */
export async function trimKafkaLane(options: KafkaTrimOptions): Promise<void> {
  const { topic, lane, anchor, chunkStore, memory } = options;
  const offset = Number(anchor.offset);
  const reach = await topic.reach();
  if (reach === null || offset < reach.low || offset >= reach.high) {
    throw new DrayError("LOG_TRUNCATED", { lane, ...anchor, low: reach?.low ?? null, high: reach?.high ?? null });
  }
  for await (const { header, headerBytes } of kafkaRange({ ...options, fromOffset: offset, toOffset: offset + 1 })) {
    validityBehind(lane, anchor, header, entryDigest(headerBytes, header));
  }
  const objects: { readonly key: string; readonly epoch: number; readonly ageMs: number }[] = [];
  for await (const object of chunkStore.list(lane)) objects.push(object);
  await learnNames(options, reach, objects);
  await topic.deleteBelow(offset);
  for (const { key, epoch, ageMs } of objects) {
    const seq = memory.chunkSeq(key);
    const isTrimmed = seq !== null && seq < anchor.seq;
    // Of a writer before the anchor's own: its entry, if it ever came, stood before the anchor.
    const isOrphan = seq === null && epoch < anchor.epoch && ageMs > SWEEP_AFTER_MS;
    if (isTrimmed || isOrphan) await chunkStore.delete(key);
  }
  memory.trimmed({ offset, seq: anchor.seq });
}

/** Objects that an earlier process wrote: their entries must be looked up once, before they are gone. */
async function learnNames(
  options: KafkaTrimOptions,
  reach: { readonly low: number; readonly high: number },
  objects: readonly { readonly key: string }[],
): Promise<void> {
  const { memory } = options;
  const isUnknown = ({ key }: { readonly key: string }) => memory.chunkSeq(key) === null && !memory.isUnnamed(key);
  if (!objects.some(isUnknown)) return;
  for await (const entry of kafkaRange({ ...options, fromOffset: reach.low, toOffset: reach.high })) {
    memory.note(entry.header, entry.offset, entry.messageBytes);
  }
  for (const object of objects) if (isUnknown(object)) memory.markUnnamed(object.key);
}
