import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeChanges, decodeChunk, encodeChanges, encodeChunk } from "../../pipeline/change-codec.ts";
import type { Change } from "../../pipeline/entry.ts";

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const change: fc.Arbitrary<Change> = fc.record({
  table: fc.constantFrom("users", "orders", "Été", ""),
  op: fc.constantFrom("insert", "update", "delete"),
  key: bytes(40),
  row: bytes(300),
});

describe("bodies of changes", () => {
  test("come back as they were", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        expect(decodeChanges(encodeChanges(changes))).toEqual(changes);
      }),
    );
  });

  test("keep rows of any size and more tables than a byte counts", () => {
    const changes = [0, 127, 128, 16_383, 16_384, 3_000_000].map(
      (size, i): Change => ({
        table: `t${i}`,
        op: "update",
        key: new Uint8Array(size).fill(i),
        row: new Uint8Array(size),
      }),
    );
    for (let i = 0; i < 300; i++)
      changes.push({ table: `many${i}`, op: "delete", key: new Uint8Array([i]), row: new Uint8Array(0) });
    expect(decodeChanges(encodeChanges(changes))).toEqual(changes);
  });

  test("are decoded to views, not copies", () => {
    const body = encodeChanges([{ table: "users", op: "insert", key: Buffer.from("key"), row: Buffer.from("row") }]);
    for (const decoded of decodeChanges(body)) {
      expect(decoded.key.buffer).toBe(body.buffer);
      expect(decoded.row.buffer).toBe(body.buffer);
    }
    expect(decodeChanges(Buffer.concat([Buffer.alloc(5), body]).subarray(5))).toEqual(decodeChanges(body));
  });

  test("cut short or continued they are an error", () => {
    const body = encodeChanges([
      { table: "users", op: "insert", key: Buffer.from("key"), row: Buffer.from("a row") },
      { table: "orders", op: "delete", key: Buffer.from("k2"), row: Buffer.from("") },
    ]);
    for (let length = 0; length < body.length; length++) {
      expect(() => decodeChanges(body.subarray(0, length))).toThrow(/^LOG_(CORRUPT|FORMAT)/);
    }
    expect(() => decodeChanges(Buffer.concat([body, Buffer.alloc(1)]))).toThrow(/^LOG_CORRUPT/);
    expect(() => decodeChanges(Buffer.concat([Buffer.from([9]), body.subarray(1)]))).toThrow(/^LOG_FORMAT/);
  });
});

describe("bodies of chunks", () => {
  test("come back as they were", () => {
    fc.assert(
      fc.property(fc.array(bytes(40), { maxLength: 30 }), bytes(1_000), (leftOut, rows) => {
        expect(decodeChunk(encodeChunk({ leftOut, rows }))).toEqual({ leftOut, rows });
      }),
    );
  });

  test("a chunk's head is written before its rows where there is room, and the rows are not copied", () => {
    const buffer = Buffer.concat([Buffer.alloc(64, 0xff), Buffer.from("rows")]);
    const rows = buffer.subarray(64);
    const near = encodeChunk({ leftOut: [Buffer.from("k")], rows, headroomBytes: 64 });
    expect(near.buffer).toBe(rows.buffer);
    const far = encodeChunk({ leftOut: [Buffer.alloc(100, 7)], rows, headroomBytes: 64 });
    expect(far.buffer).not.toBe(rows.buffer);
    for (const body of [near, far]) expect(Buffer.from(decodeChunk(body).rows).toString()).toBe("rows");
    expect(decodeChunk(near).leftOut).toEqual([new Uint8Array(Buffer.from("k"))]);
  });

  test("with damaged lengths are an error", () => {
    const body = encodeChunk({ leftOut: [Buffer.from("key")], rows: new Uint8Array(0) });
    for (let length = 0; length < body.length; length++) {
      expect(() => decodeChunk(body.subarray(0, length))).toThrow(/^LOG_(CORRUPT|FORMAT)/);
    }
  });
});
