import type { ByteWriter } from "./byte-writer.ts";
import { realText } from "./decimal-text.ts";
import { IMAGE, type ImageColumn, LEFTOVER_BYTES } from "./image-columns.ts";

/** Writes one value's canonical bytes (W6) from the row image; never called for NULL. */
export type ValueWriter = (out: ByteWriter, bytes: Buffer, start: number, end: number) => void;

const MINUS = 0x2d;
const COLON = 0x3a;
const POINT = 0x2e;

/** For all types whose canonical value is not the image's own bytes, JSON excepted. */
export function valueWriter(column: ImageColumn): ValueWriter {
  switch (column.type) {
    case IMAGE.tiny:
    case IMAGE.short:
    case IMAGE.int24:
    case IMAGE.long:
      return column.unsigned ? writeSmallUnsigned : writeSmallSigned;
    case IMAGE.longlong:
      return column.unsigned ? writeUnsigned64 : writeSigned64;
    case IMAGE.enum:
    case IMAGE.set:
      return column.fixedBytes <= 6 ? writeSmallUnsigned : writeUnsignedLong;
    case IMAGE.bit:
      return writeBits;
    case IMAGE.float:
      return (out, bytes, start) => out.latin1(realText(bytes.readFloatLE(start)));
    case IMAGE.double:
      return (out, bytes, start) => out.latin1(realText(bytes.readDoubleLE(start)));
    case IMAGE.newdecimal: {
      const { size, scale } = column;
      return (out, bytes, start) => writeDecimal(out, bytes, start, size, scale);
    }
    case IMAGE.year:
      return (out, bytes, start) => out.digits(bytes[start] === 0 ? 0 : 1900 + (bytes[start] as number), 4);
    case IMAGE.date:
      return writeDate;
    case IMAGE.time2: {
      const { size } = column;
      return (out, bytes, start) => writeTime(out, bytes, start, size);
    }
    case IMAGE.datetime2: {
      const { size } = column;
      return (out, bytes, start) => writeDatetime(out, bytes, start, size);
    }
    case IMAGE.timestamp2: {
      const { size } = column;
      return (out, bytes, start) => writeTimestamp(out, bytes, start, size);
    }
    default:
      throw new RangeError(`no canonical value for type ${column.type} of a row image`);
  }
}

function writeSmallUnsigned(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  out.integer(bytes.readUIntLE(start, end - start));
}

function writeSmallSigned(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  writeSigned(out, bytes.readIntLE(start, end - start));
}

function writeSigned(out: ByteWriter, value: number): void {
  if (value < 0) out.byte(MINUS);
  out.integer(Math.abs(value));
}

function writeUnsigned64(out: ByteWriter, bytes: Buffer, start: number): void {
  const high = bytes.readUInt32LE(start + 4);
  if (high < 0x200000) out.integer(high * 0x100000000 + bytes.readUInt32LE(start));
  else out.latin1(bytes.readBigUInt64LE(start).toString());
}

function writeSigned64(out: ByteWriter, bytes: Buffer, start: number): void {
  const high = bytes.readInt32LE(start + 4);
  if (high < 0x200000 && high >= -0x200000) writeSigned(out, high * 0x100000000 + bytes.readUInt32LE(start));
  else out.latin1(bytes.readBigInt64LE(start).toString());
}

