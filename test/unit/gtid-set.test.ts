import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GtidSet, gtidText, parseGtid } from "../../connectors/mysql/gtid-set.ts";
import { formatPosition, parsePosition } from "../../connectors/mysql/position.ts";

const A = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B = "5aaa1111-71ca-11e1-9e33-c80aa9429562";
const SOURCES = [A, `${A}:blue`, B];

const gtid = fc.record({ source: fc.constantFrom(...SOURCES), number: fc.bigInt(1n, 40n) });
const gtids = fc.array(gtid, { maxLength: 60 });

function setOf(list: readonly { source: string; number: bigint }[]): GtidSet {
  const set = new GtidSet();
  for (const one of list) set.add(one);
  return set;
}
function model(list: readonly { source: string; number: bigint }[]): Set<string> {
  return new Set(list.map(gtidText));
}
const universe = SOURCES.flatMap((source) => Array.from({ length: 42 }, (_, i) => ({ source, number: BigInt(i + 1) })));

describe("GTID sets (M4)", () => {
  test("every operation agrees with a set of single GTIDs", () => {
    fc.assert(
      fc.property(gtids, gtids, (left, right) => {
        const [a, b] = [setOf(left), setOf(right)];
        const [ma, mb] = [model(left), model(right)];
        for (const one of universe) {
          const text = gtidText(one);
          expect(a.has(one)).toBe(ma.has(text));
          expect(a.union(b).has(one)).toBe(ma.has(text) || mb.has(text));
          expect(a.intersection(b).has(one)).toBe(ma.has(text) && mb.has(text));
          expect(a.minus(b).has(one)).toBe(ma.has(text) && !mb.has(text));
        }
        expect(a.isSubsetOf(b)).toBe([...ma].every((text) => mb.has(text)));
        expect(a.count()).toBe(BigInt(ma.size));
        expect(a.isEmpty).toBe(ma.size === 0);
      }),
      { numRuns: 150 },
    );
  });

  test("its text reads back as the same set, whatever the order of adding", () => {
    fc.assert(
      fc.property(gtids, (list) => {
        const set = setOf(list);
        expect(GtidSet.parse(set.toString()).toString()).toBe(set.toString());
        expect(setOf([...list].reverse()).toString()).toBe(set.toString());
      }),
    );
  });

  test("a clone does not change with its original", () => {
    const set = GtidSet.parse(`${A}:1-5`);
    const copy = set.clone();
    set.add({ source: A, number: 6n });
    expect(copy.toString()).toBe(`${A}:1-5`);
    expect(set.toString()).toBe(`${A}:1-6`);
  });

  test("MySQL's own forms are read: line breaks, tags, upper case, numbers above 2^53", () => {
    const text = `${A.toUpperCase()}:1-3:5:blue:7-9007199254740993,\n${B}:1`;
    expect(GtidSet.parse(text).toString()).toBe(`${A}:1-3:5:blue:7-9007199254740993,${B}:1`);
    expect(GtidSet.parse("").isEmpty).toBe(true);
    expect(parseGtid(`${A}:blue:7`)).toEqual({ source: `${A}:blue`, number: 7n });
  });

  test.each(["x:1", A, `${A}:0`, `${A}:5-3`, `${A}:1-9223372036854775808`, `${A}:1-2-3`])("%s is refused", (text) => {
    expect(() => GtidSet.parse(text)).toThrow();
  });
});

describe("positions (M4)", () => {
  test("a position reads back from its text, inside a transaction too", () => {
    const completed = GtidSet.parse(`${A}:1-5`);
    const partial = { gtid: { source: `${A}:blue`, number: 6n }, ordinal: 3, serverUuid: B };
    const mark = { id: 77n, nonce: "0123456789abcdef0123456789abcdef" };
    for (const position of [
      { completed, partial, mark },
      { completed, partial: null, mark: null },
      { completed: new GtidSet(), partial: null, mark },
    ]) {
      const text = formatPosition(position);
      const back = parsePosition(text);
      expect(back.partial).toEqual(position.partial);
      expect(back.mark).toEqual(position.mark);
      expect(formatPosition(back)).toBe(text);
    }
  });
});
