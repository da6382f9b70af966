import type { KeyBytes } from "../entry.ts";
import { keyText } from "../key-text.ts";

/** V1: so many bytes stand for all values of a row: the beginning of a SHA-256 of a key and of the row's one form. */
export const DIGEST_BYTES = 16;
/** The key is random and of one entry alone: what two rows share by chance they share once, and no list of guesses helps. */
export const DIGEST_KEY_BYTES = 16;

/** The rows of one read in the order in which they were read: for each its key, and what stands for its values. */
export class RowDigests {
  #keys: Buffer;
  #keyBytes = 0;
  #digests: Buffer;
  /** Where each key ends. */
  readonly #ends: number[] = [];

  /** `expectedRows` only spares it to grow. */
  constructor(expectedRows: number) {
    this.#keys = Buffer.allocUnsafe(Math.max(1, expectedRows) * 8);
    this.#digests = Buffer.allocUnsafe(Math.max(1, expectedRows) * DIGEST_BYTES);
  }

  static of(keys: readonly KeyBytes[], digests: Uint8Array): RowDigests {
    const rows = new RowDigests(keys.length);
    keys.forEach((key, i) => {
      rows.add(key, Buffer.from(digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)).toString("latin1"));
    });
    return rows;
  }

  /** The same in the same order, less these keys. */
  without(keys: ReadonlySet<string>): RowDigests {
    if (keys.size === 0) return this;
    const kept = new RowDigests(this.rows);
    for (let row = 0; row < this.rows; row++) {
      if (!keys.has(this.keyTextAt(row))) kept.add(this.keyAt(row), this.digestTextAt(row));
    }
    return kept;
  }

  get rows(): number {
    return this.#ends.length;
  }

  /** One digest behind the other. */
  get digests(): Uint8Array {
    return this.#digests.subarray(0, this.rows * DIGEST_BYTES);
  }

  /** `digest`: one character a byte, of which the first 16 count. */
  add(key: KeyBytes, digest: string): void {
    if (this.#keyBytes + key.length > this.#keys.length) {
      this.#keys = grown(this.#keys, Math.max(this.#keys.length * 2, this.#keyBytes + key.length));
    }
    const at = this.rows * DIGEST_BYTES;
    if (at + DIGEST_BYTES > this.#digests.length) this.#digests = grown(this.#digests, this.#digests.length * 2);
    this.#keys.set(key, this.#keyBytes);
    this.#keyBytes += key.length;
    this.#digests.latin1Write(digest, at, DIGEST_BYTES);
    this.#ends.push(this.#keyBytes);
  }

  keyAt(row: number): KeyBytes {
    return this.#keys.subarray(row === 0 ? 0 : this.#ends[row - 1], this.#ends[row]);
  }

  keyTextAt(row: number): string {
    return keyText(this.keyAt(row));
  }

  digestTextAt(row: number): string {
    return this.#digests.latin1Slice(row * DIGEST_BYTES, (row + 1) * DIGEST_BYTES);
  }

  /** All digests but those of the keys that are left out in one, in whatever order the rows were read; in hex. */
  xor(leftOut: ReadonlySet<string>): string {
    const words = new Uint32Array(DIGEST_BYTES / 4);
    for (let row = 0; row < this.rows; row++) {
      if (leftOut.size > 0 && leftOut.has(this.keyTextAt(row))) continue;
      const at = row * DIGEST_BYTES;
      for (let word = 0; word < words.length; word++) {
        words[word] = (words[word] as number) ^ this.#digests.readUInt32BE(at + word * 4);
      }
    }
    return [...words].map((word) => word.toString(16).padStart(8, "0")).join("");
  }
}

function grown(bytes: Buffer, size: number): Buffer {
  const larger = Buffer.allocUnsafe(size);
  bytes.copy(larger);
  return larger;
}
