import type { Kafka } from "kafkajs";
import type { ChunkStore } from "../chunk-store/chunk-store.ts";
import type { Clock } from "../clock.ts";
import type { LaneId, LogAnchor, LogEntry } from "../entry.ts";
import { decodeEntry, encodeEntry, entryDigest } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import { noProbe, type Probe } from "../probe.ts";
import { asHeld, HeldEntries } from "./held-entries.ts";
import { type KafkaConnection, kafkaClient } from "./kafka-client.ts";
import { kafkaFeed } from "./kafka-feed.ts";
import { KafkaLaneMemory } from "./kafka-lane-memory.ts";
import { openKafkaLane, validityBehind } from "./kafka-opening.ts";
import { kafkaRange } from "./kafka-range.ts";
import { KafkaSender } from "./kafka-sender.ts";
import { KafkaTopic } from "./kafka-topic.ts";
import { trimKafkaLane } from "./kafka-trim.ts";
import { laneName } from "./lane-name.ts";
import { LaneWriter, type SealedEntry } from "./lane-writer.ts";
import type { ChangeLog, LaneStats, LogWriter, OpenWriterOptions, ReadOptions } from "./log.ts";
import { factsOf, Validity } from "./validity.ts";

const TOPIC_PREFIX = "dray.";
const ACK_TIMEOUT_MS = 8_000;
/** The last entry that has a seq lies at most this far before the end: openings and what a zombie sent last. */
const TAIL_MESSAGES = 1_000;

export type KafkaLogOptions = {
  readonly connection: KafkaConnection;
  readonly chunkStore: ChunkStore;
  readonly clock: Clock;
  /** Of every topic's name; `dray.` by default. */
  readonly topicPrefix?: string;
  /** Copies of a topic; by default three, or as many as there are brokers. */
  readonly replicas?: number;
  readonly probe?: Probe;
  /** Told where a topic is safe only as long as one disk lives (L5). */
  readonly warn?: (message: string) => void;
};

/**
 * The log in Kafka: a topic of one partition a lane. Kafka itself lets two writers write; whose entries count is L3, and
 * a writer learns from the offset of its own message, with each append, whether another one wrote before it.
 * `stats` knows entries exactly and estimates bytes from those this process has seen.
 */
export class KafkaLog implements ChangeLog {
  readonly kind = "kafka";
  readonly #options: KafkaLogOptions;
  readonly #kafka: Kafka;
  readonly #probe: Probe;
  readonly #held = new HeldEntries();
  readonly #memories = new Map<LaneId, KafkaLaneMemory>();
  readonly #warned = new Set<string>();
  readonly #closing = new AbortController();

  constructor(options: KafkaLogOptions) {
    this.#options = options;
    this.#probe = options.probe ?? noProbe;
    this.#kafka = kafkaClient(options.connection);
  }

