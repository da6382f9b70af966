import { randomBytes } from "node:crypto";
import type { Kafka } from "kafkajs";
import type { Clock } from "../clock.ts";
import type { EntryHeader, LaneId, LogAnchor } from "../entry.ts";
import { decodeEntry, encodeEntry, encodeHeader, entryDigest } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import type { Probe } from "../probe.ts";
import { epochHeader } from "./epoch-header.ts";
import { kafkaFeed } from "./kafka-feed.ts";
import type { KafkaSender } from "./kafka-sender.ts";
import type { KafkaTopic, TopicReach } from "./kafka-topic.ts";
import { anchorOf } from "./lane-writer.ts";
import type { OpenWriterOptions } from "./log.ts";
import { factsOf, Validity } from "./validity.ts";

export type KafkaOpeningOptions = {
  readonly kafka: Kafka;
  readonly topic: KafkaTopic;
  readonly sender: KafkaSender;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly reach: TopicReach;
  readonly open: OpenWriterOptions;
};

export type KafkaOpened = {
  readonly epoch: number;
  readonly nonce: string;
  readonly tail: EntryHeader | null;
  /** The tail's own. */
  readonly checkpoint: LogAnchor | null;
  /** Where the writer's next message must come to stand, if nobody else writes. */
  readonly nextOffset: number;
  readonly openedBytes: number;
};

/** L2: an epoch of one's own, written first and read back to; the tail is the last entry that counts before it. */
export async function openKafkaLane(options: KafkaOpeningOptions): Promise<KafkaOpened> {
  const { open, reach, sender, probe } = options;
  const { lane, anchor } = open;
  const start = startingPoint(open, reach);
  const stop = new AbortController();
  const signal = AbortSignal.any([open.signal, stop.signal]);
  const reader = new OpeningReader(lane, start);
  let epoch = open.aboveEpoch + 1;
  const fromOffset = start ? Number(start.offset) : reach.low;
  const feed = kafkaFeed({ ...options, fromOffset, signal });
  try {
    for (;;) {
      const nonce = randomBytes(16).toString("hex");
      const header = encodeHeader(epochHeader({ lane, epoch, nonce, wallMs: options.clock.wallMs() }));
      const ownOffset = await sender.send([encodeEntry(header, new Uint8Array(0))]);
      await probe("log.epoch-appended", { lane, epoch });
      while (reader.nextOffset <= ownOffset) {
        const { value: messages, done } = await feed.next();
        open.signal.throwIfAborted();
        if (done || !messages) throw new DrayError("LOG_UNAVAILABLE", { lane, reason: "reading ended" });
        for (const message of messages) reader.take(message);
      }
      const owner = reader.ownerAt(ownOffset);
      if (owner.epoch === epoch && owner.nonce === nonce) {
        if (reader.validity.epoch > epoch) {
          throw new DrayError("FENCED", { lane, epoch, currentEpoch: reader.validity.epoch });
        }
        const { tail } = reader;
        const tailSeq = tail?.header.seq ?? 0;
        if (anchor && anchor.seq > tailSeq) {
          throw new DrayError("LOG_TRUNCATED", { lane, tailSeq, anchorSeq: anchor.seq });
        }
        return {
          epoch,
          nonce,
          tail: tail?.header ?? null,
          checkpoint: tail ? anchorOf(tail.header, String(tail.offset)) : null,
          nextOffset: reader.nextOffset,
          openedBytes: reader.bytes,
        };
      }
      // An epoch as high was there before: begin again above it.
      epoch = Math.max(reader.validity.epoch, epoch) + 1;
    }
  } finally {
    stop.abort();
    await feed.return();
  }
}

/** The checkpoint; where trimming has passed it, the entry that the sink recorded; without either, the beginning. */
function startingPoint(open: OpenWriterOptions, reach: TopicReach): LogAnchor | null {
  const { lane, checkpoint, anchor } = open;
  for (const point of [checkpoint, anchor]) {
    if (point && Number(point.offset) >= reach.high) {
      throw new DrayError("LOG_TRUNCATED", { lane, ...point, endsAtOffset: reach.high });
    }
  }
  // Trimming always keeps the entry that the sink recorded.
  if (anchor && Number(anchor.offset) < reach.low) {
    throw new DrayError("LOG_TRUNCATED", { lane, ...anchor, beginsAtOffset: reach.low });
  }
  return checkpoint && Number(checkpoint.offset) >= reach.low ? checkpoint : anchor;
}

class OpeningReader {
  readonly #lane: LaneId;
  readonly #start: LogAnchor | null;
  readonly #owners = new Map<number, { readonly epoch: number; readonly nonce: string }>();
  validity: Validity;
  tail: { readonly header: EntryHeader; readonly offset: number } | null = null;
  nextOffset = 0;
  bytes = 0;

  constructor(lane: LaneId, start: LogAnchor | null) {
    this.#lane = lane;
    this.#start = start;
    this.validity = new Validity(lane);
  }

  /** Whose lane it was right behind the message at the offset. */
  ownerAt(offset: number): { readonly epoch: number; readonly nonce: string } {
    return this.#owners.get(offset) ?? { epoch: 0, nonce: "" };
  }

  take({ offset, value }: { readonly offset: number; readonly value: Uint8Array }): void {
    const lane = this.#lane;
    const { header, headerBytes } = decodeEntry(value, { lane, offset });
    const facts = factsOf(header, entryDigest(headerBytes, header));
    const isStart = this.#start !== null && this.bytes === 0;
    this.bytes += value.length;
    this.nextOffset = offset + 1;
    if (isStart) {
      this.validity = validityBehind(lane, this.#start as LogAnchor, header, facts.digest);
      this.tail = { header: header, offset };
      return;
    }
    const verdict = this.validity.judge(facts);
    // The tail before whichever `epoch` entry proves to be ours: entries behind it are of no writer that goes on.
    if (verdict === "counts") this.tail = { header: header, offset };
    if (facts.kind === "epoch") this.#owners.set(offset, { epoch: this.validity.epoch, nonce: this.validity.nonce });
  }
}

/** L7: exactly the entry that was recorded, else LOG_TRUNCATED. */
export function validityBehind(lane: LaneId, anchor: LogAnchor, header: EntryHeader, digest: string): Validity {
  if (header.seq !== anchor.seq || header.nonce !== anchor.nonce || header.epoch !== anchor.epoch) {
    const found = { foundSeq: header.seq, foundEpoch: header.epoch, foundNonce: header.nonce };
    throw new DrayError("LOG_TRUNCATED", { lane, ...anchor, ...found, reason: "another entry stands there" });
  }
  return Validity.behind(lane, factsOf(header, digest));
}
