import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import type { LaneId, LogAnchor } from "../../pipeline/entry.ts";
import { openBody } from "../../pipeline/entry-codec.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { appendMany, changesDraft, newLane, noise, openOptions, readSome, seqs, upTo } from "./log-drafts.ts";

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

/** What the other parts of the contract are run on: a log of their own. */
export type Given = { readonly log: ChangeLog; readonly harness: LogHarness };

export function givenLog(makeHarness: () => Promise<LogHarness>): Given {
  let opened: Given | null = null;
  const given = () => {
    if (opened === null) throw new Error("the log is opened before the first test");
    return opened;
  };
  beforeAll(async () => {
    const harness = await makeHarness();
    opened = { harness, log: await harness.open() };
  });
  afterAll(async () => {
    await opened?.log.close();
    await opened?.harness.close();
  });
  return {
    get log() {
      return given().log;
    },
    get harness() {
      return given().harness;
    },
  };
}

/** Every ChangeLog passes this and its parts (fencing, bodies) unchanged. A new rule goes here, never into one log's own test. */
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
