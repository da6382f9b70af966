import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChunkText, loadStatement, loadTextKey, parseLoadText } from "../../connectors/mysql/load-text.ts";
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
