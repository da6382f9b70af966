import type { HeldBody, LaneId, LogEntry } from "../entry.ts";
import { entryDigest } from "../entry-codec.ts";
import type { SealedEntry } from "./lane-writer.ts";

const NOTHING = new Uint8Array(0);

/** What a reader in this process may take from memory, of all lanes together. Beyond it the log's file has everything. */
const LARGEST_HELD_BYTES = 64 * 1024 * 1024;

/** What an entry takes beside its body, roughly: heartbeats have none, and come for ever. */
const HEADER_BYTES = 2 * 1024;

/** An entry that this process has appended and made durable, with the bytes it was made of. */
export type HeldEntry = {
  readonly entry: LogEntry & { readonly held: HeldBody };
  readonly digest: string;
};

/** Of an entry that was sent and is durable. */
export function asHeld({ header, headerBytes, held }: SealedEntry, offset: string): HeldEntry {
  return { entry: { header, stored: NOTHING, held, offset }, digest: entryDigest(headerBytes, header) };
}

type Lane = { readers: number; entries: HeldEntry[] };

/**
 * Durable entries whose bodies are still in memory, for the one reader of a lane that applies them: most of what it
 * reads was appended by this process a moment ago, and need be neither read, hashed nor inflated again. Nothing depends
 * on an entry being here.
 */
export class HeldEntries {
  readonly #lanes = new Map<LaneId, Lane>();
  #bytes = 0;

  /** Entries of the lane are held from now on; the caller says when it reads no more. */
  attach(lane: LaneId): () => void {
    const state = this.#lanes.get(lane) ?? { readers: 0, entries: [] };
    this.#lanes.set(lane, state);
    state.readers++;
    let isAttached = true;
    return () => {
      if (!isAttached) return;
      isAttached = false;
      state.readers--;
      if (state.readers > 0) return;
      this.clear(lane);
      if (this.#lanes.get(lane) === state) this.#lanes.delete(lane);
    };
  }

  /** In the order of their seqs. What nobody would take is given back at once. */
  offer(lane: LaneId, entries: readonly HeldEntry[]): void {
    const state = this.#lanes.get(lane);
    for (const one of entries) {
      const bytes = bytesOf(one);
      if (state === undefined || this.#bytes + bytes > LARGEST_HELD_BYTES) {
        one.entry.held.release();
        continue;
      }
      this.#bytes += bytes;
      state.entries.push(one);
    }
  }

  /** Exactly this entry, or null: then the file is to be read. Those before it are given back. */
  take(
    lane: LaneId,
    wanted: { readonly epoch: number; readonly nonce: string; readonly seq: number },
  ): HeldEntry | null {
    const entries = this.#lanes.get(lane)?.entries;
    if (entries === undefined) return null;
    for (;;) {
      const first = entries[0];
      if (first === undefined) return null;
      const { epoch, nonce, seq } = first.entry.header;
      const isWanted = epoch === wanted.epoch && nonce === wanted.nonce && seq === wanted.seq;
      if (!isWanted && epoch === wanted.epoch && seq > wanted.seq) return null;
      if (!isWanted && epoch > wanted.epoch) return null;
      entries.shift();
      this.#bytes -= bytesOf(first);
      if (isWanted) return first;
      first.entry.held.release();
    }
  }

  clear(lane: LaneId): void {
    for (const one of this.#lanes.get(lane)?.entries.splice(0) ?? []) {
      this.#bytes -= bytesOf(one);
      one.entry.held.release();
    }
  }
}

function bytesOf({ entry }: HeldEntry): number {
  return entry.held.plain.length + HEADER_BYTES;
}
