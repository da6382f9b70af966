import { keyText } from "../../pipeline/key-text.ts";
import { keyBytes } from "./key-bytes.ts";
import type { CanonicalRow } from "./row-codec.ts";
import { carriedColumns, keyColumns, type TableSpec } from "./table-spec.ts";

export const TAB = 0x09;
export const LF = 0x0a;
export const BACKSLASH = 0x5c;
export const LETTER_N = 0x4e;

/** The rows again, for the guarded upsert and for keys; values are views into `body` where nothing was escaped. */
export function parseLoadText(spec: TableSpec, body: Uint8Array): CanonicalRow[] {
  const columns = carriedColumns(spec).length;
  const buffer = asBuffer(body);
  const rows: CanonicalRow[] = [];
  for (let at = 0; at < buffer.length; ) {
    const { values, next } = readValues(buffer, { at, count: columns, columns });
    rows.push(values);
    at = next;
  }
  return rows;
}

/** Key text (one character a byte of KeyBytes) of a row of `parseLoadText`. */
export function loadTextKey(spec: TableSpec): (row: CanonicalRow) => string {
  const places = keyPlaces(spec);
  const keyOf = keyBytes(spec);
  return (row) => keyText(keyOf(places.map((place) => row[place] ?? null)));
}

export function keyPlaces(spec: TableSpec): readonly number[] {
  const carried = carriedColumns(spec);
  return keyColumns(spec).map((key) => carried.findIndex((column) => column.name === key.name));
}

/** The first `count` values of the row at `at`, which has `columns` of them; `next` is behind the last one read. */
export function readValues(
  body: Buffer,
  row: { readonly at: number; readonly count: number; readonly columns: number },
) {
  const values: (Uint8Array | null)[] = new Array(row.count);
  let { at } = row;
  for (let i = 0; i < row.count; i++) {
    const from = at;
    let escapes = 0;
    let byte = body[at];
    while (byte !== TAB && byte !== LF) {
      if (byte === undefined) throw new RangeError("the text ends inside a row");
      if (byte === BACKSLASH) {
        escapes++;
        at++;
      }
      byte = body[++at];
    }
    if ((byte === LF) !== (i === row.columns - 1)) {
      throw new RangeError(`a row of the text has other than ${row.columns} values`);
    }
    values[i] = escapes === 0 ? body.subarray(from, at) : unescaped(body, from, at, escapes);
    at++;
  }
  return { values, next: at };
}

function unescaped(body: Buffer, from: number, end: number, escapes: number): Uint8Array | null {
  if (end - from === 2 && body[from + 1] === LETTER_N) return null;
  const value = Buffer.allocUnsafe(end - from - escapes);
  let to = 0;
  for (let at = from; at < end; at++) {
    if (body[at] === BACKSLASH) at++;
    value[to++] = body[at] as number;
  }
  return value;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
