import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { EntryHeader, LaneId, LogEntry, Position } from "../../pipeline/entry.ts";
import {
  decodeEntry,
  decodeHeader,
  encodeEntry,
  encodeHeader,
  openBody,
  sealBody,
} from "../../pipeline/entry-codec.ts";

const folder = mkdtempSync(join(tmpdir(), "dray-codec-"));
const chunkStore = new DirectoryChunkStore({ folder, clock: systemClock });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function entryOf(body: Uint8Array): Promise<LogEntry> {
  const { stored, ref } = await sealBody(body);
  const bound = { values: ["17", "é\u0000'"], key: "00ff" };
  const header: EntryHeader = {
    lane: "acme.db.f1" as LaneId,
    seq: Number.MAX_SAFE_INTEGER,
    epoch: 3,
    nonce: "ab".repeat(16),
    position: "uuid:1-5" as Position,
    committedAtMs: 1_700_000_000_123.456,
    coverage: {
      tables: [{ table: "users", pass: 0, announced: bound, planned: "end", open: [], rows: 300_000 }],
    },
    detail: { kind: "range", range: { table: "users", pass: 0, after: null, upTo: bound, announces: "end" } },
    body: ref,
  };
  return { header, stored, offset: "1" };
}

describe("headers", () => {
  test("come back as they were", async () => {
    const { header } = await entryOf(new Uint8Array(0));
    expect(decodeHeader(encodeHeader(header))).toEqual(header);
  });

  test("damaged bytes are an error, never another header", async () => {
    const { header, stored } = await entryOf(Buffer.from("some body"));
    const bytes = Buffer.from(encodeEntry(encodeHeader(header), stored));
    const headerBytes = 4 + encodeHeader(header).length;
    fc.assert(
      fc.property(fc.nat({ max: headerBytes - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] as number) ^ flip;
        expect(() => decodeEntry(damaged)).toThrow(/^LOG_(CORRUPT|FORMAT)/);
      }),
    );
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeEntry(bytes.subarray(0, length))).toThrow(/^LOG_CORRUPT/);
    }
  });

  test("of another version are LOG_FORMAT", async () => {
    const bytes = Buffer.from(encodeHeader((await entryOf(new Uint8Array(0))).header));
    bytes[0] = 2;
    expect(() => decodeHeader(bytes)).toThrow(expect.objectContaining({ code: "LOG_FORMAT" }));
  });
});

describe("L6 bodies", () => {
  test("of every size come back as they were, compressed where it helps", async () => {
    for (const size of [0, 1, 4096, 4097, 100_000, 300_000]) {
      for (const body of [randomBytes(size), Buffer.alloc(size, "ab")]) {
        const entry = await entryOf(body);
        expect(Buffer.compare(await openBody(entry, chunkStore), body)).toBe(0);
        expect(entry.stored.length).toBeLessThanOrEqual(size);
        expect(entry.header.body).toMatchObject({ plainBytes: size, storedBytes: entry.stored.length });
      }
    }
    expect((await entryOf(Buffer.alloc(100_000, "ab"))).header.body.encoding).toBe("zstd");
    expect((await entryOf(randomBytes(100_000))).header.body.encoding).toBe("plain");
  });

  test("a body that does not match its sha256 is refused with both values", async () => {
    const entry = await entryOf(Buffer.alloc(2_000, "x"));
    const stored = Buffer.from(entry.stored);
    stored[7] = (stored[7] as number) ^ 1;
    const error = await openBody({ ...entry, stored }, chunkStore).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "LOG_CORRUPT" });
    expect(String(error)).toContain(entry.header.body.sha256);
    expect(String(error)).toContain(createHash("sha256").update(stored).digest("hex"));
  });

  test("a header whose plain size is wrong is refused, and inflates no further", async () => {
    const entry = await entryOf(Buffer.alloc(200_000, "x"));
    for (const plainBytes of [199_999, 200_001]) {
      const header = { ...entry.header, body: { ...entry.header.body, plainBytes } };
      await expect(openBody({ ...entry, header }, chunkStore)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    }
  });
});
