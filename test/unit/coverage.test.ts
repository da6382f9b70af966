import { describe, expect, test } from "vitest";
import {
  type Bound,
  CoverageIndex,
  isComplete,
  type KeyRange,
  startCoverage,
  withChunk,
  withRange,
  withRecopy,
} from "../../pipeline/coverage.ts";
import { Window } from "../../pipeline/window.ts";

const bound = (n: number): Bound => ({ values: [String(n)], key: Buffer.from([n]).toString("hex") });
const key = (n: number) => new Uint8Array([n]);
function range(after: number | null, upTo: number | null, announces: Bound | "end"): KeyRange {
  return {
    table: "t",
    pass: 0,
    after: after === null ? null : bound(after),
    upTo: upTo === null ? null : bound(upTo),
    announces,
  };
}

describe("W3: what may be dropped", () => {
  test("before anything is announced everything may; above the announced keys it still may; below it never may", () => {
    const blank = startCoverage(["t"], 0);
    expect(new CoverageIndex(blank).mayDrop("t", key(1))).toBe(true);
    const announced = new CoverageIndex(withRange(blank, range(null, 10, bound(10))));
    expect([9, 10, 11].map((n) => announced.mayDrop("t", key(n)))).toEqual([false, false, true]);
  });

  test("keys without a provable order are all kept from the first announcement on", () => {
    const index = new CoverageIndex(withRange(startCoverage(["t"], 0), range(null, 10, "end")));
    expect(index.mayDrop("t", key(200))).toBe(false);
  });

  test("a table is complete once its last range is in the log and none is open", () => {
    const [first, last] = [range(null, 10, bound(10)), range(10, null, "end")];
    let coverage = withRange(withRange(startCoverage(["t"], 0), first), last);
    expect(isComplete(coverage)).toBe(false);
    coverage = withChunk(coverage, last, 3);
    expect(coverage.tables[0]?.open).toEqual([first]);
    coverage = withChunk(coverage, first, 4);
    expect(isComplete(coverage)).toBe(true);
    expect(coverage.tables[0]?.rows).toBe(7);
  });

  test("W4: copying again covers nothing until announced anew, in a pass of its own", () => {
    const whole = range(null, null, "end");
    const again = withRecopy(withChunk(withRange(startCoverage(["t"], 0), whole), whole, 1), "t");
    expect(again.tables[0]).toEqual({ table: "t", pass: 1, announced: null, planned: null, open: [], rows: 0 });
  });
});

describe("W1: a window", () => {
  test("leaves out each key of its range that changed since the announcement, once", () => {
    const window = new Window({ purpose: "copy", range: range(5, 10, bound(10)) });
    for (const n of [5, 6, 10, 10, 11]) window.saw("t", key(n));
    window.saw("other", key(7));
    expect(window.leftOut.map((bytes) => bytes[0])).toEqual([6, 10]);
  });

  test("V1: over single keys it sees these keys alone", () => {
    const scope = { form: "keys", table: "t", keys: 2 } as const;
    const window = new Window({ purpose: "verify", scope, keys: [key(5), key(9)] });
    for (const n of [4, 5, 9, 9, 10]) window.saw("t", key(n));
    expect(window.leftOut.map((bytes) => bytes[0])).toEqual([5, 9]);
  });
});
