import type { Bound } from "../../pipeline/coverage.ts";
import type { KeyBytes } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { COLUMN_TYPES, carrierOf, columnProblem } from "./column-types.ts";
import { quoteIdentifier } from "./identifier.ts";
import type { CanonicalRow } from "./row-codec.ts";
import { type ColumnSpec, keyColumns, type TableSpec } from "./table-spec.ts";
import { literal } from "./values.ts";

/**
 * W5: canonical bytes of a primary key from its columns' canonical values, in key order; the same from SELECT and from
 * the row image. Different bytes are different keys here, also where a collation calls them equal ('a' and 'A'): an
 * update from one to the other has been split into delete and insert, and deletes go first, so the order holds.
 * An integer is 8 bytes, high one first, sign flipped; BINARY(n) its n bytes; all else its length in 4 bytes, then its
 * canonical bytes.
 */
export type KeyOf = (keyValues: CanonicalRow) => KeyBytes;

/** Throws COLUMN_REFUSED for a key type that has no exact form. */
export function keyBytes(spec: TableSpec): KeyOf {
  const columns = keyColumns(spec);
  if (columns.length === 0)
    throw new DrayError("SCHEMA_MISMATCH", { table: tableName(spec), reason: "no primary key" });
  const parts = columns.map((column) => keyPart(spec, column));
  const [first] = parts;
  if (parts.length === 1 && first) return ([value]) => first(present(spec, value));
  return (values) => {
    if (values.length !== parts.length) throw new RangeError(`a key of ${tableName(spec)} has ${parts.length} columns`);
    return Buffer.concat(parts.map((part, i) => part(present(spec, values[i]))));
  };
}

/** Whether KeyBytes sort as MySQL sorts the keys: integer and BINARY columns only. */
export function keysAreOrdered(spec: TableSpec): boolean {
  return keyColumns(spec).every((column) => {
    const rule = COLUMN_TYPES[column.dataType];
    return rule?.accepted === true && rule.key === "ordered";
  });
}

/** The place right at this key. Strings and binary stand as hex, all else as its canonical text. */
export function boundFromKey(spec: TableSpec, keyValues: CanonicalRow): Bound {
  const columns = keyColumns(spec);
  const values = columns.map((column, i) => {
    const value = asBuffer(present(spec, keyValues[i]));
    return value.toString(isHex(column) ? "hex" : "latin1");
  });
  const key = keysAreOrdered(spec) ? asBuffer(keyBytes(spec)(keyValues)).toString("hex") : null;
  return { values, key };
}

/** The bound's canonical key values again. */
export function boundValues(spec: TableSpec, bound: Bound): Uint8Array[] {
  const columns = keyColumns(spec);
  if (bound.values.length !== columns.length) throw new RangeError(`a bound of ${tableName(spec)} has another key`);
  return columns.map((column, i) => Buffer.from(bound.values[i] as string, isHex(column) ? "hex" : "latin1"));
}

/** The bound's values as SQL literals, in key order. */
export function boundLiterals(spec: TableSpec, bound: Bound): string[] {
  const columns = keyColumns(spec);
  return boundValues(spec, bound).map((value, i) => literal(columns[i] as ColumnSpec, value));
}

/**
 * KeyBytes of ordered keys can be read back: what W4's left-out keys and an error's key need. Throws for other tables'
 * keys only where the bytes are not a key of this table.
 */
export function keyValues(spec: TableSpec, key: KeyBytes): Uint8Array[] {
  const bytes = asBuffer(key);
  let at = 0;
  const values = keyColumns(spec).map((column) => {
    if (carrierOf(column) === "integer") {
      const raw = bytes.readBigUInt64BE(at);
      at += 8;
      const value = column.unsigned ? raw : BigInt.asIntN(64, raw ^ SIGN);
      return Buffer.from(value.toString(), "latin1");
    }
    const fixed = column.dataType === "binary" ? (column.octetLength ?? 0) : null;
    const length = fixed ?? bytes.readUInt32BE(at);
    if (fixed === null) at += 4;
    const value = bytes.subarray(at, at + length);
    at += length;
    return value;
  });
  if (at !== bytes.length) throw new RangeError(`not a key of ${tableName(spec)}`);
  return values;
}

/** SQL that finds the rows with these keys by the primary key's index; as the collation compares, not the bytes. */
export function anyOfKeys(spec: TableSpec, keys: readonly KeyBytes[]): string {
  const columns = keyColumns(spec);
  const names = columns.map(({ name }) => quoteIdentifier(name));
  const literals = keys.map((key) => keyValues(spec, key).map((value, i) => literal(columns[i] as ColumnSpec, value)));
  if (names.length === 1) return `${names[0]} IN (${literals.flat().join(",")})`;
  return `(${names.join(",")}) IN (${literals.map((values) => `(${values.join(",")})`).join(",")})`;
}

const SIGN = 1n << 63n;

/** Writes a signed or unsigned integer that fits 2^53 as a key does. */
export function integerKey(value: number, sign: "signed" | "unsigned"): KeyBytes {
  const bytes = Buffer.allocUnsafe(8);
  const high = Math.floor(value / 0x100000000);
  bytes.writeUInt32BE(((sign === "signed" ? high ^ 0x80000000 : high) >>> 0) as number, 0);
  bytes.writeUInt32BE(value - high * 0x100000000, 4);
  return bytes;
}

function keyPart(spec: TableSpec, column: ColumnSpec): (value: Uint8Array) => Uint8Array {
  const problem = columnProblem(column, "key");
  if (problem) throw new DrayError("COLUMN_REFUSED", { table: tableName(spec), ...problem });
  const sign = column.unsigned ? "unsigned" : "signed";
  if (carrierOf(column) === "integer") return (value) => integerPart(asBuffer(value).toString("latin1"), sign);
  if (column.dataType === "binary") {
    const length = column.octetLength ?? 0;
    return (value) => {
      if (value.length !== length) throw new RangeError(`BINARY key ${column.name} has ${value.length} bytes`);
      return value;
    };
  }
  return (value) => {
    const bytes = Buffer.allocUnsafe(4 + value.length);
    bytes.writeUInt32BE(value.length, 0);
    bytes.set(value, 4);
    return bytes;
  };
}

function integerPart(text: string, sign: "signed" | "unsigned"): Uint8Array {
  if (!/^-?\d{1,20}$/.test(text)) throw new RangeError("not a canonical integer key");
  if (text.length <= 15) return integerKey(Number(text), sign);
  const value = BigInt(text);
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, sign === "signed" ? value ^ SIGN : value), 0);
  return bytes;
}

function isHex(column: ColumnSpec): boolean {
  const carrier = carrierOf(column);
  return carrier === "string" || carrier === "bytes";
}

function present(spec: TableSpec, value: Uint8Array | null | undefined): Uint8Array {
  if (value === null || value === undefined) throw new RangeError(`a key of ${tableName(spec)} holds NULL`);
  return value;
}

function tableName(spec: TableSpec): string {
  return `${spec.schema}.${spec.name}`;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
