import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LogAnchor, LogEntry } from "../../pipeline/entry.ts";
import type { ChangeLog, LogWriter } from "../../pipeline/log/log.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { changeLogContract, type LogHarness } from "./change-log.contract.ts";
import { bodiesContract } from "./change-log-bodies.contract.ts";
import { fencingContract } from "./change-log-fencing.contract.ts";
import {
  appendMany,
  changesDraft,
  keysOf,
  lateClock,
  newLane,
  noise,
  openOptions,
  readSome,
  seqs,
  upTo,
} from "./log-drafts.ts";

const MIB = 1024 * 1024;

async function embeddedHarness(): Promise<LogHarness> {
  const folder = mkdtempSync(join(tmpdir(), "dray-log-"));
  const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
  let open: { readonly log: ChangeLog; probes: Set<Probe> } | null = null;
  return {
    chunkStore,
    childOptions: { kind: "embedded", folder },
    // L4: one log a folder. What would be two processes' parts are two writers of the one log here.
    async open(options) {
      if (open === null) {
        const probes = new Set<Probe>();
        const log = new SqliteLog({
          folder,
          chunkStore,
          clock: systemClock,
          probe: async (name, facts) => {
            for (const probe of probes) await probe(name, facts);
          },
        });
        open = { log, probes };
        const close = log.close.bind(log);
        log.close = async () => {
          open = null;
          await close();
        };
      }
      open.probes.clear();
      if (options?.probe) open.probes.add(options.probe);
      return open.log;
    },
    async close() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describe("embedded log", () => {
  describe("order and opening", () => changeLogContract(embeddedHarness));
  describe("fencing", () => fencingContract(embeddedHarness));
  describe("bodies", () => bodiesContract(embeddedHarness));
});

describe("embedded log, its own", () => {
  const folders: string[] = [];
  const logs: ChangeLog[] = [];
  afterEach(async () => {
    for (const log of logs.splice(0)) await log.close();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  function newFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), "dray-log-"));
    folders.push(folder);
    return folder;
  }

  function openLog(folder: string, limitBytes?: number): SqliteLog {
    const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
    const log = new SqliteLog({
      folder,
      chunkStore,
      clock: systemClock,
      ...(limitBytes === undefined ? {} : { limitBytes }),
    });
    logs.push(log);
    return log;
  }

  test("L4: a second log on the folder is refused, and allowed once the first is closed", async () => {
    const folder = newFolder();
    const first = openLog(folder);
    expect(() => openLog(folder)).toThrow(expect.objectContaining({ code: "LOG_LOCKED" }));
    await first.close();
    openLog(folder);
  });

  test("L4: another process that holds the folder locks it until it ends, also by SIGKILL", async () => {
    const folder = newFolder();
    const child = spawn(
      process.execPath,
      [
        new URL("./log-child.ts", import.meta.url).pathname,
        JSON.stringify({ lane: newLane(), kind: "embedded", folder }),
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const exited = once(child, "exit");
    await once(child.stdout, "data");
    expect(() => openLog(folder)).toThrow(expect.objectContaining({ code: "LOG_LOCKED" }));
    child.kill("SIGKILL");
    await exited;
    openLog(folder);
  });

  test("L7: a restored old copy of the file under a target that is ahead is LOG_TRUNCATED", async () => {
    const folder = newFolder();
    const lane = newLane();
    const first = openLog(folder);
    const writer = await first.openWriter(openOptions(lane));
    await appendMany(writer, 5);
    await writer.close();
    await first.close();
    const copy = newFolder();
    cpSync(folder, copy, { recursive: true });

    const second = openLog(folder);
    const later = await second.openWriter(openOptions(lane));
    const anchors = await appendMany(later, 5, 6);
    const anchor = anchors[4] as LogAnchor;
    await second.close();

    const restored = openLog(copy);
    await expect(readSome(restored, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
    // The old copy grows past the anchor's place with other entries: it is still not the log the target knows.
    const other = await restored.openWriter(openOptions(lane, { aboveEpoch: later.epoch }));
    await appendMany(other, 10, 6);
    await expect(readSome(restored, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
    await expect(restored.openWriter(openOptions(lane, { anchor }))).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
  });

  test("M9: a full log refuses, keeps what it acknowledged, and goes on when there is room", async () => {
    const lane = newLane();
    const log = openLog(newFolder(), 8 * MIB);
    let writer = await log.openWriter(openOptions(lane));
    const anchors: LogAnchor[] = [];
    let refused: unknown = null;
    while (refused === null) {
      await writer.append(changesDraft(`p${anchors.length + 1}`, noise(300_000))).then(
        ({ header, offset }) => anchors.push({ offset, epoch: header.epoch, nonce: header.nonce, seq: header.seq }),
        (error: unknown) => {
          refused = error;
        },
      );
    }
    expect(refused).toMatchObject({ code: "LOG_FULL" });
    expect(anchors.length).toBeGreaterThan(15);
    expect(seqs(await readSome(log, lane, anchors.length))).toEqual(upTo(anchors.length));

    await log.trim(lane, anchors.at(-2) as LogAnchor);
    writer = await log.openWriter(openOptions(lane));
    expect(writer.tail?.seq).toBe(anchors.length);
    for (let i = 1; i <= 10; i++) await writer.append(changesDraft(`p${anchors.length + i}`, noise(300_000)));
    expect(seqs(await readSome(log, lane, 11, anchors.at(-2)))).toEqual(upTo(11, anchors.length));
  });

  test("L3: what this process has appended comes to its reader from memory, in order, and from the file where it does not", async () => {
    const lane = newLane();
    const log = openLog(newFolder());
    const plain = (entry: LogEntry) => Buffer.from(entry.held?.plain ?? []).toString("latin1");
    const released: string[] = [];
    const append = (writer: LogWriter, name: string) =>
      writer.append({ ...changesDraft(name, Buffer.from(name.repeat(5_000))), release: () => released.push(name) });
    const first = await log.openWriter(openOptions(lane));
    // Nobody reads yet: these are in the file only.
    for (const name of ["a", "b"]) await append(first, name);
    expect(released).toEqual(["a", "b"]);
    const stop = new AbortController();
    const reading = log.read({ lane, after: null, takesHeld: true, signal: stop.signal })[Symbol.asyncIterator]();
    const found: LogEntry[] = [];
    const readTo = async (seq: number) => {
      while (found.length < seq) found.push(...((await reading.next()).value as readonly LogEntry[]));
    };
    await readTo(2);
    expect(found.map((entry) => entry.held)).toEqual([undefined, undefined]);
    const waiting = readTo(3);
    await append(first, "c");
    await waiting;
    expect(plain(found[2] as LogEntry)).toBe("c".repeat(5_000));
    // Another reader of the lane takes nothing away.
    await append(first, "d");
    expect(seqs(await readSome(log, lane, 4))).toEqual(upTo(4));
    // A new writer's entries come behind its epoch entry, which is in the file.
    const second = await log.openWriter(openOptions(lane));
    await append(second, "e");
    await append(second, "f");
    await expect(append(first, "z")).rejects.toMatchObject({ code: "FENCED" });
    await readTo(6);
    expect(seqs(found)).toEqual(upTo(6));
    expect(plain(found[3] as LogEntry)).toBe("d".repeat(5_000));
    // What it has read from the file is released for it, when it asks for more.
    await append(second, "g");
    await readTo(7);
    expect(plain(found[6] as LogEntry)).toBe("g".repeat(5_000));
    for (const entry of found) entry.held?.release();
    expect(released.toSorted()).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
    stop.abort();
    await reading.next();
    await append(second, "h");
    expect(released).toHaveLength(8);
    expect(seqs(await readSome(log, lane, 8))).toEqual(upTo(8));
  });

  test("L6: an object that a dead writer left without an entry goes after an hour, and no other", async () => {
    const folder = newFolder();
    const lane = newLane();
    const store = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: lateClock });
    const first = new SqliteLog({ folder, chunkStore: store, clock: systemClock });
    const writer = await first.openWriter(openOptions(lane));
    const { header } = await writer.append(changesDraft("p1", noise(8 * MIB + 1)));
    const orphan = await store.put(lane, writer.epoch, noise(100));
    expect(await keysOf(store, lane)).toEqual([header.body.chunkKey, orphan.key].sort());
    await first.close();
    // To a clock that says it is young, it stays.
    const early = openLog(folder);
    await early.openWriter(openOptions(lane));
    await early.close();
    expect(await keysOf(store, lane)).toContain(orphan.key);
    const late = new SqliteLog({ folder, chunkStore: store, clock: systemClock });
    await late.openWriter(openOptions(lane));
    await late.close();
    expect(await keysOf(store, lane)).toEqual([header.body.chunkKey]);
  });
});
