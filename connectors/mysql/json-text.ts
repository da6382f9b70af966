import { DrayError } from "../../pipeline/errors.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { realText } from "./decimal-text.ts";
import { assertJsonNumber } from "./json-guard.ts";
import { writeDecimal } from "./value-writers.ts";

const SMALL_OBJECT = 0;
const LARGE_OBJECT = 1;
const SMALL_ARRAY = 2;
const LARGE_ARRAY = 3;
const LITERAL = 4;
const INT16 = 5;
const UINT16 = 6;
const INT32 = 7;
const UINT32 = 8;
const INT64 = 9;
const UINT64 = 10;
const DOUBLE = 11;
const STRING = 12;
const OPAQUE = 15;
const OPAQUE_NEWDECIMAL = 246;

/**
 * Binary JSON as text that MySQL reads back as an equal value: a double keeps its point (3.0 is not 3), 64-bit integers
 * and strings are exact. Throws VALUE_REFUSED for an opaque value other than DECIMAL (a DATE would come back as a
 * string) and for a DECIMAL with more digits than JSON text keeps.
 */
export function writeJson(out: ByteWriter, bytes: Buffer, start: number, end: number, column: string): void {
  // An empty image is what an old server wrote for the JSON null.
  if (start === end) out.latin1("null");
  else writeValue(out, bytes, bytes[start] as number, start + 1, column);
}

function writeValue(out: ByteWriter, bytes: Buffer, type: number, at: number, column: string): void {
  switch (type) {
    case SMALL_OBJECT:
    case LARGE_OBJECT:
      writeContainer(out, bytes, at, column, type === SMALL_OBJECT ? 2 : 4, "object");
      return;
    case SMALL_ARRAY:
    case LARGE_ARRAY:
      writeContainer(out, bytes, at, column, type === SMALL_ARRAY ? 2 : 4, "array");
      return;
    case LITERAL:
      writeLiteral(out, bytes[at] as number);
      return;
    case INT16:
      writeNumber(out, bytes.readInt16LE(at));
      return;
    case UINT16:
      writeNumber(out, bytes.readUInt16LE(at));
      return;
    case INT32:
      writeNumber(out, bytes.readInt32LE(at));
      return;
    case UINT32:
      writeNumber(out, bytes.readUInt32LE(at));
      return;
    case INT64:
      out.latin1(bytes.readBigInt64LE(at).toString());
      return;
    case UINT64:
      out.latin1(bytes.readBigUInt64LE(at).toString());
      return;
    case DOUBLE:
      writeDouble(out, bytes.readDoubleLE(at));
      return;
    case STRING: {
      const length = readVariableLength(bytes, at);
      writeString(out, bytes, length.next, length.next + length.value);
      return;
    }
    case OPAQUE:
      writeOpaque(out, bytes, at, column);
      return;
    default:
      throw new DrayError("VALUE_REFUSED", { column, reason: `binary JSON holds an unknown type ${type}` });
  }
}

/** Offsets count from the container's own beginning; small values stand in their entry. */
function writeContainer(
  out: ByteWriter,
  bytes: Buffer,
  base: number,
  column: string,
  width: 2 | 4,
  kind: "object" | "array",
): void {
  const isObject = kind === "object";
  const read = (at: number) => (width === 2 ? bytes.readUInt16LE(at) : bytes.readUInt32LE(at));
  const count = read(base);
  const keysAt = base + 2 * width;
  const valuesAt = isObject ? keysAt + count * (width + 2) : keysAt;
  out.byte(isObject ? 0x7b : 0x5b);
  for (let i = 0; i < count; i++) {
    if (i > 0) out.latin1(", ");
    if (isObject) {
      const keyEntry = keysAt + i * (width + 2);
      const keyAt = base + read(keyEntry);
      writeString(out, bytes, keyAt, keyAt + bytes.readUInt16LE(keyEntry + width));
      out.latin1(": ");
    }
    const entry = valuesAt + i * (width + 1);
    const type = bytes[entry] as number;
    const inlined =
      type === LITERAL || type === INT16 || type === UINT16 || (width === 4 && (type === INT32 || type === UINT32));
    writeValue(out, bytes, type, inlined ? entry + 1 : base + read(entry + 1), column);
  }
  out.byte(isObject ? 0x7d : 0x5d);
}

function writeLiteral(out: ByteWriter, literal: number): void {
  if (literal > 2) throw new RangeError(`binary JSON holds an unknown literal ${literal}`);
  out.latin1(literal === 0 ? "null" : literal === 1 ? "true" : "false");
}

function writeNumber(out: ByteWriter, value: number): void {
  if (value < 0) out.byte(0x2d);
  out.integer(Math.abs(value));
}

function writeDouble(out: ByteWriter, value: number): void {
  const text = realText(value);
  out.latin1(/[.e]/.test(text) ? text : `${text}.0`);
}

const HEX = "0123456789abcdef";
const SHORT: Readonly<Record<number, number>> = { 8: 0x62, 9: 0x74, 10: 0x6e, 12: 0x66, 13: 0x72 };

/** UTF-8 passes as it is; only quotes, backslashes and control characters are escaped. */
function writeString(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  out.byte(0x22);
  let from = start;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte >= 0x20 && byte !== 0x22 && byte !== 0x5c) continue;
    if (at > from) out.copy(bytes, from, at);
    from = at + 1;
    const short = SHORT[byte];
    if (byte >= 0x20) out.latin1(byte === 0x22 ? '\\"' : "\\\\");
    else if (short !== undefined) {
      out.byte(0x5c);
      out.byte(short);
    } else out.latin1(`\\u00${HEX[byte >> 4]}${HEX[byte & 15]}`);
  }
  if (end > from) out.copy(bytes, from, end);
  out.byte(0x22);
}

function writeOpaque(out: ByteWriter, bytes: Buffer, at: number, column: string): void {
  const type = bytes[at] as number;
  const length = readVariableLength(bytes, at + 1);
  if (type !== OPAQUE_NEWDECIMAL) {
    throw new DrayError("VALUE_REFUSED", { column, reason: `JSON holds a value of MySQL type ${type}, not of JSON` });
  }
  const precision = bytes[length.next] as number;
  const scale = bytes[length.next + 1] as number;
  const from = out.at;
  writeDecimal(out, bytes, length.next + 2, precision, scale);
  assertJsonNumber(out.bytes.toString("latin1", from, out.at), column);
}

/** Seven bits a byte, low ones first; the high bit says that more follow. */
function readVariableLength(bytes: Buffer, start: number): { readonly value: number; readonly next: number } {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[start + i] as number;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, next: start + i + 1 };
  }
  throw new RangeError("a length in binary JSON has no end");
}
