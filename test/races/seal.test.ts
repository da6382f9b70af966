import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CaptureHalf } from "../../cutover/lane/capture-half.ts";
import type { MarkPlace } from "../../pipeline/capture-options.ts";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Mark, MarkKind, Position } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { LaneCapture } from "../../pipeline/lane-capture.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { FeedState, LaneFeed, LaneSource, SourceEvent, StreamSource } from "../../pipeline/source.ts";
import { Throttle } from "../../pipeline/throttle.ts";
import { newLane } from "../contracts/log-drafts.ts";

/*
 * S2 is a mark in the stream. Between the INSERT of a mark and its arrival an attempt can be given up, a drain be tried
 * again, and another process write a mark of its own for the same lane. The stream is in the test's hand here: each
 * event arrives exactly when the test says so, through the real capture and the real log.
 */
class HandStream implements StreamSource, LaneFeed {
  readonly committed: Mark[] = [];
  readonly #waiting: SourceEvent[] = [];
  #wake: () => void = () => {};
  #failure: Error | null = null;
  #places = 0;

  deliver(...events: SourceEvent[]): void {
    this.#waiting.push(...events);
    this.#wake();
  }

  arrive(mark: Mark | undefined): void {
    if (mark === undefined) throw new Error("no such mark was committed");
    this.deliver({ type: "mark", mark, committedAtMs: 1, position: this.#place() });
  }

  write(key: string): void {
    const change = { table: "s.t", op: "insert" as const, key: Buffer.from(key), row: Buffer.from(`row ${key}`) };
    const bytes = 20;
    const rest = {
      position: this.#place(),
      committedAtMs: 1,
      bytes,
      endsTransaction: true,
      transaction: `t ${key}`,
      session: null,
    };
    this.deliver({ type: "changes", changes: [change], ...rest });
  }

  async mark(scope: LaneSource["lane"], epoch: number, kind: MarkKind): Promise<Mark> {
    const mark = { scope, epoch, kind, nonce: String(this.committed.length).padStart(32, "0") };
    this.committed.push(mark);
    return mark;
  }

  /** Whoever reads meets the error, once. */
  fail(error: Error): void {
    this.#failure = error;
    this.#wake();
  }

  async next(signal: AbortSignal): Promise<readonly SourceEvent[]> {
    while (this.#waiting.length === 0) {
      const failure = this.#failure;
      this.#failure = null;
      if (failure !== null) throw failure;
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    }
    return this.#waiting.splice(0);
  }

  state(): FeedState {
    return { state: "shared", connects: 1, position: "0" as Position, reason: null };
  }

  #place(): Position {
    return String(++this.#places) as Position;
  }

  attach = async (): Promise<LaneFeed> => this;
  close = async (): Promise<void> => {};
  markedAtMs = (): null => null;
  nextBound = async (): Promise<null> => null;
  readRange = async (): Promise<never> => {
    throw new Error("nothing is copied here");
  };
  readKeys = this.readRange;
  fingerprint = async (): Promise<string> => "";
}

/** A guard against a hang: what is polled here comes at once on a machine that has nothing else to do. */
const PATIENT = { timeout: 30_000 };

describe("S2, a seal in the stream", () => {
  let folder = "";
  let lane = newLane();
  let log: SqliteLog;
  let stream: HandStream;
  let capture: LaneCapture;
  let running: Promise<unknown>;
  let stop = new AbortController();
  const signal = AbortSignal.timeout(60_000);
  const strays: string[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "dray-seal-"));
    const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
    log = new SqliteLog({ folder, chunkStore, clock: systemClock });
    stop = new AbortController();
    stream = new HandStream();
    lane = newLane();
    strays.length = 0;
    capture = await LaneCapture.open(
      {
        source: { lane, move: "m", tenant: "7", tables: [table] },
        stream,
        log,
        memory: {
          raiseEpoch: async () => 1,
          checkpoint: async () => null,
          saveCheckpoint: async () => {},
          anchor: async () => null,
        },
        probe: noProbe,
        mode: "carrying",
        firstPass: 0,
        leadsBack: false,
        begins: null,
        onMark: () => {},
        onChunk: () => {},
        onStray: async ({ transaction }) => void strays.push(transaction),
      },
      signal,
    );
    running = capture.run(AbortSignal.any([signal, stop.signal])).catch(() => {});
    await capture.announce({ table: "s.t", pass: 0, after: null, upTo: null, announces: "end" });
  });

