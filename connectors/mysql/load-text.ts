import { hash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { KeyBytes } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { EncodedRows } from "../../pipeline/source.ts";
import { RowDigests } from "../../pipeline/verify/row-digests.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { RawRow } from "./client.ts";
import { quoteTable } from "./identifier.ts";
import { keyBytes } from "./key-bytes.ts";
import { BACKSLASH, keyPlaces, LETTER_N, LF, parseLoadText, readValues, TAB } from "./parse-load-text.ts";
import { encodeRow } from "./row-codec.ts";
import { carriedColumns, type TableSpec } from "./table-spec.ts";
import { longLength, NULL_LENGTH } from "./text-rows.ts";
import {
  fromSelect,
  loadCharset,
  loadTarget,
  type Normalise,
  normalised,
  type SelectMode,
  selectExpression,
} from "./values.ts";

const SPACE = 0x20;
/** For what the log writes before the rows, where no keys are left out, and for the key of digests. */
const HEADROOM_BYTES = 64;
/** Half a millisecond of an idle core. */
const DIGEST_AT_ONCE_BYTES = 64 * 1024;

export type ChunkTextOptions = {
  readonly spec: TableSpec;
  readonly mode?: SelectMode;
  readonly expectedBytes?: number;
  /** Where the text's buffer comes from and goes back to. */
  readonly pool?: BufferPool;
};

/** The columns of a chunk read, in the order in which `ChunkText` and `loadStatement` have them. */
export function selectList(spec: TableSpec, mode: SelectMode = "plain"): string {
  return carriedColumns(spec)
    .map((column) => selectExpression(column, mode))
    .join(", ");
}

/** A5. Reads what `ChunkText` made; rows in the target's schema. The file's name is never opened by anybody. */
export function loadStatement(spec: TableSpec): string {
  const columns = carriedColumns(spec);
  const charset = loadCharset(columns);
  const targets = columns.map((column, i) => loadTarget(column, i, charset));
  const sets = targets.flatMap((target) => (target.set === undefined ? [] : [target.set]));
  return (
    `LOAD DATA LOCAL INFILE 'dray' INTO TABLE ${quoteTable(spec.targetSchema, spec.name)} CHARACTER SET ${charset} ` +
    `FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES STARTING BY '' TERMINATED BY '\\n' ` +
    `(${targets.map((target) => target.list).join(", ")})${sets.length === 0 ? "" : ` SET ${sets.join(", ")}`}`
  );
}

/**
 * A chunk's rows as LOAD DATA text: fields end by TAB, rows by LF, both escaped by a backslash in values, NULL is \N.
 * Rows go in as they were read, so that no row is kept as objects.
 */
export class ChunkText {
  readonly #spec: TableSpec;
  readonly #normalise: readonly (Normalise | null)[];
  readonly #pool: BufferPool | null;
  /** Where the bytes between a row's values stand. */
  readonly #separators: Int32Array;
  readonly #nulls: Int32Array;
  #nullCount = 0;
  #bytes: Buffer;
  #words: Uint32Array;
  #at = HEADROOM_BYTES;
  /** Where each row begins, so that leaving some out need not read the others. */
  readonly #starts: number[] = [];

  constructor(options: ChunkTextOptions) {
    this.#spec = options.spec;
    this.#normalise = carriedColumns(options.spec).map((column) => fromSelect(column, options.mode));
    const wanted = HEADROOM_BYTES + (options.expectedBytes ?? 64 * 1024);
    this.#pool = options.pool ?? null;
    this.#bytes = this.#pool?.take(wanted) ?? Buffer.allocUnsafeSlow(wanted);
    this.#words = wordsOf(this.#bytes);
    this.#separators = new Int32Array(this.#normalise.length);
    this.#nulls = new Int32Array(this.#normalise.length);
  }

  /** Of a row as `selectList` reads it. */
  get columns(): number {
    return this.#normalise.length;
  }
  get rows(): number {
    return this.#starts.length;
  }
  get bytes(): number {
    return this.#at - HEADROOM_BYTES;
  }

  /** Values as `selectList` reads them. Throws JSON_NEEDS_PROOF or VALUE_REFUSED; the chunk is then of no use. */
  add(row: RawRow): void {
    const count = this.#normalise.length;
    if (row.length !== count) throw new RangeError(`a row of ${this.#spec.name} has ${row.length} values`);
    const values = row.map((value, i) => normalised(this.#normalise[i], value));
    this.#reserve(values.reduce((sum, value) => sum + 2 * (value?.length ?? 1) + 1, 0));
    this.#starts.push(this.#at);
    for (let i = 0; i < count; i++) {
      const value = values[i] ?? null;
      if (value === null) this.#appendNull();
      else this.#appendEscaped(value, 0, value.length);
      this.#bytes[this.#at++] = i === count - 1 ? LF : TAB;
    }
  }

  /**
   * The same, from the row's packet. A row without long values and bytes to be escaped differs from its packet by its
   * NULLs and the bytes between its values alone, and is copied whole. A loop over the bytes costs four times that.
   */
  addPacket(packet: Buffer, start: number, end: number): void {
    // A value of n bytes takes n + 1 of them at least, and 2n + 1 here at most; a NULL takes 1, and 3.
    this.#reserve(3 * (end - start));
    this.#starts.push(this.#at);
    if (!this.#addWhole(packet, start, end)) this.#addValues(packet, start, end);
  }

  #addWhole(packet: Buffer, start: number, end: number): boolean {
    const out = this.#bytes;
    const separators = this.#separators;
    // A value's length becomes the separator before it; that of the first stands on the end of the row before.
    const place = this.#at - 1;
    const before = out[place] as number;
    const to = this.#copyWhole(packet, start, end);
    out[place] = before;
    if (to < 0 || hasByteToEscape(out, this.#words, this.#at, to)) return false;
    for (let i = 1; i < separators.length; i++) out[separators[i] as number] = TAB;
    for (let i = 0; i < this.#nullCount; i++) {
      const at = this.#nulls[i] as number;
      out[at] = BACKSLASH;
      out[at + 1] = LETTER_N;
    }
    out[to] = LF;
    this.#at = to + 1;
    return true;
  }

  /** The row's end, or -1. Spaces stand for what is not a value's own: a length may be any byte. */
  #copyWhole(packet: Buffer, start: number, end: number): number {
    const normalise = this.#normalise;
    const separators = this.#separators;
    const columns = normalise.length;
    const out = this.#bytes;
    let to = this.#at - 1;
    let copied = start;
    let at = start;
    let nulls = 0;
    for (let i = 0; i < columns; i++) {
      if (at >= end) return -1;
      separators[i] = to + at - copied;
      const length = packet[at++] as number;
      if (length === NULL_LENGTH) {
        packet.copy(out, to, copied, at);
        to += at - copied;
        copied = at;
        this.#nulls[nulls++] = to;
        out[to++] = SPACE;
        out[to++] = SPACE;
        continue;
      }
      const behind = at + length;
      if (length > NULL_LENGTH || behind > end) return -1;
      const rewrite = normalise[i];
      if (rewrite && rewrite(packet, at, behind) !== null) return -1;
      at = behind;
    }
    if (at !== end) return -1;
    packet.copy(out, to, copied, end);
    for (let i = 0; i < columns; i++) out[separators[i] as number] = SPACE;
    this.#nullCount = nulls;
    return to + end - copied;
  }

  #addValues(packet: Buffer, start: number, end: number): void {
    const normalise = this.#normalise;
    const last = normalise.length - 1;
    let at = start;
    for (let i = 0; i <= last; i++) {
      if (at >= end) throw new RangeError(`a row of ${this.#spec.name} has fewer than ${last + 1} values`);
      let length = packet[at++] as number;
      if (length === NULL_LENGTH) {
        this.#appendNull();
      } else {
        if (length > NULL_LENGTH) {
          const long = longLength(packet, at - 1);
          length = long.length;
          at += long.bytes - 1;
        }
        const behind = at + length;
        if (behind > end) throw new RangeError(`a row of ${this.#spec.name} ends inside a value`);
        const rewritten = normalise[i]?.(packet, at, behind) ?? null;
        if (rewritten === null) this.#appendEscaped(packet, at, behind);
        else this.#appendRewritten(rewritten, end - behind);
        at = behind;
      }
      this.#bytes[this.#at++] = i === last ? LF : TAB;
    }
    if (at !== end) throw new RangeError(`a row of ${this.#spec.name} has more than ${last + 1} values`);
  }

  /** All rows whose KeyBytes (as key text) are not left out. The whole body is handed over without a copy. Once. */
  encode(leaveOut: ReadonlySet<string>): EncodedRows {
    const bytes = this.#bytes;
    const release = () => this.#pool?.give(bytes);
    const body = bytes.subarray(0, this.#at);
    if (leaveOut.size === 0) {
      return { body: body.subarray(HEADROOM_BYTES), rows: this.rows, headroomBytes: HEADROOM_BYTES, release };
    }
    const keyAt = this.#keyReader();
    const kept: Buffer[] = [];
    let keptFrom = HEADROOM_BYTES;
    let rows = 0;
    for (const [i, start] of this.#starts.entries()) {
      if (!leaveOut.has(keyText(keyAt(start)))) {
        rows++;
        continue;
      }
      if (start > keptFrom) kept.push(body.subarray(keptFrom, start));
      keptFrom = this.#starts[i + 1] ?? this.#at;
    }
    if (this.#at > keptFrom) kept.push(body.subarray(keptFrom, this.#at));
    const joined = Buffer.concat(kept);
    release();
    return { body: joined, rows, headroomBytes: 0, release: () => {} };
  }

  /**
   * What stands for each row (V1): the SHA-256 of the key and the row's text, which is one for one row. The text is of no
   * use afterwards, for the key is written before each row, over the end of the one before. Once.
   */
  async digest(key: Uint8Array): Promise<RowDigests> {
    const bytes = this.#bytes;
    const out = new RowDigests(this.rows);
    const keyAt = this.#keyReader();
    let restAt = DIGEST_AT_ONCE_BYTES;
    for (const [i, start] of this.#starts.entries()) {
      if (start > restAt) {
        // A stream, and another move's pause, share this thread.
        await nextTurn();
        restAt = start + DIGEST_AT_ONCE_BYTES;
      }
      const from = start - key.length;
      const rowKey = keyAt(start);
      bytes.set(key, from);
      out.add(rowKey, hash("sha256", bytes.subarray(from, this.#starts[i + 1] ?? this.#at), "binary"));
    }
    this.#pool?.give(bytes);
    return out;
  }

  /** Each row's key, and its canonical values as bytes (W6). Once. */
  single(): readonly { readonly key: KeyBytes; readonly row: Uint8Array }[] {
    const body = this.#bytes.subarray(HEADROOM_BYTES, this.#at);
    const places = keyPlaces(this.#spec);
    const keyOf = keyBytes(this.#spec);
    const rows = parseLoadText(this.#spec, body).map((row) => ({
      // Copies, for the buffer goes back.
      key: Buffer.from(keyOf(places.map((place) => row[place] ?? null))),
      row: encodeRow(row),
    }));
    this.#pool?.give(this.#bytes);
    return rows;
  }

  /** The KeyBytes of the row that begins at a place of the text. */
  #keyReader(): (start: number) => KeyBytes {
    const body = this.#bytes.subarray(0, this.#at);
    const columns = carriedColumns(this.#spec).length;
    const places = keyPlaces(this.#spec);
    const count = Math.max(...places) + 1;
    const keyOf = keyBytes(this.#spec);
    return (start) => {
      const { values } = readValues(body, { at: start, count, columns });
      return keyOf(places.map((place) => values[place] ?? null));
    };
  }

  #appendNull(): void {
    this.#bytes[this.#at++] = BACKSLASH;
    this.#bytes[this.#at++] = LETTER_N;
  }

  /** `restBytes`: of the packet behind the value, whose room must still be there. */
  #appendRewritten(value: Uint8Array, restBytes: number): void {
    this.#reserve(2 * value.length + 1 + 3 * restBytes);
    this.#appendEscaped(value, 0, value.length);
  }

  #appendEscaped(bytes: Uint8Array, from: number, to: number): void {
    const out = this.#bytes;
    let at = this.#at;
    for (let i = from; i < to; i++) {
      const byte = bytes[i] as number;
      if (isToEscape(byte)) out[at++] = BACKSLASH;
      out[at++] = byte;
    }
    this.#at = at;
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#at + count));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
    this.#words = wordsOf(larger);
  }
}

/** As far as whole words go; the buffer begins at one. */
function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/**
 * True where a byte from `start` to `end` is TAB, LF or a backslash, and for a few others that text hardly ever has (8
 * and 11, and what a borrow makes of a neighbour). Four bytes at a time: a byte is zero where subtracting one borrows.
 */
function hasByteToEscape(bytes: Buffer, words: Uint32Array, start: number, end: number): boolean {
  const firstWord = (start + 3) >>> 2;
  const lastWord = end >>> 2;
  for (let i = start; i < Math.min(firstWord << 2, end); i++) if (isToEscape(bytes[i] as number)) return true;
  for (let i = firstWord; i < lastWord; i++) {
    const word = words[i] as number;
    // 8 to 11 differ in their last two bits alone.
    const control = (word & 0xfcfcfcfc) ^ 0x08080808;
    const backslash = word ^ 0x5c5c5c5c;
    const zeros = ((control - 0x01010101) & ~control) | ((backslash - 0x01010101) & ~backslash);
    if ((zeros & 0x80808080) !== 0) return true;
  }
  for (let i = Math.max(lastWord << 2, start); i < end; i++) if (isToEscape(bytes[i] as number)) return true;
  return false;
}

function isToEscape(byte: number): boolean {
  return byte === BACKSLASH || byte === TAB || byte === LF;
}
