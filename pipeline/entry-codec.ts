import { hash } from "node:crypto";
import { promisify } from "node:util";
import { constants, crc32, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from "node:zlib";
import { Packr } from "msgpackr";
import type { ChunkStore } from "./chunk-store/chunk-store.ts";
import type { BodyRef, EntryHeader, LogEntry } from "./entry.ts";
import { DrayError, isDrayError } from "./errors.ts";

/** A header's bytes: version, CRC-32 of what follows, MessagePack. The body's own sha256 stands in the header. */
const VERSION = 1;
const HEADER_PREFIX_BYTES = 5;
/** Below this zstd saves a few hundred bytes for two calls of 0.1 ms, on the way of a lone transaction to the target. */
const COMPRESS_ABOVE_BYTES = 4 * 1024;
/** Above this the thread pool takes the work, so that the event loop stays free. */
const OFF_THREAD_ABOVE_BYTES = 128 * 1024;
const ZSTD_OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** Every output buffer is a turn through the thread pool, and joined with the others by a copy: so one, if it can be. */
const SMALLEST_POOL_OUTPUT_BYTES = 128 * 1024;
const SMALLEST_OUTPUT_BYTES = 64;
const NOTHING = new Uint8Array(0);

const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });
const compressInPool = promisify(zstdCompress);
const inflateInPool = promisify(zstdDecompress);

export type SealedBody = { readonly stored: Uint8Array; readonly ref: BodyRef };

export function encodeHeader(header: EntryHeader): Uint8Array {
  const packed = packr.pack(header);
  const bytes = Buffer.allocUnsafe(HEADER_PREFIX_BYTES + packed.length);
  bytes[0] = VERSION;
  bytes.writeUInt32LE(crc32(packed), 1);
  bytes.set(packed, HEADER_PREFIX_BYTES);
  return bytes;
}

/** Rejects damaged bytes with LOG_CORRUPT, another format's with LOG_FORMAT; never gives a wrong header. */
export function decodeHeader(bytes: Uint8Array, where: Readonly<Record<string, unknown>> = {}): EntryHeader {
  if (bytes.length <= HEADER_PREFIX_BYTES) throw new DrayError("LOG_CORRUPT", { ...where, headerBytes: bytes.length });
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const packed = view.subarray(HEADER_PREFIX_BYTES);
  if (view[0] !== VERSION) throw new DrayError("LOG_FORMAT", { ...where, found: view[0], expected: VERSION });
  const expected = view.readUInt32LE(1);
  const found = crc32(packed);
  if (found !== expected) throw new DrayError("LOG_CORRUPT", { ...where, headerCrc32: found, expectedCrc32: expected });
  try {
    return packr.unpack(packed) as EntryHeader;
  } catch (error) {
    throw new DrayError("LOG_CORRUPT", { ...where, reason: "the header cannot be decoded" }, error);
  }
}

/** Header and body in one piece: length of the header, header, body as stored. */
export function encodeEntry(header: Uint8Array, stored: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(4 + header.length + stored.length);
  bytes.writeUInt32LE(header.length, 0);
  bytes.set(header, 4);
  bytes.set(stored, 4 + header.length);
  return bytes;
}

export type DecodedEntry = {
  readonly header: EntryHeader;
  readonly headerBytes: Uint8Array;
  readonly stored: Uint8Array;
};

export function decodeEntry(bytes: Uint8Array, where: Readonly<Record<string, unknown>> = {}): DecodedEntry {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const headerBytesLength = view.length < 4 ? Number.POSITIVE_INFINITY : view.readUInt32LE(0);
  if (4 + headerBytesLength > view.length) throw new DrayError("LOG_CORRUPT", { ...where, entryBytes: bytes.length });
  const headerBytes = view.subarray(4, 4 + headerBytesLength);
  const header = decodeHeader(headerBytes, where);
  const stored = view.subarray(4 + headerBytesLength);
  assertStoredLength(header, stored, where);
  return { header, headerBytes, stored };
}

