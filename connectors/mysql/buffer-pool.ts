/**
 * Beyond this a buffer that comes back is left to the collector. A copy has some eight chunks of 4 MiB between their
 * reading and their target: where fewer are kept, each round leaves garbage that the collector lets lie for long.
 */
const LARGEST_KEPT_BYTES = 40 * 1024 * 1024;

/**
 * Buffers of about one size that come and go by the hundred: without it each is garbage that the collector learns of
 * late, and the process holds several times what it uses. Not every buffer need come back.
 */
export class BufferPool {
  readonly #kept: Buffer[] = [];
  #keptBytes = 0;

  /** With any content. */
  take(bytes: number): Buffer {
    const place = this.#kept.findLastIndex((buffer) => buffer.length >= bytes);
    // Where none is large enough, the oldest makes room for what is wanted now.
    const [buffer] = this.#kept.splice(Math.max(0, place), 1);
    this.#keptBytes -= buffer?.length ?? 0;
    return place >= 0 && buffer ? buffer : Buffer.allocUnsafeSlow(bytes);
  }

  /** Nobody may look at it any more. */
  give(buffer: Buffer): void {
    if (this.#keptBytes + buffer.length > LARGEST_KEPT_BYTES) return;
    this.#kept.push(buffer);
    this.#keptBytes += buffer.length;
  }
}
