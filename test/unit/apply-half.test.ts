import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ApplyHalf } from "../../cutover/lane/apply-half.ts";
import type { LostBody } from "../../cutover/lane/lost-body.ts";
import { encodeChanges } from "../../pipeline/change-codec.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { Sink } from "../../sinks/sink.ts";
import { change, changesEntry, chunkEntry, Lane, range, transient, until } from "./applier-harness.ts";

/** Minutes pass in milliseconds. */
const hasty: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 1_000, signal) };

let lane: Lane;
let half: ApplyHalf;
const stopped: unknown[] = [];
const losses: LostBody[] = [];
/** By table, from which seq on it is copied again. */
let since: ReadonlyMap<string, number>;

beforeEach(() => {
  lane = new Lane();
  stopped.length = 0;
  losses.length = 0;
  since = new Map();
  half = new ApplyHalf({
    source: { lane: lane.lane, move: "m", tenant: "7", tables: [] },
    sink: { kind: "fake", open: async () => lane.sink } as unknown as Sink,
    log: lane.log,
    chunkStore: lane.chunkStore,
    clock: hasty,
    probe: noProbe,
    keepAppliedMs: 0,
    verify: {
      open: async () => {},
      keep: async () => {},
      stop: async () => {},
      savedAnchor: null,
      follower: { needsBody: () => false, take: () => {}, wants: () => false, compare: () => {} },
    },
    onApplied: () => {},
    makeUpFor: async (loss) => {
      losses.push(loss);
      if (since.size === 0) throw loss.error;
      return since;
    },
    onStopped: (error) => stopped.push(error),
  });
});

afterEach(async () => {
  await half.stop("the test ends");
  await lane.close();
});

test("A8: a target that is gone while the log is trimmed ends neither the lane nor the process", async () => {
  await lane.append(changesEntry("free:1"));
  half.start();
  const { applier } = await half.wait(AbortSignal.timeout(20_000));
  await applier.whenWatermark(1, AbortSignal.timeout(20_000));
  let failures = 3;
  const progress = lane.sink.progress.bind(lane.sink);
  lane.sink.progress = async () => {
    if (failures-- > 0) throw transient();
    return await progress();
  };
  await until(() => failures < 0);
  await until(() => half.anchor?.seq === 1);
  await lane.append(changesEntry("free:2"));
  await applier.whenWatermark(2, AbortSignal.timeout(20_000));
  expect(stopped).toEqual([]);
});

/** One row too large for the log, in tables as the names say. */
function largeChanges(...texts: string[]) {
  const entry = changesEntry(...texts);
  const changes = texts.map((text) => ({ ...change(text), row: randomBytes(9 * 1024 * 1024) }));
  const tables = Object.fromEntries(changes.map(({ table }) => [table, { insert: 0, update: 1, delete: 0 }]));
  return {
    ...entry,
    detail: { kind: "changes", tables, endsTransaction: true } as const,
    body: encodeChanges(changes),
  };
}

test("L6: a lost body is passed over once its table is copied again, and so are the table's older chunks", async () => {
  await lane.append(
    changesEntry("free:1"),
    largeChanges("free:2"),
    chunkEntry(range("free", null, 10)),
    chunkEntry(range("other", null, 10)),
    changesEntry("free:3"),
    chunkEntry(range("free", null, 10, 1)),
  );
  rmSync(lane.chunks, { recursive: true });
  since = new Map([["free", 6]]);
  half.start();
  const { applier } = await half.wait(AbortSignal.timeout(20_000));
  await until(() => lane.sink.events.includes("chunk 6"));
  expect(losses).toMatchObject([{ seq: 2, tables: ["free"], error: { code: "CHUNK_LOST" } }]);
  const applied = lane.sink.applied.flatMap(({ first, last }) => (first === last ? [first] : [first, last]));
  expect(applied.sort()).toEqual([1, 4, 5, 6]);
  expect(stopped).toEqual([]);
  expect(half.retrying).toBeNull();
  await expect(applier.whenWatermark(6, AbortSignal.timeout(20_000))).rejects.toMatchObject({ code: "CHUNK_LOST" });
});

test("L6: what cannot be made up for stops the lane with its seq and tables; retry looks again", async () => {
  await lane.append(largeChanges("free:2"));
  rmSync(lane.chunks, { recursive: true });
  half.start();
  await until(() => stopped.length === 1);
  expect(stopped[0]).toMatchObject({ code: "CHUNK_LOST", facts: { seq: 1, tables: ["free"] } });
  since = new Map([["free", 2]]);
  half.start();
  await until(() => losses.length === 2);
  await lane.append(changesEntry("free:3"));
  await until(() => lane.sink.events.includes("changes 2-2"));
});

test("L6: a lost change of a table with another unique index is never left out", async () => {
  await lane.append(largeChanges("uniq:2"), changesEntry("uniq:3"));
  rmSync(lane.chunks, { recursive: true });
  since = new Map([["uniq", 2]]);
  half.start();
  await until(() => stopped.length === 1);
  expect(losses).toEqual([]);
  expect(lane.sink.applied).toEqual([]);
});
