import type { ChunkStore } from "../chunk-store/chunk-store.ts";
import type { EntryDraft, EntryHeader, HeldBody, LaneId, LogAnchor } from "../entry.ts";
import { encodeHeader, type SealedBody, sealBody } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import type { Probe } from "../probe.ts";
import type { LogCheckpoint, LogWriter } from "./log.ts";
import { LARGEST_SEND_ENTRIES } from "./validity.ts";

/** Larger bodies go to the chunk store (L6). */
export const LARGEST_BODY_BYTES = 8 * 1024 * 1024;
/** What 9 MiB of a topic's `max.message.bytes` leave beside a body. */
const LARGEST_HEADER_BYTES = 512 * 1024;
/** Entries that waited together go as one send, up to here; a single larger one goes alone. */
const LARGEST_SEND_BYTES = 2 * 1024 * 1024;
const CHECKPOINT_EVERY_BYTES = 16 * 1024 * 1024;

export type SealedEntry = {
  readonly header: EntryHeader;
  readonly headerBytes: Uint8Array;
  readonly stored: Uint8Array;
  readonly held: HeldBody;
};

export type LaneWriterOptions = {
  readonly lane: LaneId;
  readonly epoch: number;
  readonly nonce: string;
  readonly tail: EntryHeader | null;
  readonly checkpoint: LogCheckpoint | null;
  readonly openedBytes: number;
  readonly chunkStore: ChunkStore;
  readonly probe: Probe;
  readonly saveCheckpoint: ((checkpoint: LogCheckpoint) => Promise<void>) | undefined;
  /**
   * Writes all or nothing, durably, and gives each entry's offset. Called again only when it has settled (L4). The
   * bodies that entries hold are its own from then on, to hand to a reader or to release.
   */
  readonly send: (entries: readonly SealedEntry[]) => Promise<readonly string[]>;
  readonly release: () => Promise<void>;
};

type Waiting = {
  readonly draft: EntryDraft;
  readonly sealing: Promise<SealedBody>;
  readonly resolve: (appended: { header: EntryHeader; offset: string }) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * The part of a writer that both logs share: it numbers the entries in the order of the calls, keeps one send in flight
 * (L4), sends together what waited together, and is dead after the first failure.
 */
export class LaneWriter implements LogWriter {
  readonly epoch: number;
  readonly nonce: string;
  readonly tail: EntryHeader | null;
  readonly openedBytes: number;
  readonly #options: LaneWriterOptions;
  readonly #waiting: Waiting[] = [];
  #nextSeq: number;
  #checkpoint: LogCheckpoint | null;
  #bytesSinceCheckpoint = 0;
  #sending: Promise<void> | null = null;
  #dead: unknown = null;
  #released = false;

  constructor(options: LaneWriterOptions) {
    this.#options = options;
    this.epoch = options.epoch;
    this.nonce = options.nonce;
    this.tail = options.tail;
    this.openedBytes = options.openedBytes;
    this.#checkpoint = options.checkpoint;
    this.#nextSeq = (options.tail?.seq ?? 0) + 1;
  }

  append(draft: EntryDraft): Promise<{ readonly header: EntryHeader; readonly offset: string }> {
    if (this.#dead !== null) return Promise.reject(this.#dead);
    return new Promise((resolve, reject) => {
      const sealing = sealBody(draft.body);
      // It may reject before its turn comes; the turn handles it.
      sealing.catch(() => {});
      this.#waiting.push({ draft, sealing, resolve, reject });
      this.#sending ??= this.#sendAll();
    });
  }

  checkpoint(): LogCheckpoint | null {
    return this.#checkpoint;
  }

  async close(): Promise<void> {
    const wasAlive = this.#dead === null;
    this.#dead ??= new DrayError("LOG_UNAVAILABLE", { lane: this.#options.lane, reason: "this writer was closed" });
    await this.#sending;
    if (wasAlive) await this.#release();
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#sendOnce();
    } catch (error) {
      await this.#end(error);
    } finally {
      this.#sending = null;
    }
  }

  async #sendOnce(): Promise<void> {
    const entries: SealedEntry[] = [];
    let bytes = 0;
    // An entry is taken off the queue only with its answer, so that a failure reaches every one that waits.
    while (entries.length < this.#waiting.length && entries.length < LARGEST_SEND_ENTRIES) {
      const next = this.#waiting[entries.length] as Waiting;
      const body = await next.sealing;
      if (entries.length > 0 && bytes + body.stored.length > LARGEST_SEND_BYTES) break;
      const entry = await this.#seal(next.draft, body, this.#nextSeq + entries.length);
      bytes += entry.headerBytes.length + entry.stored.length;
      entries.push(entry);
    }
    const first = entries[0] as SealedEntry;
    const facts = {
      lane: this.#options.lane,
      seq: first.header.seq,
      kind: first.header.detail.kind,
      epoch: this.epoch,
    };
    await this.#options.probe("log.before-append", facts);
    const offsets = await this.#options.send(entries);
    await this.#options.probe("log.after-append", facts);
    this.#nextSeq += entries.length;
    const done = this.#waiting.splice(0, entries.length);
    entries.forEach(({ header }, i) => {
      const offset = offsets[i] as string;
      this.#checkpoint = anchorOf(header, offset);
      done[i]?.resolve({ header, offset });
    });
    this.#bytesSinceCheckpoint += bytes;
    await this.#saveCheckpoint();
  }

  async #seal(draft: EntryDraft, body: SealedBody, seq: number): Promise<SealedEntry> {
    const { lane, chunkStore } = this.#options;
    let { stored, ref } = body;
    if (stored.length > LARGEST_BODY_BYTES) {
      const chunk = await chunkStore.put(lane, this.epoch, stored);
      stored = stored.subarray(0, 0);
      ref = { ...ref, chunkKey: chunk.key };
    }
    const { position, committedAtMs, coverage, detail } = draft;
    const { epoch, nonce } = this;
    const header = { lane, seq, epoch, nonce, position, committedAtMs, coverage, detail, body: ref };
    const headerBytes = encodeHeader(header);
    if (headerBytes.length > LARGEST_HEADER_BYTES) {
      const facts = { lane, seq, headerBytes: headerBytes.length, limitBytes: LARGEST_HEADER_BYTES };
      throw new DrayError("ENTRY_TOO_LARGE", facts);
    }
    const held = { plain: draft.body, release: draft.release ?? (() => {}) };
    return { header, headerBytes, stored, held };
  }

  async #saveCheckpoint(): Promise<void> {
    const { saveCheckpoint } = this.#options;
    if (!saveCheckpoint || this.#checkpoint === null || this.#bytesSinceCheckpoint < CHECKPOINT_EVERY_BYTES) return;
    this.#bytesSinceCheckpoint = 0;
    await saveCheckpoint(this.#checkpoint);
  }

  async #end(error: unknown): Promise<void> {
    this.#dead = error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    await this.#release();
  }

  async #release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    // Every outcome is decided by now; what is released is this writer's own connection.
    await this.#options.release().catch(() => {});
  }
}

export function anchorOf(header: EntryHeader, offset: string): LogAnchor {
  return { offset, epoch: header.epoch, nonce: header.nonce, seq: header.seq };
}
