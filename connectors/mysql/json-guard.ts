import { DrayError } from "../../pipeline/errors.ts";
import { survivesDouble } from "./decimal-text.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MAX_UINT64 = 18446744073709551615n;
const MIN_INT64 = -9223372036854775808n;

/** It lies in `bytes` from `from` to `to`. */
export type JsonText = { readonly bytes: Uint8Array; readonly from: number; readonly to: number };

/**
 * JSON text as MySQL printed it, about to be carried as it is. MySQL's text hides types: a DECIMAL looks like a double,
 * a DATE like a string. Throws VALUE_REFUSED for a number that text cannot carry; for a string that looks like MySQL's
 * print of a DATE, TIME, DATETIME or binary value, JSON_NEEDS_PROOF in plain mode (in proving mode the server has
 * compared it; '' is what the proving expression yields for a value that differs).
 */
export function assertJsonText(text: JsonText, column: string, mode: "plain" | "proving"): void {
  const { bytes: raw, from, to: end } = text;
  if (end === from)
    throw new DrayError("VALUE_REFUSED", { column, reason: "its JSON text reads back as another value" });
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
      if (at - start > 15) assertJsonNumber(latin1(raw, start, at), column);
    } else at++;
  }
}

/** Throws VALUE_REFUSED for a number whose JSON text reads back as another one: a DECIMAL with more digits than a double. */
export function assertJsonNumber(text: string, column: string): void {
  const integer = /^-?\d+$/.test(text);
  if (integer) {
    const value = BigInt(text);
    if (value <= MAX_UINT64 && value >= MIN_INT64) return;
  }
  if (!survivesDouble(text)) {
    throw new DrayError("VALUE_REFUSED", {
      column,
      reason: "a DECIMAL inside JSON has more digits than its text keeps",
    });
  }
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