  async openWriter(options: OpenWriterOptions): Promise<LogWriter> {
    const { lane, signal } = options;
    const { clock, chunkStore } = this.#options;
    signal.throwIfAborted();
    const topic = this.#topic(lane);
    const reach = await topic.ensure();
    const sender = new KafkaSender({ kafka: this.#kafka, topic: topic.name, ackTimeoutMs: ACK_TIMEOUT_MS });
    try {
      await sender.connect();
      const probe = this.#probe;
      const opened = await openKafkaLane({ kafka: this.#kafka, topic, sender, clock, probe, reach, open: options });
      let nextOffset = opened.nextOffset;
      return new LaneWriter({
        lane,
        ...opened,
        chunkStore,
        probe,
        saveCheckpoint: options.saveCheckpoint,
        send: async (entries) => {
          const values = entries.map(({ headerBytes, stored }) => encodeEntry(headerBytes, stored));
          const offset = await sender.send(values);
          await this.#assertOwner({ topic, lane, epoch: opened.epoch, expected: nextOffset, found: offset });
          nextOffset = offset + values.length;
          this.#noteAppended(lane, entries, offset);
          const offsets = entries.map((_, i) => String(offset + i));
          this.#held.offer(
            lane,
            entries.map((entry, i) => asHeld(entry, offsets[i] as string)),
          );
          return offsets;
        },
        release: () => sender.close(),
      });
    } catch (error) {
      await sender.close();
      throw error;
    }
  }

  async *read(options: ReadOptions): AsyncGenerator<readonly LogEntry[], void> {
    const detach = options.takesHeld ? this.#held.attach(options.lane) : () => {};
    try {
      yield* this.#read(options);
    } finally {
      detach();
    }
  }

  /** What the broker has is what counts; of an entry that this process has just written, only the body is not opened. */
  async *#read(options: ReadOptions): AsyncGenerator<readonly LogEntry[], void> {
    const { lane, after, takesHeld } = options;
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    if (signal.aborted) return;
    const topic = this.#topic(lane);
    const fromOffset = after ? Number(after.offset) : (await topic.ensure()).low;
    const memory = this.#memory(lane);
    let validity: Validity | null = after ? null : new Validity(lane);
    for await (const messages of kafkaFeed({
      kafka: this.#kafka,
      topic,
      clock: this.#options.clock,
      fromOffset,
      signal,
    })) {
      const entries: LogEntry[] = [];
      for (const { offset, value } of messages) {
        const { header, headerBytes, stored } = decodeEntry(value, { lane, offset });
        const digest = entryDigest(headerBytes, header);
        memory.note(header, offset, value.length);
        if (validity === null) {
          validity = validityBehind(lane, after as LogAnchor, header, digest);
        } else if (validity.judge(factsOf(header, digest)) === "counts") {
          const held = takesHeld ? this.#held.take(lane, header) : null;
          if (held !== null && held.digest === digest && held.entry.offset === String(offset)) entries.push(held.entry);
          else entries.push({ header, stored, offset: String(offset) });
        }
      }
      if (entries.length > 0) yield entries;
    }
  }

  async trim(lane: LaneId, anchor: LogAnchor): Promise<void> {
    await trimKafkaLane({
      kafka: this.#kafka,
      topic: this.#topic(lane),
      lane,
      anchor,
      chunkStore: this.#options.chunkStore,
      clock: this.#options.clock,
      memory: this.#memory(lane),
      signal: this.#closing.signal,
    });
  }

  async drop(lane: LaneId): Promise<void> {
    this.#held.clear(lane);
    await this.#topic(lane).delete();
    this.#memories.delete(lane);
    await this.#options.chunkStore.dropLane(lane);
  }

  async stats(lane: LaneId): Promise<LaneStats> {
    const topic = this.#topic(lane);
    const reach = await topic.reach();
    if (reach === null) return { entries: 0, bytes: 0, firstSeq: null, lastSeq: null };
    const { low, high } = reach;
    const memory = this.#memory(lane);
    let firstSeq = memory.seqAt(low);
    let lastSeq = memory.seqAt(high - 1);
    const range = { kafka: this.#kafka, topic, clock: this.#options.clock, lane, signal: this.#closing.signal };
    if (firstSeq === null) {
      for await (const { header, offset, messageBytes } of kafkaRange({ ...range, fromOffset: low, toOffset: high })) {
        memory.note(header, offset, messageBytes);
        if (header.seq === 0) continue;
        firstSeq = header.seq;
        break;
      }
    }
    if (lastSeq === null) {
      let epoch = 0;
      const fromOffset = Math.max(low, high - TAIL_MESSAGES);
      for await (const { header } of kafkaRange({ ...range, fromOffset, toOffset: high })) {
        if (header.seq === 0 || header.epoch < epoch) continue;
        epoch = header.epoch;
        lastSeq = header.seq;
      }
    }
    return { entries: high - low, bytes: Math.round(memory.averageBytes * (high - low)), firstSeq, lastSeq };
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  /**
   * Messages of others before ours: those of a writer that lost the lane are nothing; one of a higher epoch means that
   * we lost it, and what we just wrote counts for nobody (L3).
   */
  async #assertOwner(options: {
    readonly topic: KafkaTopic;
    readonly lane: LaneId;
    readonly epoch: number;
    readonly expected: number;
    readonly found: number;
  }): Promise<void> {
    const { topic, lane, epoch, expected, found } = options;
    if (found === expected) return;
    if (found < expected) throw new DrayError("LOG_TRUNCATED", { lane, offset: found, expectedOffset: expected });
    const { signal } = this.#closing;
    const between = { fromOffset: expected, toOffset: found, clock: this.#options.clock, signal };
    for await (const { header } of kafkaRange({ kafka: this.#kafka, topic, lane, ...between })) {
      if (header.epoch > epoch) throw new DrayError("FENCED", { lane, epoch, currentEpoch: header.epoch });
    }
  }

  #noteAppended(lane: LaneId, entries: readonly SealedEntry[], offset: number): void {
    const memory = this.#memory(lane);
    entries.forEach(({ header, headerBytes, stored }, i) => {
      memory.note(header, offset + i, headerBytes.length + stored.length);
    });
  }

  #memory(lane: LaneId): KafkaLaneMemory {
    const memory = this.#memories.get(lane) ?? new KafkaLaneMemory();
    this.#memories.set(lane, memory);
    return memory;
  }

  #topic(lane: LaneId): KafkaTopic {
    return new KafkaTopic({
      kafka: this.#kafka,
      topic: `${this.#options.topicPrefix ?? TOPIC_PREFIX}${laneName(lane)}`,
      clock: this.#options.clock,
      replicas: this.#options.replicas ?? null,
      warn: (message) => {
        if (this.#warned.has(message)) return;
        this.#warned.add(message);
        this.#options.warn?.(message);
      },
    });
  }
}
