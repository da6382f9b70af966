import type { EntryHeader } from "../entry.ts";

type Place = { readonly offset: number; readonly seq: number };

/** What this process has seen of a lane while writing or reading it; saves asking the broker again. */
export class KafkaLaneMemory {
  readonly #chunkSeqs = new Map<string, number>();
  /** Objects of the chunk store that no entry named when the whole lane was looked through. */
  readonly #unnamed = new Set<string>();
  #first: Place | null = null;
  #last: Place | null = null;
  #messages = 0;
  #messageBytes = 0;

  note(header: EntryHeader, offset: number, messageBytes: number): void {
    this.#messages++;
    this.#messageBytes += messageBytes;
    const { chunkKey } = header.body;
    if (chunkKey !== null) {
      this.#chunkSeqs.set(chunkKey, header.seq);
      this.#unnamed.delete(chunkKey);
    }
    if (header.seq === 0) return;
    const place = { offset, seq: header.seq };
    if (this.#first === null || offset < this.#first.offset) this.#first = place;
    if (this.#last === null || offset > this.#last.offset) this.#last = place;
  }

  trimmed(place: Place): void {
    this.#first = place;
    for (const [key, seq] of this.#chunkSeqs) if (seq < place.seq) this.#chunkSeqs.delete(key);
  }

  get averageBytes(): number {
    return this.#messages === 0 ? 0 : this.#messageBytes / this.#messages;
  }

  /** The seq that stands at the offset, where that is the first, or the last, that was seen. */
  seqAt(offset: number): number | null {
    if (this.#first?.offset === offset) return this.#first.seq;
    if (this.#last?.offset === offset) return this.#last.seq;
    return null;
  }

  chunkSeq(key: string): number | null {
    return this.#chunkSeqs.get(key) ?? null;
  }

  isUnnamed(key: string): boolean {
    return this.#unnamed.has(key);
  }

  markUnnamed(key: string): void {
    this.#unnamed.add(key);
  }
}
