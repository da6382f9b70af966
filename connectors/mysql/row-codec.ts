/**
 * A row of canonical values (W6) as bytes, in the order of the table's carried columns. A value is NULL or the bytes
 * that values.ts defines for its type: for strings the column's own bytes, for all else MySQL's exact text.
 * Each value: length + 1 as a varint (0 is NULL), then its bytes.
 */
export type CanonicalRow = readonly (Uint8Array | null)[];

export function rowBytes(row: CanonicalRow): number {
  let bytes = 0;
  for (const value of row) bytes += value === null ? 1 : varintBytes(value.length + 1) + value.length;
  return bytes;
}

export function encodeRow(row: CanonicalRow): Uint8Array {
  const out = Buffer.allocUnsafe(rowBytes(row));
  let at = 0;
  for (const value of row) {
    let head = value === null ? 0 : value.length + 1;
    while (head > 0x7f) {
      out[at++] = (head & 0x7f) | 0x80;
      head >>>= 7;
    }
    out[at++] = head;
    if (value !== null) {
      out.set(value, at);
      at += value.length;
    }
  }
  return out;
}

/** Values are views into `bytes`, not copies. */
export function decodeRow(bytes: Uint8Array, columns: number): CanonicalRow {
  const row: (Uint8Array | null)[] = new Array(columns);
  let at = 0;
  for (let i = 0; i < columns; i++) {
    let head = 0;
    let shift = 0;
    let byte: number | undefined;
    do {
      byte = bytes[at++];
      if (byte === undefined) throw new RangeError(`row ends inside column ${i}`);
      head |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte & 0x80);
    if (head === 0) {
      row[i] = null;
      continue;
    }
    const end = at + head - 1;
    if (end > bytes.length) throw new RangeError(`row ends inside column ${i}`);
    row[i] = bytes.subarray(at, end);
    at = end;
  }
  if (at !== bytes.length) throw new RangeError(`row has ${bytes.length - at} bytes behind column ${columns - 1}`);
  return row;
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}