/** What makes two records the same entry (L3): the header's checksum and, in it, the body's sha256. */
export function entryDigest(headerBytes: Uint8Array, header: EntryHeader): string {
  return `${crc32(headerBytes)}:${header.body.sha256}`;
}

export function assertStoredLength(
  header: EntryHeader,
  stored: Uint8Array,
  where: Readonly<Record<string, unknown>>,
): void {
  const expected = header.body.chunkKey === null ? header.body.storedBytes : 0;
  if (stored.length === expected) return;
  throw new DrayError("LOG_CORRUPT", { ...where, seq: header.seq, bodyBytes: stored.length, expectedBytes: expected });
}

/** L6: compresses where it helps. `chunkKey` is null: the log's writer sets it where the body goes to the chunk store. */
export async function sealBody(body: Uint8Array): Promise<SealedBody> {
  if (body.length <= COMPRESS_ABOVE_BYTES) return sealed(body, body.length, "plain");
  const packed =
    body.length > OFF_THREAD_ABOVE_BYTES
      ? await compressInPool(body, {
          ...ZSTD_OPTIONS,
          chunkSize: Math.max(SMALLEST_POOL_OUTPUT_BYTES, Math.ceil(body.length / 2)),
        })
      : zstdCompressSync(body, ZSTD_OPTIONS);
  if (packed.length >= body.length) return sealed(body, body.length, "plain");
  return sealed(packed, body.length, "zstd");
}

function sealed(stored: Uint8Array, plainBytes: number, encoding: BodyRef["encoding"]): SealedBody {
  const ref = { sha256: hash("sha256", stored), storedBytes: stored.length, plainBytes, encoding, chunkKey: null };
  return { stored, ref };
}

/**
 * The body's plain bytes. Rejects with CHUNK_LOST, CHUNK_DAMAGED (from the chunk store) or LOG_CORRUPT, with both
 * sha256, where the bytes are not what was written.
 */
export async function openBody(entry: LogEntry, chunkStore: ChunkStore): Promise<Uint8Array> {
  if (entry.held) return entry.held.plain;
  const { lane, seq, body } = entry.header;
  const stored =
    body.chunkKey === null
      ? entry.stored
      : await chunkStore.get({ key: body.chunkKey, sha256: body.sha256, bytes: body.storedBytes });
  const found = hash("sha256", stored);
  if (found !== body.sha256) {
    throw new DrayError("LOG_CORRUPT", { lane, seq, offset: entry.offset, sha256: found, expectedSha256: body.sha256 });
  }
  if (body.plainBytes === 0) return NOTHING;
  if (body.encoding === "plain") return stored;
  const plain = await inflate(stored, body.plainBytes, { lane, seq, offset: entry.offset });
  if (plain.length === body.plainBytes) return plain;
  throw new DrayError("LOG_CORRUPT", { lane, seq, plainBytes: plain.length, expectedBytes: body.plainBytes });
}

/** The chunk store has the body no more, or not as it was written (L6). */
export function isLostBody(error: unknown): error is DrayError {
  return isDrayError(error, "CHUNK_LOST") || isDrayError(error, "CHUNK_DAMAGED");
}

async function inflate(
  stored: Uint8Array,
  plainBytes: number,
  where: Readonly<Record<string, unknown>>,
): Promise<Uint8Array> {
  const options = { maxOutputLength: plainBytes, chunkSize: Math.max(SMALLEST_OUTPUT_BYTES, plainBytes) };
  try {
    return plainBytes > OFF_THREAD_ABOVE_BYTES
      ? await inflateInPool(stored, options)
      : zstdDecompressSync(stored, options);
  } catch (error) {
    throw new DrayError("LOG_CORRUPT", { ...where, expectedBytes: plainBytes, reason: "it does not inflate" }, error);
  }
}
