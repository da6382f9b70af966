import { describe, expect, test } from "vitest";
import { type Bound, sameBound } from "../../pipeline/coverage.ts";
import { keyText } from "../../pipeline/key-text.ts";
import { RowDigests } from "../../pipeline/verify/row-digests.ts";
import type { Span } from "../../pipeline/verify/verified-range.ts";
import { VerifiedTable } from "../../pipeline/verify/verified-table.ts";

const key = (n: number) => Buffer.from([n]);
const text = (n: number) => keyText(key(n));
const bound = (n: number): Bound => ({ values: [String(n)], key: key(n).toString("hex") });
const DIGEST = { source: "0a", target: "0a" };
const NONE = { found: [], asked: 0, nowMs: 0, rows: 1, digest: DIGEST };

function ordered(cap?: number): VerifiedTable {
  return new VerifiedTable({ id: "t", ordered: true, pass: 0, ...(cap === undefined ? {} : { cap }) });
}

/** Compared as equal from end to end, in ranges that end at these keys and at the table's end, at seq 1, 2, … */
function covered(ends: readonly number[], cap?: number): VerifiedTable {
  const table = ordered(cap);
  const bounds = [null, ...ends.map(bound), null];
  for (let i = 0; i + 1 < bounds.length; i++) {
    const span = { after: bounds[i] ?? null, upTo: bounds[i + 1] ?? null };
    table.began(span, i + 1, []);
    table.comparedRange(span, { ...NONE, seq: i + 1, keys: [] });
  }
  return table;
}

