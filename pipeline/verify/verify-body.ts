import { BodyReader, putBytes, putVarint, varintBytes } from "../body-bytes.ts";
import type { KeyBytes } from "../entry.ts";
import { DIGEST_BYTES, DIGEST_KEY_BYTES, RowDigests } from "./row-digests.ts";

/*
 * Bodies of `verify` entries (V1). Of a range: version, the left-out keys, the digests' own key, the rows' keys, their
 * digests. Of single keys: version, the left-out keys, then each other key that was asked for, and its row if it is
 * there: whole rows, for these are few, and tell which columns differ.
 */
const VERSION = 1;

export type RangeBody = {
  /** Keys of the range that changed meanwhile: not compared, and dirty (V2). */
  readonly leftOut: readonly KeyBytes[];
  readonly digestKey: Uint8Array;
  readonly digests: RowDigests;
};

export type KeyedRow = { readonly key: KeyBytes; readonly row: Uint8Array | null };

export type KeysBody = {
  readonly leftOut: readonly KeyBytes[];
  /** Null: the source has no such row of the tenant. */
  readonly rows: readonly KeyedRow[];
};

export function encodeRangeBody({ leftOut, digestKey, digests }: RangeBody): Uint8Array {
  let sizeBytes = 1 + keysBytes(leftOut) + DIGEST_KEY_BYTES + varintBytes(digests.rows) + digests.rows * DIGEST_BYTES;
  for (let i = 0; i < digests.rows; i++) {
    const { length } = digests.keyAt(i);
    sizeBytes += varintBytes(length) + length;
  }
  const out = new Uint8Array(sizeBytes);
  out[0] = VERSION;
  let at = putKeys(out, 1, leftOut);
  out.set(digestKey, at);
  at = putVarint(out, at + DIGEST_KEY_BYTES, digests.rows);
  for (let i = 0; i < digests.rows; i++) at = putBytes(out, at, digests.keyAt(i));
  out.set(digests.digests, at);
  return out;
}

/** Views into `bytes`; damaged bytes are LOG_CORRUPT. */
export function decodeRangeBody(bytes: Uint8Array): RangeBody {
  const reader = new BodyReader(bytes, "verify");
  reader.expectVersion(VERSION);
  const leftOut = readKeys(reader);
  const digestKey = reader.take(DIGEST_KEY_BYTES);
  const keys = readKeys(reader);
  const digests = RowDigests.of(keys, reader.take(keys.length * DIGEST_BYTES));
  reader.expectEnd();
  return { leftOut, digestKey, digests };
}

export function encodeKeysBody({ leftOut, rows }: KeysBody): Uint8Array {
  let sizeBytes = 1 + keysBytes(leftOut) + varintBytes(rows.length);
  for (const { key, row } of rows) {
    sizeBytes += varintBytes(key.length) + key.length + varintBytes((row?.length ?? -1) + 1) + (row?.length ?? 0);
  }
  const out = new Uint8Array(sizeBytes);
  out[0] = VERSION;
  let at = putKeys(out, 1, leftOut);
  at = putVarint(out, at, rows.length);
  for (const { key, row } of rows) {
    at = putBytes(out, at, key);
    at = putVarint(out, at, (row?.length ?? -1) + 1);
    if (row === null) continue;
    out.set(row, at);
    at += row.length;
  }
  return out;
}

/** Views into `bytes`; damaged bytes are LOG_CORRUPT. */
export function decodeKeysBody(bytes: Uint8Array): KeysBody {
  const reader = new BodyReader(bytes, "verify");
  reader.expectVersion(VERSION);
  const leftOut = readKeys(reader);
  const rows: KeyedRow[] = [];
  const count = reader.count();
  for (let i = 0; i < count; i++) {
    const key = reader.view();
    const length = reader.varint();
    rows.push({ key, row: length === 0 ? null : reader.take(length - 1) });
  }
  reader.expectEnd();
  return { leftOut, rows };
}

function keysBytes(keys: readonly KeyBytes[]): number {
  return keys.reduce((sum, key) => sum + varintBytes(key.length) + key.length, varintBytes(keys.length));
}

function putKeys(out: Uint8Array, start: number, keys: readonly KeyBytes[]): number {
  let at = putVarint(out, start, keys.length);
  for (const key of keys) at = putBytes(out, at, key);
  return at;
}

function readKeys(reader: BodyReader): readonly KeyBytes[] {
  const keys: KeyBytes[] = [];
  const count = reader.count();
  for (let i = 0; i < count; i++) keys.push(reader.view());
  return keys;
}
