import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import type { LaneId, LogAnchor } from "../../pipeline/entry.ts";
import { openBody } from "../../pipeline/entry-codec.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import {
  anchorOfEntry,
  appendMany,
  changesDraft,
  collector,
  gate,
  newLane,
  noise,
  openOptions,
  readSome,
  seqs,
  upTo,
} from "./log-drafts.ts";

const MIB = 1024 * 1024;

/** One kind of log over one storage that outlives the logs opened on it. */
export type LogHarness = {
  readonly chunkStore: ChunkStore;
  /** A second call while the first log is open gives one that shares the storage as two processes' parts would. */
  open(options?: { readonly probe?: Probe }): Promise<ChangeLog>;
  /** What test/contracts/log-child.ts opens the same storage with; the parent's own logs are closed then. */
  readonly childOptions: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
};

/** Every ChangeLog passes this unchanged. A new rule goes here, never into one log's own test. */
export function changeLogContract(makeHarness: () => Promise<LogHarness>): void {
  let harness: LogHarness;
  let log: ChangeLog;
  beforeAll(async () => {
    harness = await makeHarness();
    log = await harness.open();
  });
  afterAll(async () => {
    await log?.close();
    await harness?.close();
  });

  describe("L1 order and contents", () => {
    test("an empty lane has no tail, and the first entry is seq 1", async () => {
      const writer = await log.openWriter(openOptions(newLane()));
      expect(writer.tail).toBeNull();
      expect(writer.checkpoint()).toBeNull();
      const { header } = await writer.append(changesDraft("p1"));
      expect(header).toMatchObject({ seq: 1, epoch: writer.epoch, nonce: writer.nonce, position: "p1" });
      await writer.close();
    });

    test("entries come back in the order of the calls, as they were", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      await appendMany(writer, 700);
      const entries = await readSome(log, lane, 700);
      expect(seqs(entries)).toEqual(upTo(700));
      expect(entries.map((e) => e.header.position)).toEqual(upTo(700).map((n) => `p${n}`));
      const body = await openBody(entries[41] as (typeof entries)[0], harness.chunkStore);
      expect(Buffer.from(body).toString()).toBe("body p42");
      expect(entries[41]?.header).toMatchObject({
        lane,
        seq: 42,
        committedAtMs: 1_700_000_000_000,
        coverage: { tables: [] },
        detail: changesDraft("p42").detail,
      });
      await writer.close();
    });

    test("a reader at the end is given what is appended later, and ends with its signal", async () => {
      const lane = newLane();
      const stop = new AbortController();
      const seen: number[] = [];
      const reading = (async () => {
        for await (const batch of log.read({ lane, after: null, signal: stop.signal })) {
          seen.push(...seqs(batch));
          if (seen.length === 3) stop.abort();
        }
      })();
      const writer = await log.openWriter(openOptions(lane));
      for (const n of [1, 2, 3]) await writer.append(changesDraft(`p${n}`));
      await reading;
      expect(seen).toEqual([1, 2, 3]);
      await writer.close();
    });

    test("a reader goes on behind the entry it names", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const anchors = await appendMany(writer, 10);
      expect(seqs(await readSome(log, lane, 4, anchors[5]))).toEqual([7, 8, 9, 10]);
      await writer.close();
    });

    test("lanes do not mix, also where their names differ in case only", async () => {
      const lane = newLane();
      const other = lane.toLowerCase() as LaneId;
      const writers = [await log.openWriter(openOptions(lane)), await log.openWriter(openOptions(other))] as const;
      await Promise.all([appendMany(writers[0], 20), appendMany(writers[1], 20, 101)]);
      expect((await readSome(log, other, 20)).map((e) => e.header.position)).toEqual(upTo(20, 101).map((n) => `p${n}`));
      expect((await readSome(log, lane, 20)).map((e) => e.header.position)).toEqual(upTo(20).map((n) => `p${n}`));
      await Promise.all(writers.map((writer) => writer.close()));
    });
  });

  describe("L2 opening", () => {
    test("the tail of a reopened lane is its last entry, and numbering goes on", async () => {
      const lane = newLane();
      const first = await log.openWriter(openOptions(lane));
      await appendMany(first, 5);
      await first.close();
      const second = await log.openWriter(openOptions(lane, { aboveEpoch: first.epoch }));
      expect(second.epoch).toBeGreaterThan(first.epoch);
      expect(second.tail).toMatchObject({ seq: 5, position: "p5", epoch: first.epoch });
      expect(second.checkpoint()).toMatchObject({ seq: 5, nonce: first.nonce });
      await appendMany(second, 2, 6);
      expect(seqs(await readSome(log, lane, 7))).toEqual(upTo(7));
      await second.close();
    });

    test("opening twice without an entry between keeps the tail", async () => {
      const lane = newLane();
      const first = await log.openWriter(openOptions(lane));
      await appendMany(first, 3);
      await first.close();
      await (await log.openWriter(openOptions(lane))).close();
      const third = await log.openWriter(openOptions(lane));
      expect(third.tail?.seq).toBe(3);
      await third.close();
    });

    test("the epoch is above the control store's and above any in the log", async () => {
      const lane = newLane();
      const high = await log.openWriter(openOptions(lane, { aboveEpoch: 41 }));
      expect(high.epoch).toBeGreaterThan(41);
      await high.close();
      const next = await log.openWriter(openOptions(lane, { aboveEpoch: 3 }));
      expect(next.epoch).toBeGreaterThan(high.epoch);
      await next.close();
    });

    test("from a checkpoint, from an anchor and from the beginning the tail is the same", async () => {
      const lane = newLane();
      const first = await log.openWriter(openOptions(lane));
      const anchors = await appendMany(first, 30);
      const checkpoint = first.checkpoint();
      await first.close();
      for (const from of [{ checkpoint }, { anchor: anchors[9] as LogAnchor }, {}]) {
        const writer = await log.openWriter(openOptions(lane, from));
        expect(writer.tail?.seq).toBe(30);
        await writer.close();
      }
    });

    test("reads at most 64 MiB from a saved checkpoint, whatever the lane's size", async () => {
      const lane = newLane();
      const saved: LogAnchor[] = [];
      const saveCheckpoint = async (checkpoint: LogAnchor) => {
        saved.push(checkpoint);
      };
      const writer = await log.openWriter(openOptions(lane, { saveCheckpoint }));
      for (let i = 0; i < 90; i += 3)
        await Promise.all([1, 2, 3].map((n) => writer.append(changesDraft(`p${i + n}`, noise(MIB)))));
      await writer.close();
      expect((await log.stats(lane)).bytes).toBeGreaterThan(90 * MIB);
      const checkpoint = saved.at(-1) ?? null;
      const again = await log.openWriter(openOptions(lane, { checkpoint }));
      expect(again.tail).toMatchObject({ seq: 90, position: "p90" });
      expect(again.openedBytes).toBeLessThan(64 * MIB);
      await again.close();
      await log.drop(lane);
    });
  });

  describe("L3 and L4 one writer", () => {
    test("a checkpoint that cannot be saved ends the writer; what was acknowledged stays", async () => {
      const lane = newLane();
      const saveCheckpoint = async () => {
        throw new Error("the control store is away");
      };
      const writer = await log.openWriter(openOptions(lane, { saveCheckpoint }));
      for (const n of upTo(16)) await writer.append(changesDraft(`p${n}`, noise(MIB)));
      await expect(writer.append(changesDraft("p17"))).rejects.toThrow("the control store is away");
      const next = await log.openWriter(openOptions(lane, { aboveEpoch: writer.epoch }));
      expect(next.tail?.seq).toBe(16);
      await next.close();
      await log.drop(lane);
    });

    test("an older writer is fenced at its next append, and nothing of it counts", async () => {
      const lane = newLane();
      const zombie = await log.openWriter(openOptions(lane));
      await appendMany(zombie, 3);
      const other = await harness.open();
      const owner = await other.openWriter(openOptions(lane));
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      await appendMany(owner, 2, 4);
      await expect(readSome(log, lane, 5).then((es) => es.map((e) => e.header.position))).resolves.toEqual(
        upTo(5).map((n) => `p${n}`),
      );
      await owner.close();
      if (other !== log) await other.close();
    });

    test("a zombie that appends between another's epoch entry and its reading back does not count", async () => {
      const lane = newLane();
      const zombie = await log.openWriter(openOptions(lane));
      await appendMany(zombie, 2);
      const place = gate();
      const other = await harness.open({ probe: (name) => (name === "log.epoch-appended" ? place.hold() : undefined) });
      const opening = other.openWriter(openOptions(lane, { aboveEpoch: zombie.epoch }));
      await place.reached;
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      place.open();
      const owner = await opening;
      expect(owner.tail).toMatchObject({ seq: 2, position: "p2" });
      await appendMany(owner, 1, 3);
      expect((await readSome(log, lane, 3)).map((e) => e.header.position)).toEqual(["p1", "p2", "p3"]);
      await owner.close();
      if (other !== log) await other.close();
    });

    test("a zombie held just before its write, while another opens and writes, does not count", async () => {
      const lane = newLane();
      const place = gate();
      let isHeld = false;
      const zombies = await harness.open({
        probe: (name, facts) => {
          if (name !== "log.before-append" || facts?.["lane"] !== lane || facts["seq"] !== 2 || isHeld) return;
          isHeld = true;
          return place.hold();
        },
      });
      const zombie = await zombies.openWriter(openOptions(lane));
      await zombie.append(changesDraft("p1"));
      const late = zombie.append(changesDraft("zombie"));
      const refused = expect(late).rejects.toMatchObject({ code: "FENCED" });
      await place.reached;
      const owner = await log.openWriter(openOptions(lane));
      await owner.append(changesDraft("p2"));
      place.open();
      await refused;
      await owner.append(changesDraft("p3"));
      expect((await readSome(log, lane, 3)).map((e) => e.header.position)).toEqual(["p1", "p2", "p3"]);
      await owner.close();
      if (zombies !== log) await zombies.close();
    });

    test("of two that open at the same time, at most one writes on", async () => {
      for (let round = 0; round < 3; round++) {
        const lane = newLane();
        const other = await harness.open();
        const opened = await Promise.allSettled([
          log.openWriter(openOptions(lane)),
          other.openWriter(openOptions(lane)),
        ]);
        const writers = opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
        const appended = await Promise.allSettled(writers.map((writer) => writer.append(changesDraft("p1"))));
        const wrote = appended.filter((result) => result.status === "fulfilled").length;
        expect(wrote).toBeLessThanOrEqual(1);
        for (const result of [...opened, ...appended]) {
          if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "FENCED" });
        }
        await Promise.all(writers.map((writer) => writer.close()));
        const next = await log.openWriter(openOptions(lane));
        expect(next.tail?.seq ?? 0).toBe(wrote);
        await next.close();
        if (other !== log) await other.close();
      }
    });

    test("a closed writer finishes what was called before and refuses what comes after", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const before = appendMany(writer, 20);
      const closing = writer.close();
      await expect(writer.append(changesDraft("late"))).rejects.toMatchObject({ code: "LOG_UNAVAILABLE" });
      await closing;
      expect((await before).length).toBe(20);
      expect((await readSome(log, lane, 20)).length).toBe(20);
    });
  });

  describe("L6 bodies", () => {
    test("from 0 bytes to 20 MiB come back as they were; above 8 MiB through the chunk store", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const bodies = [0, 1, 511, 513, 65_536, MIB, 8 * MIB, 8 * MIB + 1, 20 * MIB].map(noise);
      bodies.push(Buffer.alloc(20 * MIB, "a"));
      for (const [i, body] of bodies.entries()) await writer.append(changesDraft(`p${i + 1}`, body));
      const entries = await readSome(log, lane, bodies.length);
      for (const [i, body] of bodies.entries()) {
        const entry = entries[i] as (typeof entries)[0];
        expect(Buffer.compare(await openBody(entry, harness.chunkStore), body)).toBe(0);
        const isLarge = i === 7 || i === 8;
        expect(entry.header.body.chunkKey !== null).toBe(isLarge);
      }
      await writer.close();
      await log.drop(lane);
      await expect(openBody(entries[8] as (typeof entries)[0], harness.chunkStore)).rejects.toMatchObject({
        code: "CHUNK_LOST",
      });
    });

    test("a slow consumer holds one batch and a prefetch, not the lane", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      for (let i = 0; i < 48; i++) await writer.append(changesDraft(`p${i + 1}`, noise(MIB)));
      const collect = collector();
      collect();
      const before = process.memoryUsage().arrayBuffers;
      let most = 0;
      let largest = 0;
      let count = 0;
      for await (const batch of log.read({ lane, after: null, signal: AbortSignal.timeout(60_000) })) {
        // Time enough to read far ahead, for a log that would.
        await new Promise((resolve) => setTimeout(resolve, 50));
        collect();
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
        largest = Math.max(
          largest,
          batch.reduce((sum, entry) => sum + entry.stored.length, 0),
        );
        count += batch.length;
        if (count === 48) break;
      }
      expect(largest).toBeLessThanOrEqual(9 * MIB);
      expect(most).toBeLessThan(24 * MIB);
      await writer.close();
      await log.drop(lane);
    });
  });

  describe("L7 a log that lost entries", () => {
    test("an anchor that is not there exactly is LOG_TRUNCATED", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const anchors = await appendMany(writer, 5);
      const real = anchors[2] as LogAnchor;
      const wrong: LogAnchor[] = [
        { ...real, nonce: "f".repeat(32) },
        { ...real, seq: 4 },
        { ...real, offset: String(Number(real.offset) + 1) },
        { ...real, offset: String(Number(real.offset) + 1000), seq: 1003 },
      ];
      for (const anchor of wrong) {
        await expect(readSome(log, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
        await expect(log.openWriter(openOptions(lane, { anchor }))).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      }
      await expect(readSome(log, newLane(), 1, real)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await writer.close();
    });

    test("a checkpoint ahead of the tail is LOG_TRUNCATED", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const [anchor] = await appendMany(writer, 1);
      await writer.close();
      const checkpoint = { ...(anchor as LogAnchor), offset: "4000", seq: 4000 };
      await expect(log.openWriter(openOptions(lane, { checkpoint }))).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
    });
  });

  describe("L6 trim and drop", () => {
    test("trim keeps the anchor's entry, while a reader and the writer are at work", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      const total = 600;
      const reading = (async () => {
        const seen: number[] = [];
        for await (const batch of log.read({ lane, after: null, signal: AbortSignal.timeout(60_000) })) {
          seen.push(...seqs(batch));
          const last = batch.at(-1);
          if (last && seen.length % 3 === 0) await log.trim(lane, anchorOfEntry(last));
          if (seen.length === total) break;
        }
        return seen;
      })();
      for (let n = 1; n <= total; n += 20) await appendMany(writer, 20, n);
      expect(await reading).toEqual(upTo(total));
      const anchors = await appendMany(writer, 10, total + 1);
      const anchor = anchors[4] as LogAnchor;
      await log.trim(lane, anchor);
      expect(await log.stats(lane)).toMatchObject({ firstSeq: anchor.seq, lastSeq: total + 10 });
      expect(seqs(await readSome(log, lane, 5, anchor))).toEqual(upTo(5, anchor.seq + 1));
      await expect(readSome(log, lane, 1, anchors[0])).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await appendMany(writer, 1, total + 11);
      await writer.close();
      const again = await log.openWriter(openOptions(lane, { checkpoint: anchors[0] as LogAnchor, anchor }));
      expect(again.tail?.seq).toBe(total + 11);
      await again.close();
    });

    test("trim removes the chunk store's objects of the entries it removes, and no other", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      for (const n of [1, 2]) await writer.append(changesDraft(`p${n}`, noise(8 * MIB + 1)));
      await writer.close();
      const [, second] = await readSome(log, lane, 2);
      await log.trim(lane, anchorOfEntry(second as NonNullable<typeof second>));
      const keys: string[] = [];
      for await (const { key } of harness.chunkStore.list(lane)) keys.push(key);
      expect(keys).toEqual([second?.header.body.chunkKey]);
      await log.drop(lane);
    });

    test("a dropped lane is empty when it is made again; its old writer and reader end", async () => {
      const lane = newLane();
      const old = await log.openWriter(openOptions(lane));
      const anchors = await appendMany(old, 5);
      const reading = readSome(log, lane, 1, anchors[4]);
      const ended = expect(reading).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await new Promise((resolve) => setTimeout(resolve, 300));
      await log.drop(lane);
      await ended;
      expect(await log.stats(lane)).toEqual({ entries: 0, bytes: 0, firstSeq: null, lastSeq: null });
      await expect(old.append(changesDraft("zombie"))).rejects.toThrow();
      await log.drop(lane);
      const writer = await log.openWriter(openOptions(lane, { aboveEpoch: old.epoch }));
      expect(writer.tail).toBeNull();
      await appendMany(writer, 2);
      expect(seqs(await readSome(log, lane, 2))).toEqual([1, 2]);
      await expect(readSome(log, lane, 1, anchors[4])).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await writer.close();
    });

    test("stats tell entries, bytes and reach", async () => {
      const lane = newLane();
      const writer = await log.openWriter(openOptions(lane));
      await writer.append(changesDraft("p1", noise(100_000)));
      await appendMany(writer, 9, 2);
      const stats = await log.stats(lane);
      expect(stats).toMatchObject({ firstSeq: 1, lastSeq: 10 });
      expect(stats.entries).toBeGreaterThanOrEqual(10);
      expect(stats.bytes).toBeGreaterThan(100_000);
      await writer.close();
    });
  });

  describe("durability", () => {
    test("what was acknowledged is there after SIGKILL, without a gap", async () => {
      await log.close();
      const lanes: { lane: LaneId; acknowledged: number }[] = [];
      for (let round = 0; round < 3; round++) lanes.push(await killedChild(harness, 40 + 150 * round));
      log = await harness.open();
      for (const { lane, acknowledged } of lanes) {
        const writer = await log.openWriter(openOptions(lane));
        const last = writer.tail?.seq ?? 0;
        expect(last).toBeGreaterThanOrEqual(acknowledged);
        await writer.append(changesDraft(`p${last + 1}`));
        const entries = await readSome(log, lane, last + 1);
        expect(entries.map((e) => e.header.position)).toEqual(upTo(last + 1).map((n) => `p${n}`));
        await writer.close();
      }
    });
  });
}

/** A child appends without a pause until it is killed; its last acknowledgement is what must be there. */
async function killedChild(harness: LogHarness, afterEntries: number): Promise<{ lane: LaneId; acknowledged: number }> {
  const lane = newLane();
  const child: ChildProcess = spawn(
    process.execPath,
    [new URL("./log-child.ts", import.meta.url).pathname, JSON.stringify({ lane, ...harness.childOptions })],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let acknowledged = 0;
  const exited = once(child, "exit");
  if (!child.stdout) throw new Error("no output of the child");
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged = Number(line);
    if (acknowledged >= afterEntries) child.kill("SIGKILL");
  }
  const [, signal] = await exited;
  expect(signal).toBe("SIGKILL");
  expect(acknowledged).toBeGreaterThanOrEqual(afterEntries);
  return { lane, acknowledged };
}