describe("V2: what is verified of a table, and which keys have changed since", () => {
  test("ranges are cut out one behind the other until the table is covered", () => {
    const table = ordered();
    expect(table.isCovered).toBe(false);
    const first = { after: null, upTo: bound(10) };
    expect(table.began(first, 5, [])).toBe(true);
    table.comparedRange(first, { ...NONE, seq: 5, keys: [text(1)] });
    expect(table.isCovered).toBe(false);
    expect(table.ranges.map(({ seq, due }) => [seq, due])).toEqual([
      [5, false],
      [null, true],
    ]);
    const rest = { after: bound(10), upTo: null };
    table.began(rest, 6, []);
    table.comparedRange(rest, { ...NONE, seq: 6, keys: [] });
    expect(table.isCovered).toBe(true);
    expect(table.isDue).toBe(false);
  });

  test("a pass that was asked for before what was kept is read is not lost", () => {
    const kept = covered([10]).state();
    const table = ordered();
    table.ask();
    table.restore(kept);
    expect(table.isCovered).toBe(true);
    expect(table.isDue).toBe(true);
    const unasked = ordered();
    unasked.restore(kept);
    expect(unasked.isDue).toBe(false);
  });

  test("only keys of ranges that are compared, or being compared, are kept", () => {
    const table = ordered();
    table.changed(text(3), 1);
    expect(table.dirtyKeys).toBe(0);
    const first = { after: null, upTo: bound(10) };
    table.began(first, 5, [text(4)]);
    table.changed(text(3), 6);
    table.changed(text(11), 7);
    expect(table.oldestDirty(9)).toEqual([key(4), key(3)]);
    table.comparedRange(first, { ...NONE, seq: 5, keys: [text(3)] });
    // What changed behind the entry was not in the comparison.
    expect(table.oldestDirty(9)).toEqual([key(4), key(3)]);
  });

  test("of many differences the first are kept, and their range differs, compared, until all are gone", () => {
    const table = new VerifiedTable({ id: "t", ordered: true, pass: 0, mostDifferences: 3 });
    const all = { after: null, upTo: null };
    const lost = (n: number) => ({ key: key(n), kind: "missing" as const, source: null, target: null });
    table.began(all, 5, []);
    table.comparedRange(all, { ...NONE, seq: 5, keys: [], found: [1, 2, 3, 4, 5].map(lost) });
    expect(table.differences.map((each) => each.key)).toEqual([key(1), key(2), key(3)]);
    expect([table.dirtyKeys, table.isCovered, table.overflows]).toEqual([3, true, true]);
    // Nothing of it is under way once the named ones were compared by their key.
    for (const n of [1, 2, 3]) table.comparedKey(key(n), 6, { kind: "missing", columns: [], foundAtMs: 0 });
    expect([table.isDue, table.overflows]).toEqual([false, true]);
    const other = new VerifiedTable({ id: "t", ordered: true, pass: 0, mostDifferences: 3 });
    other.restore(table.state());
    expect([other.isCovered, other.isDue, other.overflows]).toEqual([true, false, true]);
    // As a row is put right by hand: there is room for names again.
    for (const n of [1, 2]) other.comparedKey(key(n), 7, null);
    expect([other.isDue, other.overflows]).toEqual([true, true]);
    // As a repair does.
    table.forget(table.spanOf(key(1)));
    table.began(all, 9, []);
    table.comparedRange(all, { ...NONE, seq: 9, keys: [1, 2, 3, 4, 5].map(text) });
    expect([table.differences, table.isCovered, table.overflows]).toEqual([[], true, false]);
  });

  test("a comparison by key clears what changed before it, not behind it", () => {
    const table = covered([]);
    table.changed(text(1), 10);
    table.changed(text(2), 10);
    table.changed(text(1), 12);
    table.comparedKey(key(1), 11, null);
    table.comparedKey(key(2), 11, null);
    expect(table.oldestDirty(9)).toEqual([key(1)]);
  });

  test("a difference stands until a later comparison of its key finds none, in whatever order they end", () => {
    const table = covered([10]);
    const first = { after: null, upTo: bound(10) };
    table.began(first, 20, []);
    table.comparedRange(first, { ...NONE, seq: 20, keys: [text(2)], found: [{ key: key(2), kind: "differing" }] });
    expect(table.differences).toMatchObject([{ kind: "differing", columns: null, seq: 20 }]);
    // Its columns are not known yet, so the key is to be compared by itself.
    expect(table.oldestDirty(9)).toEqual([key(2)]);
    table.comparedKey(key(2), 22, { kind: "differing", columns: ["name"], foundAtMs: 1 });
    expect(table.dirtyKeys).toBe(0);
    table.comparedKey(key(2), 21, null);
    expect(table.differences).toMatchObject([{ columns: ["name"], seq: 22 }]);
    table.changed(text(2), 23);
    table.comparedKey(key(2), 24, null);
    expect(table.differences).toEqual([]);
  });

  test("a difference that an older comparison finds behind a newer one's end is compared once more", () => {
    const table = covered([]);
    const all = { after: null, upTo: null };
    table.changed(text(3), 10);
    // Compared by its key at 11, written again at 12, compared with its range at 13, which ends first.
    table.changed(text(3), 12);
    table.began(all, 13, []);
    table.comparedRange(all, { ...NONE, seq: 13, keys: [text(3)] });
    expect(table.dirtyKeys).toBe(0);
    table.comparedKey(key(3), 11, { kind: "differing", columns: ["name"], foundAtMs: 1 });
    expect(table.oldestDirty(9)).toEqual([key(3)]);
    table.comparedKey(key(3), 14, null);
    expect(table.differences).toEqual([]);
    expect(table.dirtyKeys).toBe(0);
  });

  test("a difference that is on neither side any more is gone with its range", () => {
    const table = covered([]);
    const all = { after: null, upTo: null };
    table.began(all, 5, []);
    table.comparedRange(all, { ...NONE, seq: 5, keys: [text(7)], found: [{ key: key(7), kind: "extra" }] });
    table.comparedKey(key(7), 6, { kind: "extra", columns: [], foundAtMs: 1 });
    table.began(all, 9, []);
    table.comparedRange(all, { ...NONE, seq: 9, keys: [] });
    expect(table.differences).toEqual([]);
  });

  test("where keys have no order such a difference is settled by its key", () => {
    const table = new VerifiedTable({ id: "t", ordered: false, pass: 0 });
    const all = { after: null, upTo: null };
    table.began(all, 5, []);
    table.comparedRange(all, { ...NONE, seq: 5, keys: [text(7)], found: [{ key: key(7), kind: "extra" }] });
    table.comparedKey(key(7), 6, { kind: "extra", columns: [], foundAtMs: 1 });
    table.began(all, 9, []);
    table.comparedRange(all, { ...NONE, seq: 9, keys: [] });
    expect(table.differences).toHaveLength(1);
    expect(table.isDue).toBe(true);
    expect(table.oldestDirty(9)).toEqual([key(7)]);
    table.comparedKey(key(7), 10, null);
    expect(table.isDue).toBe(false);
  });

  test("a pass that is asked for makes everything due, and work begun before does not answer it", () => {
    const table = covered([10]);
    const first = { after: null, upTo: bound(10) };
    table.began(first, 20, []);
    table.ask();
    table.comparedRange(first, { ...NONE, seq: 20, keys: [], asked: 0 });
    expect(table.isCovered).toBe(true);
    expect(table.ranges.map(({ due }) => due)).toEqual([true, true]);
    table.comparedRange(first, { ...NONE, seq: 21, keys: [], asked: table.asked });
    expect(table.ranges.map(({ due }) => due)).toEqual([false, true]);
  });

  test("beyond the cap the range with most dirty keys is compared as a whole again", () => {
    const table = covered([10, 20], 4);
    for (const n of [1, 11, 12, 13, 14]) table.changed(text(n), 30 + n);
    expect(table.ranges.map(({ seq, due }) => [seq, due])).toEqual([
      [1, false],
      [null, true],
      [3, false],
    ]);
    expect(table.oldestDirty(9)).toEqual([key(1)]);
    // What changes there is not kept until it is being compared.
    table.changed(text(15), 50);
    expect(table.dirtyKeys).toBe(1);
  });

  test("a comparison that ends after its range fell back counts for nothing", () => {
    const table = covered([10], 3);
    const first = { after: null, upTo: bound(10) };
    table.ask();
    table.began(first, 20, []);
    for (const n of [1, 2, 3, 4]) table.changed(text(n), 30);
    table.comparedRange(first, { ...NONE, seq: 20, keys: [text(1)], asked: 1 });
    expect(table.isCovered).toBe(false);
  });

  test("keys without an order: every change is kept once a range is compared, and the table falls back as one", () => {
    const table = new VerifiedTable({ id: "t", ordered: false, pass: 0, cap: 2 });
    const first = { after: null, upTo: { values: ["m"], key: null } };
    table.began(first, 1, []);
    table.comparedRange(first, { ...NONE, seq: 1, keys: [] });
    table.changed(text(200), 2);
    expect(table.dirtyKeys).toBe(1);
    table.changed(text(1), 3);
    table.changed(text(2), 4);
    expect(table.dirtyKeys).toBe(0);
    expect(table.ranges).toMatchObject([{ after: null, upTo: null, seq: null, due: true }]);
  });

  test("ranges that were compared in small pieces are compared as one again, and what changed in any of them is kept", () => {
    const table = covered([10, 20, 30]);
    table.changed(text(5), 9);
    table.changed(text(15), 8);
    expect(table.nextDue(() => false)).toBeNull();
    expect(table.cut({ after: null, upTo: bound(15) }), "nothing of it is due").toBe(false);
    table.ask();
    expect(table.nextDue(() => false)).toMatchObject({ after: null, upTo: null });
    expect(table.nextDue(({ after }) => after === null)).toMatchObject({ after: bound(10), upTo: null });
    const third = ({ after }: Span) => sameBound(after, bound(20));
    expect(table.nextDue(third)).toMatchObject({ after: null, upTo: bound(20) });
    const span = { after: null, upTo: bound(25) };
    expect(table.cut(span)).toBe(true);
    expect(table.ranges.map(({ upTo, seq, due }) => [upTo, seq, due])).toEqual([
      [bound(25), 1, true],
      [bound(30), 3, true],
      [null, 4, true],
    ]);
    expect([table.isCovered, table.dirtyKeys]).toEqual([true, 2]);
    expect(
      table.ranges.map(({ rows }) => rows),
      "each row is counted once",
    ).toEqual([2, 1, 1]);
    table.began(span, 12, []);
    table.changed(text(15), 13);
    table.comparedRange(span, { ...NONE, seq: 12, keys: [text(5), text(15)], asked: 1 });
    expect(table.oldestDirty(9).map(keyText)).toEqual([text(15)]);
    expect(table.nextDue(() => false)).toMatchObject({ after: bound(25), upTo: null });
  });

  test("a range that is not covered is compared by itself: what is known of those beside it stands", () => {
    const table = covered([10, 20]);
    table.ask();
    table.forget({ after: bound(10), upTo: bound(20) });
    expect(table.nextDue(() => false)).toMatchObject({ after: null, upTo: bound(10) });
    expect(table.nextDue(({ after }) => after === null)).toMatchObject({ after: bound(10), upTo: bound(20) });
  });

  test("a range's digest stands until the range is cut or compared as a whole again, and is kept", () => {
    const table = covered([10]);
    const restored = ordered();
    restored.restore(table.state());
    expect(restored.ranges.map(({ digest }) => digest)).toEqual([DIGEST, DIGEST]);
    table.changed(text(4), 9);
    table.comparedKey(key(4), 12, null);
    expect(table.ranges.map(({ digest }) => digest)).toEqual([DIGEST, DIGEST]);
    expect(table.cut({ after: null, upTo: bound(5) })).toBe(true);
    expect(table.ranges.map(({ digest }) => digest)).toEqual([null, null, DIGEST]);
    table.forget({ after: bound(10), upTo: null });
    expect(table.ranges.at(-1)?.digest).toBeNull();
  });

  test("rows in another order have the same digest, and a row that is left out does not count", () => {
    const of = (rows: readonly (readonly [number, string])[]) => {
      const digests = new RowDigests(0);
      for (const [n, letter] of rows) digests.add(key(n), letter.repeat(16));
      return digests;
    };
    const one = of([
      [1, "a"],
      [2, "b"],
    ]).xor(new Set());
    expect(one).toMatch(/^[0-9a-f]{32}$/);
    const turned = of([
      [3, "z"],
      [2, "b"],
      [1, "a"],
    ]);
    expect(turned.xor(new Set([text(3)]))).toBe(one);
    expect(turned.xor(new Set())).not.toBe(one);
  });

  test("a repair of another span than ours: every range that may hold a part of it is compared again", () => {
    const table = covered([10, 20, 30]);
    table.forget({ after: bound(10), upTo: bound(25) });
    expect(table.ranges.map(({ seq, due }) => [seq, due])).toEqual([
      [1, false],
      [null, true],
      [null, true],
      [4, false],
    ]);
    const unordered = new VerifiedTable({ id: "t", ordered: false, pass: 0 });
    const first = { after: null, upTo: { values: ["m"], key: null } };
    unordered.began(first, 1, []);
    unordered.comparedRange(first, { ...NONE, seq: 1, keys: [] });
    unordered.forget({ after: null, upTo: null });
    expect(unordered.isCovered).toBe(false);
    expect(unordered.ranges.every(({ due }) => due)).toBe(true);
  });

  test("what is kept is what goes on, and what was being compared is due again", () => {
    const table = covered([10]);
    table.changed(text(4), 9);
    const rest = { after: bound(10), upTo: null };
    table.forget(rest);
    table.began(rest, 12, []);
    const other = ordered();
    other.restore(table.state());
    expect(other.state()).toEqual(table.state());
    expect(other.ranges.map(({ seq, due }) => [seq, due])).toEqual([
      [1, false],
      [null, true],
    ]);
    other.changed(text(11), 13);
    expect(other.oldestDirty(9)).toEqual([key(4)]);
  });
});
