import { BodyReader, putBytes, putVarint, varintBytes } from "./body-bytes.ts";
import type { Change, ChangeOp, KeyBytes } from "./entry.ts";

/*
 * Bodies of `changes` and `chunk` entries. A `changes` body is: version, the tables' names, then for each change one
 * number (table index * 4 + op), key and row, each behind its length.
 */
const CHANGES_VERSION = 1;
const CHUNK_VERSION = 1;
const OPS: readonly ChangeOp[] = ["insert", "update", "delete"];
const OP_CODES: Readonly<Record<ChangeOp, number>> = { insert: 0, update: 1, delete: 2 };

export function encodeChanges(changes: readonly Change[]): Uint8Array {
  const indexes = new Map<string, number>();
  const heads = new Uint32Array(changes.length);
  let sizeBytes = 1 + varintBytes(changes.length);
  let lastTable: string | null = null;
  let lastIndex = 0;
  for (let i = 0; i < changes.length; i++) {
    const change = changes[i] as Change;
    if (change.table !== lastTable) {
      lastTable = change.table;
      const known = indexes.get(lastTable);
      lastIndex = known ?? indexes.size;
      if (known === undefined) indexes.set(lastTable, lastIndex);
    }
    const head = lastIndex * 4 + OP_CODES[change.op];
    heads[i] = head;
    const keyBytes = change.key.length;
    const rowBytes = change.row.length;
    sizeBytes += varintBytes(head) + varintBytes(keyBytes) + keyBytes + varintBytes(rowBytes) + rowBytes;
  }
  const names = [...indexes.keys()].map((name) => Buffer.from(name, "utf8"));
  sizeBytes += varintBytes(names.length);
  for (const name of names) sizeBytes += varintBytes(name.length) + name.length;

  const out = new Uint8Array(sizeBytes);
  out[0] = CHANGES_VERSION;
  let at = putVarint(out, 1, names.length);
  for (const name of names) at = putBytes(out, at, name);
  at = putVarint(out, at, changes.length);
  for (let i = 0; i < changes.length; i++) {
    const change = changes[i] as Change;
    at = putVarint(out, at, heads[i] as number);
    at = putBytes(out, at, change.key);
    at = putBytes(out, at, change.row);
  }
  return out;
}

/** Keys and rows are views into `bytes`: whoever keeps one keeps the whole body. Damaged bytes are LOG_CORRUPT. */
export function decodeChanges(bytes: Uint8Array): Change[] {
  const reader = new BodyReader(bytes, "changes");
  reader.expectVersion(CHANGES_VERSION);
  const tables: string[] = [];
  const tableCount = reader.count();
  for (let i = 0; i < tableCount; i++) tables.push(reader.text());
  const changeCount = reader.count();
  const changes: Change[] = new Array(changeCount);
  for (let i = 0; i < changeCount; i++) {
    const head = reader.varint();
    const table = tables[Math.floor(head / 4)];
    const op = OPS[head % 4];
    if (table === undefined || op === undefined) throw reader.damaged();
    const key = reader.view();
    changes[i] = { table, op, key, row: reader.view() };
  }
  reader.expectEnd();
  return changes;
}

export type ChunkBody = {
  /** Keys of the range that are left to the stream (W1). */
  readonly leftOut: readonly KeyBytes[];
  /** The store's own encoding of the rows. */
  readonly rows: Uint8Array;
  /** So many bytes before `rows` in its buffer may be overwritten: what fits there spares a copy of the rows. */
  readonly headroomBytes?: number;
};

export function encodeChunk(chunk: ChunkBody): Uint8Array {
  const { rows, headroomBytes = 0 } = chunk;
  let headBytes = 1 + varintBytes(chunk.leftOut.length);
  for (const key of chunk.leftOut) headBytes += varintBytes(key.length) + key.length;
  const fits = headBytes <= headroomBytes;
  const sizeBytes = headBytes + rows.length;
  const out = fits ? new Uint8Array(rows.buffer, rows.byteOffset - headBytes, sizeBytes) : new Uint8Array(sizeBytes);
  out[0] = CHUNK_VERSION;
  let at = putVarint(out, 1, chunk.leftOut.length);
  for (const key of chunk.leftOut) at = putBytes(out, at, key);
  if (!fits) out.set(rows, at);
  return out;
}

/** Views into `bytes`, as in decodeChanges. */
export function decodeChunk(bytes: Uint8Array): ChunkBody {
  const reader = new BodyReader(bytes, "chunk");
  reader.expectVersion(CHUNK_VERSION);
  const leftOut: KeyBytes[] = [];
  const count = reader.count();
  for (let i = 0; i < count; i++) leftOut.push(reader.view());
  return { leftOut, rows: reader.rest() };
}
