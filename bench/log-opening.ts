import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DirectoryChunkStore } from "../pipeline/chunk-store/directory.ts";
import { systemClock } from "../pipeline/clock.ts";
import type { EntryDraft, LaneId, Position } from "../pipeline/entry.ts";
import type { LogCheckpoint } from "../pipeline/log/log.ts";
import { SqliteLog } from "../pipeline/log/sqlite-log.ts";
import type { BenchRun, Found } from "./bench-run.ts";

const LANE = "bench.db.f1" as LaneId;
const BODY_BYTES = 512 * 1024;
/** Appends that wait together, as they do under load. */
const TOGETHER = 8;
const MEGABYTE = 1024 * 1024;
const OPENING_READS_AT_MOST = 64;

/** L2: what opening a large lane of the embedded log costs. The one part of the bench that takes the log by itself. */
export async function measureOpening({ options, folder, say }: BenchRun): Promise<Found> {
  const dataDir = join(folder, "opening");
  const entries = Math.ceil((options.laneGib * 1024 * MEGABYTE) / BODY_BYTES);
  say(`open: writing a lane of ${options.laneGib} GiB`);
  const written = await write(dataDir, entries);
  const before = readBytes();
  const begin = performance.now();
  const log = open(dataDir);
  const signal = AbortSignal.timeout(600_000);
  const { checkpoint } = written;
  const writer = await log.openWriter({ lane: LANE, aboveEpoch: 1, checkpoint, anchor: null, signal });
  const openMs = performance.now() - begin;
  const fileMegabytes = (readBytes() - before) / MEGABYTE;
  if (writer.tail?.seq !== entries) throw new Error(`the tail is ${writer.tail?.seq}, not ${entries}`);
  const openedMegabytes = writer.openedBytes / MEGABYTE;
  await writer.close();
  await log.close();
  const line = (name: string, ours: number, unit: string, atMost: number | null) => ({
    name: `${name} of a lane of ${options.laneGib} GiB`,
    ours,
    unit,
    beside: null,
    required: atMost === null ? null : { atMost },
  });
  return {
    lines: [
      line("opening", openMs, "ms", null),
      line("entries read by the opening", openedMegabytes, "MiB", OPENING_READS_AT_MOST),
      line("bytes read from files by the opening", fileMegabytes, "MiB", OPENING_READS_AT_MOST),
      line("writing, synced,", (options.laneGib * 1024) / written.seconds, "MiB/s", null),
    ],
    details: { openMs, openedMegabytes, fileMegabytes, entries, writeSeconds: written.seconds },
  };
}

async function write(dataDir: string, entries: number) {
  const log = open(dataDir);
  const begin = performance.now();
  let checkpoint: LogCheckpoint | null = null;
  const writer = await log.openWriter({
    lane: LANE,
    aboveEpoch: 0,
    checkpoint: null,
    anchor: null,
    saveCheckpoint: async (reached) => {
      checkpoint = reached;
    },
    signal: AbortSignal.timeout(3_600_000),
  });
  // Bytes that do not compress, so that the size asked for is the size on the disk.
  const noise = randomBytes(BODY_BYTES + TOGETHER);
  for (let at = 0; at < entries; at += TOGETHER) {
    const count = Math.min(TOGETHER, entries - at);
    const drafts = Array.from({ length: count }, (_, i) => draft(at + i, noise.subarray(i, i + BODY_BYTES)));
    await Promise.all(drafts.map((one) => writer.append(one)));
  }
  await writer.close();
  await log.close();
  return { seconds: (performance.now() - begin) / 1000, checkpoint: checkpoint as LogCheckpoint | null };
}

function open(folder: string): SqliteLog {
  const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
  return new SqliteLog({ folder, chunkStore, clock: systemClock });
}

function draft(index: number, body: Uint8Array): EntryDraft {
  return {
    position: `p${index}` as Position,
    committedAtMs: 0,
    coverage: { tables: [] },
    detail: { kind: "changes", tables: { orders: { insert: 1, update: 0, delete: 0 } }, endsTransaction: true },
    body,
  };
}

/** Every byte that this process has read by system calls, from the page cache too. */
function readBytes(): number {
  return Number(/^rchar: (\d+)/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1] ?? 0);
}