/** SETs of 7 and 8 bytes. */
function writeUnsignedLong(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  let value = 0n;
  for (let i = end - 1; i >= start; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  out.latin1(value.toString());
}

function writeBits(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  if (end - start <= 6) {
    out.integer(bytes.readUIntBE(start, end - start));
    return;
  }
  let value = 0n;
  for (let i = start; i < end; i++) value = (value << 8n) | BigInt(bytes[i] as number);
  out.latin1(value.toString());
}

/**
 * Groups of nine digits, the left-over ones first before the point and last behind it; a negative value has all bits
 * inverted, and the first bit of all is inverted once more.
 */
export function writeDecimal(out: ByteWriter, bytes: Buffer, start: number, precision: number, scale: number): void {
  out.reserve(80);
  const negative = ((bytes[start] as number) & 0x80) === 0;
  const flip = negative ? 0xff : 0;
  let at = start;
  const group = (size: number): number => {
    let value = 0;
    for (let i = 0; i < size; i++, at++) {
      const byte = ((bytes[at] as number) ^ flip) & 0xff;
      value = value * 256 + (at === start ? byte ^ 0x80 : byte);
    }
    return value;
  };
  if (negative) out.byte(MINUS);
  const whole = precision - scale;
  let printed = false;
  const leftover = LEFTOVER_BYTES[whole % 9] as number;
  if (leftover > 0) {
    const value = group(leftover);
    if (value > 0) {
      out.integer(value);
      printed = true;
    }
  }
  for (let i = Math.floor(whole / 9); i > 0; i--) {
    const value = group(4);
    if (printed) out.digits(value, 9);
    else if (value > 0) {
      out.integer(value);
      printed = true;
    }
  }
  if (!printed) out.byte(0x30);
  if (scale === 0) return;
  out.byte(POINT);
  for (let i = Math.floor(scale / 9); i > 0; i--) out.digits(group(4), 9);
  if (scale % 9 > 0) out.digits(group(LEFTOVER_BYTES[scale % 9] as number), scale % 9);
}

function writeDate(out: ByteWriter, bytes: Buffer, start: number): void {
  const raw = bytes.readUIntLE(start, 3);
  writeDay(out, raw >> 9, (raw >> 5) & 15, raw & 31);
}

function writeDay(out: ByteWriter, year: number, month: number, day: number): void {
  out.digits(year, 4);
  out.byte(MINUS);
  out.digits(month, 2);
  out.byte(MINUS);
  out.digits(day, 2);
}

function writeClock(out: ByteWriter, hour: number, minute: number, second: number): void {
  if (hour < 100) out.digits(hour, 2);
  else out.digits(hour, 3);
  out.byte(COLON);
  out.digits(minute, 2);
  out.byte(COLON);
  out.digits(second, 2);
}

const POWERS: readonly number[] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

function writeFraction(out: ByteWriter, micros: number, digits: number): void {
  if (digits === 0) return;
  out.byte(POINT);
  out.digits(Math.floor(micros / (POWERS[digits] as number)), digits);
}

/** Microseconds behind the whole part: one, two or three bytes of hundredths, ten-thousandths, millionths. */
function readMicros(bytes: Buffer, at: number, digits: number): number {
  if (digits === 0) return 0;
  if (digits <= 2) return (bytes[at] as number) * 10_000;
  if (digits <= 4) return bytes.readUInt16BE(at) * 100;
  return bytes.readUIntBE(at, 3);
}

/** One signed number of whole and fraction, so that a negative one borrows across the two. */
function writeTime(out: ByteWriter, bytes: Buffer, start: number, digits: number): void {
  let whole = bytes.readUIntBE(start, 3) - 0x800000;
  let packed: number;
  if (digits > 4) packed = bytes.readUIntBE(start, 6) - 0x800000000000;
  else {
    const unit = digits <= 2 ? 10_000 : 100;
    let fraction = digits === 0 ? 0 : digits <= 2 ? (bytes[start + 3] as number) : bytes.readUInt16BE(start + 3);
    if (whole < 0 && fraction > 0) {
      whole++;
      fraction -= digits <= 2 ? 0x100 : 0x10000;
    }
    packed = whole * 0x1000000 + fraction * unit;
  }
  if (packed < 0) {
    out.byte(MINUS);
    packed = -packed;
  }
  const clock = Math.floor(packed / 0x1000000);
  writeClock(out, (clock >> 12) & 1023, (clock >> 6) & 63, clock & 63);
  writeFraction(out, packed - clock * 0x1000000, digits);
}

function writeDatetime(out: ByteWriter, bytes: Buffer, start: number, digits: number): void {
  const whole = bytes.readUIntBE(start, 5) - 0x8000000000;
  const days = Math.floor(whole / 0x20000);
  const clock = whole - days * 0x20000;
  const months = days >> 5;
  const year = Math.floor(months / 13);
  writeDay(out, year, months - year * 13, days & 31);
  out.byte(0x20);
  writeClock(out, clock >> 12, (clock >> 6) & 63, clock & 63);
  writeFraction(out, readMicros(bytes, start + 5, digits), digits);
}

/** Seconds since 1970 in UTC; 0 is the zero date. */
function writeTimestamp(out: ByteWriter, bytes: Buffer, start: number, digits: number): void {
  const seconds = bytes.readUInt32BE(start);
  if (seconds === 0) {
    out.latin1("0000-00-00 00:00:00");
    writeFraction(out, 0, digits);
    return;
  }
  const day = Math.floor(seconds / 86_400);
  const rest = seconds - day * 86_400;
  writeDayNumber(out, day);
  out.byte(0x20);
  const hour = (rest / 3600) | 0;
  const minute = ((rest - hour * 3600) / 60) | 0;
  writeClock(out, hour, minute, rest - hour * 3600 - minute * 60);
  writeFraction(out, readMicros(bytes, start + 4, digits), digits);
}

/** Days since 1970-01-01, counted in years that begin in March. */
function writeDayNumber(out: ByteWriter, day: number): void {
  const shifted = day + 719_468;
  const era = Math.floor(shifted / 146_097);
  const ofEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365,
  );
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * ofYear + 2) / 153);
  const dayOfMonth = ofYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  writeDay(out, yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfMonth);
}
