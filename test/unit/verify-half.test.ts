import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { VerifyHalf, type VerifyHalfOptions } from "../../cutover/lane/verify-half.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { EntryHeader, KeyBytes, LogAnchor } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { ChunkRows } from "../../pipeline/source.ts";
import { Throttle } from "../../pipeline/throttle.ts";
import type { VerifiedTable } from "../../pipeline/verify/verified-table.ts";
import type { LaneSink } from "../../sinks/sink.ts";

/*
 * V2, under the fence: both sides are maps of a key's text to a row, so that each case stands as it must be judged.
 */
const TABLE = "s.t";
const WHOLE = { after: null, upTo: null };
const signal = AbortSignal.timeout(60_000);
const anchor = (seq: number): LogAnchor => ({ offset: String(seq), epoch: 1, nonce: "n", seq });
const key = (text: string): KeyBytes => Buffer.from(text);

describe("V2: what is compared under the fence, and what stands against a commit", () => {
  let half: VerifyHalf;
  let table: VerifiedTable;
  let source: Map<string, string>;
  let target: Map<string, string>;
  let sink: LaneSink;
  let read: string[];
  let readMs: number;
  /** What is kept beside the sink. */
  let kept: Uint8Array | null;

  beforeEach(async () => {
    source = new Map([
      ["a", "1"],
      ["b", "2"],
    ]);
    target = new Map(source);
    read = [];
    readMs = 0;
    kept = null;
    half = newHalf();
    sink = sinkOf("one");
    await openAt(sink);
    table = half.state.table(TABLE);
    table.began(WHOLE, 2, []);
    comparedWhole(2);
  });

  test("comparing beside a fence ends with it, also where nobody can read", async () => {
    table.changed("a", 6);
    const over = new AbortController();
    const comparing = half.compareUntil(over.signal);
    await systemClock.sleep(20);
    over.abort(new Error("the fences hold"));
    await comparing;
    expect(table.dirtyKeys, "left for behind the fence").toBe(1);
  });

  test("a difference that is known of a key that is dirty no more is read again, and named", async () => {
    target.set("b", "other");
    table.comparedKey(key("b"), 5, { kind: "differing", columns: ["c"], foundAtMs: 1 });
    expect(table.dirtyKeys).toBe(0);
    expect(await half.compareFenced(sink, 9, signal)).toEqual({ uncovered: [], differing: ["s.t b: differing in c"] });
  });

  test("one whose rows are equal by now is cleared, and one beside it that still differs stands", async () => {
    target.set("x", "extra");
    for (const text of ["b", "x"]) table.comparedKey(key(text), 5, { kind: "extra", columns: [], foundAtMs: 1 });
    expect((await half.compareFenced(sink, 9, signal)).differing).toEqual(["s.t x: extra in c"]);
    expect(table.differences.map(({ key: each }) => keyText(each))).toEqual(["x"]);
  });

  test("keys that are dirty and keys of open differences are read each once, and no others", async () => {
    table.changed("a", 6);
    table.comparedKey(key("b"), 5, { kind: "differing", columns: ["c"], foundAtMs: 1 });
    table.recheck();
    expect(await half.compareFenced(sink, 9, signal)).toEqual({ uncovered: [], differing: [] });
    expect(read.toSorted()).toEqual(["a", "b"]);
    expect(table.dirtyKeys).toBe(0);
  });

  test("more differences than are kept by name: their range counts as not covered", async () => {
    const found = Array.from({ length: 10_001 }, (_, i) => ({ key: key(`k${i}`), kind: "extra" as const }));
    table.comparedRange(WHOLE, { seq: 5, rows: 0, digest: DIGEST, keys: [], found, asked: 0, nowMs: 1 });
    expect(half.unverified().uncovered).toEqual([TABLE]);
  });

  test("the target is another server now: nothing is dirty, and nothing is verified either", async () => {
    const other = sinkOf("two");
    await openAt(other);
    expect(table.dirtyKeys).toBe(0);
    expect(await half.compareFenced(other, 9, signal)).toEqual({ uncovered: [TABLE], differing: [] });
  });

  test("V2: an entry whose body is lost, and a range that was written anew, leave the table uncovered", async () => {
    half.state.take({ header: changes(3), anchor: anchor(3), changes: [], keys: [] });
    expect(await half.compareFenced(sink, 9, signal)).toMatchObject({ uncovered: [TABLE] });
    table.began(WHOLE, 4, []);
    comparedWhole(4);
    expect(await half.compareFenced(sink, 9, signal)).toMatchObject({ uncovered: [] });
    table.forget(WHOLE);
    expect(await half.compareFenced(sink, 9, signal)).toMatchObject({ uncovered: [TABLE] });
  });

  test("a pass that was asked for is known to the process that comes after one that was killed", async () => {
    await half.ask(null);
    expect(half.state.table(TABLE).isDue).toBe(true);
    half = newHalf();
    await openAt(sink);
    expect(half.state.table(TABLE).isDue).toBe(true);
  });

  test("so it is where the target could not be reached when it was asked for", async () => {
    await half.ask([]);
    half = newHalf();
    await half.ask([TABLE]);
    await openAt(sink);
    half = newHalf();
    await openAt(sink);
    expect(half.state.table(TABLE).isDue).toBe(true);
  });

  test("C10: what keys take under a fence is assumed until keys were compared, and then what that has taken", async () => {
    expect(half.predictFenced(100)).toMatchObject({ ms: 6, msPerKey: 0.03, known: "assumed" });
    expect(half.predictFenced(0).ms).toBe(0);
    table.changed("a", 6);
    readMs = 40;
    await half.compareFenced(sink, 9, signal);
    const { ms, msPerKey, known } = half.predictFenced(100);
    expect(known).toBe("measured");
    // Of the target 40 ms, taken for those of 50 keys.
    expect(msPerKey).toBeGreaterThanOrEqual(0.75);
    expect(ms).toBeGreaterThanOrEqual(75);
  });

  /** As a process has it that has just begun. */
  function newHalf(): VerifyHalf {
    return new VerifyHalf({
      source: {
        lane: "l",
        move: "m",
        tenant: "7",
        tables: [{ id: TABLE, root: false, ordered: true, definition: null }],
      },
      stream: { readKeys: async (_: unknown, __: string, keys: readonly KeyBytes[]) => rowsAt(source, keys) },
      verifyMemory: {
        load: async () => kept,
        save: async (_: unknown, bytes: Uint8Array) => {
          kept = bytes;
        },
        drop: async () => {},
      },
      clock: systemClock,
      probe: noProbe,
      throttle: new Throttle({ clock: systemClock, probes: [] }),
      rangeBudget: () => ({ rows: 10, bytes: 1_000 }),
      logger: pino({ level: "silent" }),
      columnsOf: () => ["c"],
      describeKey: (_: string, each: KeyBytes) => keyText(each),
      yieldsTo: () => null,
      restPerMs: () => 0,
    } as unknown as VerifyHalfOptions);
  }

  function comparedWhole(seq: number): void {
    table.comparedRange(WHOLE, { seq, rows: 2, digest: DIGEST, keys: [], found: [], asked: 0, nowMs: 1 });
  }

  async function openAt(each: LaneSink): Promise<void> {
    await half.open(each, { watermark: 1, anchor: anchor(1), applied: [], closed: false }, signal);
  }

  function sinkOf(server: string): LaneSink {
    const readKeys = async (_: string, keys: readonly KeyBytes[]) => {
      read.push(...keys.map(keyText));
      await systemClock.sleep(readMs);
      return new Map([...target].map(([text, row]) => [text, Buffer.from(row)]));
    };
    return { server, openReadView: async () => ({ readKeys, close: async () => {} }) } as unknown as LaneSink;
  }
});

const DIGEST = { source: "", target: "" };

function rowsAt(side: ReadonlyMap<string, string>, keys: readonly KeyBytes[]): ChunkRows {
  const there = keys.filter((each) => side.has(keyText(each)));
  const single = () => there.map((each) => ({ key: each, row: Buffer.from(side.get(keyText(each)) ?? "") }));
  return { single } as unknown as ChunkRows;
}

function changes(seq: number): EntryHeader {
  const tables = { [TABLE]: { insert: 0, update: 1, delete: 0 } };
  const coverage = { tables: [{ table: TABLE, pass: -1 }] };
  return { seq, coverage, detail: { kind: "changes", tables, endsTransaction: true } } as unknown as EntryHeader;
}
