import { randomBytes } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import type { EntryDraft, LaneId, LogAnchor, LogEntry, Position } from "../../pipeline/entry.ts";
import type { ChangeLog, LogWriter, OpenWriterOptions } from "../../pipeline/log/log.ts";

export function newLane(): LaneId {
  return `Acme-${randomBytes(4).toString("hex")}.db.f1` as LaneId;
}

/** Bytes that do not compress, so that a size asked for is the size stored. */
export function noise(bytes: number): Uint8Array {
  return randomBytes(bytes);
}

export function changesDraft(position: string, body: Uint8Array = Buffer.from(`body ${position}`)): EntryDraft {
  return {
    position: position as Position,
    committedAtMs: 1_700_000_000_000,
    coverage: { tables: [] },
    detail: { kind: "changes", tables: { users: { insert: 1, update: 0, delete: 0 } }, endsTransaction: true },
    body,
  };
}

export function openOptions(lane: LaneId, rest: Partial<OpenWriterOptions> = {}): OpenWriterOptions {
  return { lane, aboveEpoch: 0, checkpoint: null, anchor: null, signal: AbortSignal.timeout(60_000), ...rest };
}

/** Appends `count` small entries, one after the other's call but not its answer. */
export async function appendMany(writer: LogWriter, count: number, from = 1): Promise<LogAnchor[]> {
  const calls: Promise<LogAnchor>[] = [];
  for (let i = 0; i < count; i++) {
    calls.push(
      writer.append(changesDraft(`p${from + i}`)).then(({ header, offset }) => ({
        offset,
        epoch: header.epoch,
        nonce: header.nonce,
        seq: header.seq,
      })),
    );
  }
  return Promise.all(calls);
}

/** Reads until `count` entries have come; fails when they do not within 30 s. */
export async function readSome(
  log: ChangeLog,
  lane: LaneId,
  count: number,
  after: LogAnchor | null = null,
): Promise<LogEntry[]> {
  const stop = new AbortController();
  const hangGuard = setTimeout(() => stop.abort(), 30_000);
  const entries: LogEntry[] = [];
  try {
    for await (const batch of log.read({ lane, after, signal: stop.signal })) {
      entries.push(...batch);
      if (entries.length >= count) break;
    }
  } finally {
    clearTimeout(hangGuard);
  }
  if (entries.length < count) throw new Error(`only ${entries.length} of ${count} entries came within 30 s`);
  return entries;
}

export function anchorOfEntry(entry: LogEntry): LogAnchor {
  const { epoch, nonce, seq } = entry.header;
  return { offset: entry.offset, epoch, nonce, seq };
}

export function seqs(entries: readonly LogEntry[]): number[] {
  return entries.map((entry) => entry.header.seq);
}

export function upTo(count: number, from = 1): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** Two hours ahead: to a chunk store with it everything that was written now is old. */
export const lateClock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + 2 * 60 * 60 * 1000 };

export async function keysOf(store: ChunkStore, lane: LaneId): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(lane)) keys.push(key);
  return keys.sort();
}

/** A promise with its handles, to hold another party at an exact place. */
export function gate(): {
  readonly reached: Promise<void>;
  readonly hold: () => Promise<void>;
  readonly open: () => void;
} {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  return {
    reached: reached.promise,
    hold: () => {
      reached.resolve();
      return opened.promise;
    },
    open: () => opened.resolve(),
  };
}

/** A full collection, so that what is measured behind it is held by somebody. */
export function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
