import type { LaneId } from "../entry.ts";
import { type DecodedEntry, decodeEntry } from "../entry-codec.ts";
import { type FeedOptions, kafkaFeed } from "./kafka-feed.ts";

export type RangeOptions = Omit<FeedOptions, "fromOffset"> & {
  readonly lane: LaneId;
  readonly fromOffset: number;
  /** Not included; it must be the end of the topic or before it. */
  readonly toOffset: number;
};

export type PlacedEntry = DecodedEntry & { readonly offset: number; readonly messageBytes: number };

/** The entries between two offsets as they stand there, whether they count or not. */
export async function* kafkaRange(options: RangeOptions): AsyncGenerator<PlacedEntry, void> {
  const { lane, fromOffset, toOffset } = options;
  if (fromOffset >= toOffset) return;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  try {
    for await (const messages of kafkaFeed({ ...options, fromOffset, signal })) {
      for (const { offset, value } of messages) {
        if (offset >= toOffset) return;
        yield { ...decodeEntry(value, { lane, offset }), offset, messageBytes: value.length };
        if (offset === toOffset - 1) return;
      }
    }
    options.signal.throwIfAborted();
  } finally {
    stop.abort();
  }
}
