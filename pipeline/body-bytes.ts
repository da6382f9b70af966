import { DrayError } from "./errors.ts";

/* Bytes of entries' bodies. Numbers are LEB128 varints of up to 53 bits. */

/** Under this a byte loop is faster than a call of `set`. */
const LOOP_COPY_BELOW_BYTES = 24;

/** What a body says of itself, in order. Views into the bytes, not copies; damaged bytes are LOG_CORRUPT. */
export class BodyReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }
  expectVersion(version: number): void {
    if (this.#bytes[0] !== version) {
      throw new DrayError("LOG_FORMAT", { body: this.#what, found: this.#bytes[0] ?? null, expected: version });
    }
    this.#at = 1;
  }
  varint(): number {
    const bytes = this.#bytes;
    let byte = bytes[this.#at++];
    if (byte === undefined) throw this.damaged();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 0x80;
    do {
      byte = bytes[this.#at++];
      if (byte === undefined || scale > 2 ** 49) throw this.damaged();
      value += (byte & 0x7f) * scale;
      scale *= 0x80;
    } while (byte >= 0x80);
    return value;
  }
  /** A number of things of at least one byte each: more than there are bytes is damage, not an allocation. */
  count(): number {
    const count = this.varint();
    if (count > this.#bytes.length) throw this.damaged();
    return count;
  }
  view(): Uint8Array {
    return this.take(this.varint());
  }
  take(length: number): Uint8Array {
    const start = this.#at;
    if (start + length > this.#bytes.length) throw this.damaged();
    this.#at = start + length;
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, length);
  }
  text(): string {
    return Buffer.from(this.view()).toString("utf8");
  }
  rest(): Uint8Array {
    const start = this.#at;
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, this.#bytes.length - start);
  }
  expectEnd(): void {
    if (this.#at !== this.#bytes.length) throw this.damaged();
  }
  damaged(): DrayError {
    return new DrayError("LOG_CORRUPT", { body: this.#what, at: this.#at, bodyBytes: this.#bytes.length });
  }
}

export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

export function putVarint(out: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    out[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  out[at++] = rest;
  return at;
}

/** Behind their length. */
export function putBytes(out: Uint8Array, start: number, bytes: Uint8Array): number {
  const at = putVarint(out, start, bytes.length);
  if (bytes.length < LOOP_COPY_BELOW_BYTES) {
    for (let i = 0; i < bytes.length; i++) out[at + i] = bytes[i] as number;
  } else {
    out.set(bytes, at);
  }
  return at + bytes.length;
}
