import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Mark, MarkKind, Position } from "../../pipeline/entry.ts";
import { LaneCapture } from "../../pipeline/lane-capture.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { FeedState, LaneFeed, LaneSource, SourceEvent, StreamSource } from "../../pipeline/source.ts";
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

  async next(signal: AbortSignal): Promise<readonly SourceEvent[]> {
    while (this.#waiting.length === 0) {
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

const table = { id: "s.t", root: false, ordered: false, definition: null };
