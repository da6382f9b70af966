/** A buffer that grows, reused from row to row: decoding makes no strings and no copies but the last. */
export class ByteWriter {
  bytes: Buffer = Buffer.allocUnsafe(64 * 1024);
  at = 0;

  /** Room for `count` more bytes; call before writing to `bytes` by hand. */
  reserve(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.at + count));
    this.bytes.copy(larger, 0, 0, this.at);
    this.bytes = larger;
  }

  byte(value: number): void {
    if (this.at === this.bytes.length) this.reserve(1);
    this.bytes[this.at++] = value;
  }

  copy(source: Buffer, start: number, end: number): void {
    const count = end - start;
    this.reserve(count);
    if (count < 24) {
      const { bytes } = this;
      let at = this.at;
      for (let i = start; i < end; i++) bytes[at++] = source[i] as number;
      this.at = at;
    } else {
      source.copy(this.bytes, this.at, start, end);
      this.at += count;
    }
  }

  latin1(text: string): void {
    this.reserve(text.length);
    this.at += this.bytes.latin1Write(text, this.at);
  }

  utf8(text: string): void {
    this.reserve(text.length * 3);
    this.at += this.bytes.utf8Write(text, this.at);
  }

  /** Decimal digits of an integer from 0 to 2^53. */
  integer(value: number): void {
    this.reserve(17);
    let width = 1;
    for (let limit = 10; value >= limit; limit *= 10) width++;
    this.digits(value, width);
  }

  /** Exactly `width` digits, zeros in front. The caller knows that there is room behind (64 bytes are). */
  digits(value: number, width: number): void {
    this.reserve(width);
    const { bytes } = this;
    let left = value;
    let at = this.at + width;
    this.at = at;
    for (let i = 0; i < width; i++) {
      if (left < 0x7fffffff) {
        const small = left | 0;
        const rest = (small / 10) | 0;
        bytes[--at] = 0x30 + (small - rest * 10);
        left = rest;
      } else {
        const rest = Math.floor(left / 10);
        bytes[--at] = 0x30 + (left - rest * 10);
        left = rest;
      }
    }
  }

  /** A canonical value's length + 1 as a varint, as the row codec has it. */
  varint(value: number): void {
    this.reserve(5);
    let head = value;
    while (head > 0x7f) {
      this.bytes[this.at++] = (head & 0x7f) | 0x80;
      head >>>= 7;
    }
    this.bytes[this.at++] = head;
  }

  /** Turns what was written behind `start`, where one byte was left free, into a value with its length in front. */
  closeValue(start: number): void {
    const length = this.at - start - 1;
    const head = length + 1;
    if (head < 0x80) {
      this.bytes[start] = head;
      return;
    }
    const extra = head < 0x4000 ? 1 : head < 0x200000 ? 2 : head < 0x10000000 ? 3 : 4;
    this.reserve(extra);
    this.bytes.copyWithin(start + 1 + extra, start + 1, this.at);
    const end = this.at + extra;
    this.at = start;
    this.varint(head);
    this.at = end;
  }

  /** A copy of what was written from `start` on. */
  taken(start: number): Uint8Array {
    const copy = Buffer.allocUnsafe(this.at - start);
    this.bytes.copy(copy, 0, start, this.at);
    return copy;
  }
}

declare global {
  interface Buffer {
    latin1Write(text: string, offset?: number, length?: number): number;
    utf8Write(text: string, offset?: number, length?: number): number;
    latin1Slice(start?: number, end?: number): string;
  }
}
