import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChunkText, loadStatement } from "../../connectors/mysql/load-text.ts";
import { loadTextKey, parseLoadText } from "../../connectors/mysql/parse-load-text.ts";
import { mysqlColumn, mysqlTable } from "./mysql-specs.ts";

const spec = mysqlTable({
  columns: [
    mysqlColumn({ name: "a", dataType: "varbinary", octetLength: 100, nullable: true }),
    mysqlColumn({ name: "id", dataType: "binary", octetLength: 2 }),
    mysqlColumn({ name: "tenant", dataType: "int" }),
    mysqlColumn({ name: "b", dataType: "blob", nullable: true }),
  ],
  primaryKey: ["id"],
});

const value = fc.option(
  fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc.array(fc.constantFrom(0x5c, 0x09, 0x0a, 0x4e, 0x00), { maxLength: 400 }).map((bytes) => Uint8Array.from(bytes)),
  ),
);
const rows = fc
  .array(fc.tuple(value, value), { maxLength: 30 })
  .map((pairs) =>
    pairs.map(([a, b], i) => [
      a && Buffer.from(a),
      Buffer.from([i >> 8, i & 255]),
      Buffer.from(String(i)),
      b && Buffer.from(b),
    ]),
  );

describe("A5: LOAD DATA text", () => {
  test("any values come back as they went in, and only rows left out are missing (W1)", () => {
    fc.assert(
      fc.property(rows, fc.func(fc.boolean()), (all, isLeftOut) => {
        const text = new ChunkText({ spec, expectedBytes: 16 });
        for (const row of all) text.add(row);
        expect(text.rows).toBe(all.length);
        const key = loadTextKey(spec);
        const leaveOut = new Set(all.filter((row) => isLeftOut(row[2])).map((row) => key(row)));
        const kept = all.filter((row) => !leaveOut.has(key(row)));
        const encoded = text.encode(leaveOut);
        expect(encoded.rows).toBe(kept.length);
        expect(parseLoadText(spec, encoded.body).map((row) => row.map((v) => v && Buffer.from(v)))).toEqual(kept);
      }),
    );
  });
  test("a row's packet gives the same text as its values, whatever bytes and lengths they have", () => {
    const plain = fc.option(fc.string({ maxLength: 120 }).map((text) => Buffer.from(text)));
    const long = fc.nat({ max: 400 }).map((length) => Buffer.alloc(length, "x"));
    // Every length and every byte stands alone among plain ones: neither is taken for the other.
    const one = fc.tuple(fc.nat({ max: 255 }), fc.nat({ max: 130 }), fc.nat({ max: 130 }));
    const alone = one.map(([byte, before, behind]) =>
      Buffer.concat([Buffer.alloc(before, "y"), Buffer.of(byte), Buffer.alloc(behind, "z")]),
    );
    const any = fc.oneof(plain, long, alone, value);
    fc.assert(
      fc.property(fc.array(fc.tuple(any, any), { maxLength: 40 }), (pairs) => {
        const slow = new ChunkText({ spec, expectedBytes: 16 });
        const fast = new ChunkText({ spec, expectedBytes: 16 });
        for (const [i, [a, b]] of pairs.entries()) {
          const row = [a && Buffer.from(a), Buffer.from([i, 9]), Buffer.from(String(i)), b && Buffer.from(b)];
          const packet = Buffer.concat([Buffer.from("before"), ...row.map(lengthCoded), Buffer.from("behind")]);
          slow.add(row);
          fast.addPacket(packet, 6, packet.length - 6);
        }
        expect(fast.rows).toBe(slow.rows);
        const [found, expected] = [fast, slow].map((text) =>
          Buffer.from(text.encode(new Set()).body).toString("latin1"),
        );
        expect(found).toBe(expected);
      }),
      { numRuns: 400 },
    );
    const short = new ChunkText({ spec });
    const packet = Buffer.concat(["a", "bb", "1"].map((text) => lengthCoded(Buffer.from(text))));
    expect(() => short.addPacket(packet, 0, packet.length)).toThrow(/fewer than 4 values/);
    const five = Buffer.concat([packet, packet]);
    expect(() => short.addPacket(five, 0, five.length)).toThrow(/more than 4 values/);
    expect(() => short.addPacket(five, 0, five.length - 3)).toThrow(RangeError);
  });
  test("a text that ends inside a row, or has other columns, is refused", () => {
    const text = new ChunkText({ spec });
    text.add([null, Buffer.from("aa"), Buffer.from("1"), Buffer.from("x")]);
    const { body } = text.encode(new Set());
    expect(() => parseLoadText(spec, body.subarray(0, body.length - 1))).toThrow(RangeError);
    expect(() => parseLoadText(spec, Buffer.from("a\tb\n"))).toThrow(RangeError);
    expect(() => parseLoadText(spec, Buffer.from("a\tb\tc\td\te\n"))).toThrow(RangeError);
    expect(() => text.add([null])).toThrow(RangeError);
  });
  test("the statement names every carried column and takes bytes as bytes", () => {
    expect(loadStatement(spec)).toBe(
      "LOAD DATA LOCAL INFILE 'dray' INTO TABLE `target`.`t` CHARACTER SET binary " +
        "FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES STARTING BY '' TERMINATED BY '\\n' (`a`, `id`, `tenant`, `b`)",
    );
  });
});

function lengthCoded(bytes: Buffer | null): Buffer {
  if (bytes === null) return Buffer.of(251);
  if (bytes.length < 251) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  return Buffer.concat([Buffer.of(252, bytes.length & 255, bytes.length >> 8), bytes]);
}
