import { DrayError } from "../../pipeline/errors.ts";
import { realText, survivesDouble } from "./decimal-text.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const POINT = 0x2e;
const ZERO = 0x30;
const LETTER_E = 0x65;
const MAX_UINT64 = 18446744073709551615n;
const MIN_INT64 = -9223372036854775808n;

/** It lies in `bytes` from `from` to `to`. */
export type JsonText = { readonly bytes: Uint8Array; readonly from: number; readonly to: number };

/**
 * JSON text as MySQL printed it in the one form of its value (W6); null where it is that already. MySQL's text hides
 * types: a DECIMAL looks like a double, a DATE like a string. Read back, a DECIMAL is a double that prints otherwise (1.5
 * for 1.50), so that every number that is no integer is written as its double's shortest text. Throws VALUE_REFUSED for a
 * number that text cannot carry; for a string that looks like MySQL's print of a DATE, TIME, DATETIME or binary value,
 * JSON_NEEDS_PROOF in plain mode (in proving mode the server has compared it; '' is what the proving expression yields
 * for a value that differs). In comparing mode nothing is refused.
 */
export function canonicalJson(
  text: JsonText,
  column: string,
  mode: "plain" | "proving" | "comparing",
): Uint8Array | null {
  const { bytes: raw, from, to: end } = text;
  if (end === from) {
    if (mode === "comparing") return null;
    throw new DrayError("VALUE_REFUSED", { column, reason: "its JSON text reads back as another value" });
  }
  const parts: Uint8Array[] = [];
  let keptFrom = from;
  let at = from;
  while (at < end) {
    const byte = raw[at] as number;
    if (byte === QUOTE) {
      const start = at + 1;
      at = start;
      for (let in_ = raw[at] as number; in_ !== QUOTE && at < end; in_ = raw[++at] as number)
        if (in_ === BACKSLASH) at++;
      if (mode === "plain" && suspicious(raw, start, at)) throw new DrayError("JSON_NEEDS_PROOF", { column });
      at++;
    } else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
      const start = at;
      while (at < end && isNumberByte(raw[at] as number)) at++;
      if (at - start > 15 && mode !== "comparing") assertJsonNumber(latin1(raw, start, at), column);
      const number = canonicalNumber(raw, start, at);
      if (number === null) continue;
      parts.push(raw.subarray(keptFrom, start), number);
      keptFrom = at;
    } else at++;
  }
  return parts.length === 0 ? null : Buffer.concat([...parts, raw.subarray(keptFrom, end)]);
}

/** Null where the digits are its one form. An integer that 64 bits cannot hold is a DECIMAL, and a double once read. */
function canonicalNumber(raw: Uint8Array, start: number, end: number): Uint8Array | null {
  let at = start;
  while (at < end && (raw[at] as number) !== POINT && ((raw[at] as number) | 0x20) !== LETTER_E) at++;
  if (at === end && end - start <= 18) return null;
  if (at < end && isShortest(raw, start, at, end)) return null;
  const text = latin1(raw, start, end);
  if (at === end && isInt64(BigInt(text))) return null;
  const shortest = realText(Number(text));
  const real = /[.e]/.test(shortest) ? shortest : `${shortest}.0`;
  return real === text ? null : Buffer.from(real, "latin1");
}

/**
 * True for nearly all doubles, without a conversion: up to 15 digits with a point, no zero at the end but that of 3.0,
 * no zero right behind the point, as so small a number may be printed with an exponent.
 */
function isShortest(raw: Uint8Array, start: number, point: number, end: number): boolean {
  if (raw[point] !== POINT || end - start > 16) return false;
  for (let at = point + 1; at < end; at++) if (((raw[at] as number) | 0x20) === LETTER_E) return false;
  if (raw[end - 1] === ZERO) return end - 2 === point;
  return raw[point + 1] !== ZERO;
}

/** Throws VALUE_REFUSED for a number whose JSON text reads back as another one: a DECIMAL with more digits than a double. */
export function assertJsonNumber(text: string, column: string): void {
  const integer = /^-?\d+$/.test(text);
  if (integer) {
    if (isInt64(BigInt(text))) return;
  }
  if (!survivesDouble(text)) {
    throw new DrayError("VALUE_REFUSED", {
      column,
      reason: "a DECIMAL inside JSON has more digits than its text keeps",
    });
  }
}

function isInt64(value: bigint): boolean {
  return value <= MAX_UINT64 && value >= MIN_INT64;
}

/** A print of an opaque value: `base64:type…`, or digits (a sign before a TIME) with MySQL's separators. */
function suspicious(raw: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (length < 10) return false;
  const first = raw[start] as number;
  if (first === 0x62) return length >= 11 && latin1(raw, start, start + 11) === "base64:type";
  if (first !== 0x2d && (first < 0x30 || first > 0x39)) return false;
  if (length > 27) return false;
  return /^(\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d\.\d{6})?|-?\d{2,3}:\d\d:\d\d\.\d{6})$/.test(latin1(raw, start, end));
}

function isNumberByte(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x2e || byte === 0x2d || byte === 0x2b || (byte | 0x20) === 0x65;
}

function latin1(raw: Uint8Array, start: number, end: number): string {
  return Buffer.from(raw.buffer, raw.byteOffset + start, end - start).toString("latin1");
}