  afterEach(async () => {
    stop.abort(new Error("the test ends"));
    await running;
    await log.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Everything that was carried, once a sentinel behind it stands in the log. */
  async function carried(): Promise<number> {
    const place = capture.mark("sentinel", signal);
    await Promise.resolve();
    stream.arrive(stream.committed.at(-1));
    return (await place).carried["s.t"]?.insert ?? 0;
  }

  test("C: what a first seal holds back is still held when the seal is set again", async () => {
    const first = capture.seal(signal);
    await Promise.resolve();
    stream.arrive(stream.committed.at(-1));
    await first;
    stream.write("slipped in");
    await expect.poll(() => capture.heldChanges).toBe(1);
    const second = capture.seal(signal);
    await Promise.resolve();
    stream.arrive(stream.committed.at(-1));
    await second;
    // Held, so there is no proof; dropped, it would be lost with the proof in hand.
    expect(capture.heldChanges).toBe(1);
    capture.release();
    expect(await carried()).toBe(1);
  });

  test("C: a seal that arrives after its attempt was given up seals nothing", async () => {
    const given = new AbortController();
    const sealing = capture.seal(given.signal);
    await Promise.resolve();
    const late = stream.committed.at(-1);
    given.abort(new Error("the pause was too long"));
    await expect(sealing).rejects.toThrow("too long");
    capture.release();
    stream.arrive(late);
    stream.write("the tenant goes on");
    expect(await carried()).toBe(1);
    expect(strays).toEqual([]);
  });

  test("M1: another process's seal for the same lane and epoch seals nothing", async () => {
    const epoch = capture.state().epoch;
    stream.arrive({ scope: lane, epoch, kind: "seal", nonce: "e".repeat(32) });
    stream.write("the tenant goes on");
    expect(await carried()).toBe(1);
    expect(strays).toEqual([]);
  });
});

describe("S2, and a capture that ends", () => {
  let folder = "";
  let log: SqliteLog;
  let stream: HandStream;
  let half: CaptureHalf;
  let rider: PromiseWithResolvers<never>;
  const signal = AbortSignal.timeout(60_000);
  const lost = new DrayError("MYSQL_UNREACHABLE", {});

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "dray-seal-"));
    const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
    log = new SqliteLog({ folder, chunkStore, clock: systemClock });
    stream = new HandStream();
    rider = Promise.withResolvers<never>();
    rider.promise.catch(() => {}); // nobody may come to ride
    let epoch = 0;
    half = new CaptureHalf({
      source: { lane: newLane(), move: "m", tenant: "7", tables: [table] },
      stream,
      log,
      memory: {
        raiseEpoch: async () => ++epoch,
        checkpoint: async () => null,
        saveCheckpoint: async () => {},
        anchor: async () => null,
      },
      throttle: new Throttle({ clock: systemClock, probes: [] }),
      clock: systemClock,
      probe: noProbe,
      parallelRanges: 1,
      chunkBudget: { rows: 10, bytes: 1_000 },
      // Nothing rides on it, and it takes all that the stream brings.
      mode: "standby",
      firstPass: 0,
      leadsBack: false,
      begins: null,
      verify: { run: () => rider.promise },
      onOpened: () => {},
      onMark: () => {},
      onChunk: () => {},
      onStray: async () => {},
      onCopied: async () => {},
      onStopped: () => {},
    });
    half.start();
  });

  afterEach(async () => {
    await half.stop("the test ends");
    await log.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function sealed(): Promise<MarkPlace> {
    const known = stream.committed.length;
    const sealing = half.seal(signal);
    await expect.poll(() => stream.committed.length, PATIENT).toBeGreaterThan(known);
    stream.arrive(stream.committed.at(-1));
    return await sealing;
  }

  test("C: one that ends while it seals is opened anew, and the next try seals that one", async () => {
    const first = await half.wait(signal);
    const sealing = half.seal(signal);
    await expect.poll(() => stream.committed.length, PATIENT).toBe(1);
    stream.fail(lost);
    await expect(sealing).rejects.toBe(lost);
    await expect.poll(() => half.capture?.state().epoch ?? 0, PATIENT).toBeGreaterThan(first.state().epoch);
    expect((await sealed()).header.epoch).toBeGreaterThan(first.state().epoch);
  });

  test("C: where what rides on it ends it, whoever waits for a mark learns why, and may try again", async () => {
    await half.wait(signal);
    half.carry();
    const sealing = half.seal(signal);
    await expect.poll(() => stream.committed.length, PATIENT).toBeGreaterThan(0);
    rider.reject(lost);
    await expect(sealing).rejects.toBe(lost);
  });

  test("C: one that ends with a final error while it seals ends the sealing with it", async () => {
    await half.wait(signal);
    const sealing = half.seal(signal);
    await expect.poll(() => stream.committed.length, PATIENT).toBe(1);
    const final = new DrayError("DIVERGED", {});
    stream.fail(final);
    await expect(sealing).rejects.toBe(final);
    await expect(half.seal(signal)).rejects.toBe(final);
  });

  test("C: one that ends behind S2 is not opened anew, and what it held is known; asked again, the seal opens the next", async () => {
    const { header } = await sealed();
    stream.write("slipped in");
    await expect.poll(() => half.sealed?.heldChanges, PATIENT).toBe(1);
    stream.fail(lost);
    await expect.poll(() => half.capture, PATIENT).toBeNull();
    await sleep(200);
    expect(half.capture).toBeNull();
    expect([half.sealed?.heldChanges, half.sealed?.sinceSentinel.length]).toEqual([1, 1]);
    expect((await sealed()).header.epoch).toBeGreaterThan(header.epoch);
  });
});

const table = { id: "s.t", root: false, ordered: false, definition: null };
