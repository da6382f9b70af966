import { withBackoff } from "../pipeline/backoff.ts";
import { ByteBudget } from "../pipeline/byte-budget.ts";
import { decodeChanges, decodeChunk } from "../pipeline/change-codec.ts";
import type { ChunkStore } from "../pipeline/chunk-store/chunk-store.ts";
import type { Change, EntryHeader, KeyBytes, LaneId, LogAnchor, LogEntry } from "../pipeline/entry.ts";
import { isLostBody, openBody } from "../pipeline/entry-codec.ts";
import { DrayError } from "../pipeline/errors.ts";
import { keyText } from "../pipeline/key-text.ts";
import { anchorOf } from "../pipeline/log/lane-writer.ts";
import type { ChangeLog } from "../pipeline/log/log.ts";

/** An entry whose body is open and checked. */
export type ReadyEntry = {
  readonly header: EntryHeader;
  readonly anchor: LogAnchor;
  readonly bytes: number;
  readonly changes: readonly Change[];
  /** The changes' keys, as the conflict check wants them. */
  readonly keys: readonly string[];
  /** Of a verify entry. */
  readonly verify: Uint8Array | null;
  readonly chunk: { readonly leftOut: readonly KeyBytes[]; readonly rows: Uint8Array } | null;
  /** Once it is applied, and nothing looks at its bytes any more. */
  readonly release: () => void;
};

/** followed: it is not applied, and one that is lost is given out without its changes. */
export type BodyNeed = "applied" | "followed" | "no";

export type EntryFeedOptions = {
  readonly log: ChangeLog;
  readonly lane: LaneId;
  readonly chunkStore: ChunkStore;
  readonly after: LogAnchor | null;
  readonly budgetBytes: number;
  /** `no` for what the target has already: such a body is never opened, and may be gone. */
  readonly needsBody: (header: EntryHeader) => BodyNeed;
  readonly onReady: () => void;
  readonly onRetry: (error: Error, attempt: number) => void;
};

/** What came together is handed on together, so that it becomes one transaction; up to this many bytes of it. */
const NOTIFY_EVERY_BYTES = 256 * 1024;

/** Reads and decodes ahead of the applier, never more than its budget; a log that is away for a while is read again. */
export class EntryFeed {
  readonly #options: EntryFeedOptions;
  readonly #budget: ByteBudget;
  readonly #queue: ReadyEntry[] = [];
  #start = 0;
  #last: LogAnchor | null;

  constructor(options: EntryFeedOptions) {
    this.#options = options;
    this.#budget = new ByteBudget({ limitBytes: options.budgetBytes });
    this.#last = options.after;
  }

  /** The newest seq that was seen in the log. */
  get headSeq(): number {
    return this.#last?.seq ?? 0;
  }

  peek(index: number): ReadyEntry | undefined {
    return this.#queue[this.#start + index];
  }

  take(count: number): void {
    for (let i = 0; i < count; i++) this.#budget.release(this.#queue[this.#start + i]?.bytes ?? 0);
    this.#start += count;
    if (this.#start > 512 || this.#start === this.#queue.length) this.#queue.splice(0, this.#start);
    else return;
    this.#start = 0;
  }

  /** Until aborted (rejects with the signal's reason) or an error that trying again does not help. */
  async run(signal: AbortSignal): Promise<never> {
    await withBackoff(() => this.#read(signal), { signal, onRetry: this.#options.onRetry });
    throw new Error("the log's reader ended although its signal did not");
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { log, lane, onReady } = this.#options;
    for await (const batch of log.read({ lane, after: this.#last, takesHeld: true, signal })) {
      let unseenBytes = 0;
      for (const entry of batch) {
        if (entry.header.detail.kind === "epoch") continue;
        this.#expectNext(entry);
        const ready = await this.#open(entry);
        this.#budget.take(ready.bytes);
        this.#queue.push(ready);
        this.#last = ready.anchor;
        unseenBytes += ready.bytes;
        if (unseenBytes > NOTIFY_EVERY_BYTES) {
          unseenBytes = 0;
          onReady();
        }
        await this.#budget.room(signal);
      }
      onReady();
    }
    signal.throwIfAborted();
  }

  // The log promises it (L3); a hole here would be a silent loss, so it is checked where it would happen.
  #expectNext(entry: LogEntry): void {
    const { seq, lane } = entry.header;
    if (seq !== this.headSeq + 1) throw new DrayError("LOG_TRUNCATED", { lane, seq, expected: this.headSeq + 1 });
  }

  async #open(entry: LogEntry): Promise<ReadyEntry> {
    const { header, offset } = entry;
    const anchor = anchorOf(header, offset);
    const release = entry.held?.release ?? (() => {});
    const blank = { header, anchor, bytes: 256, changes: [], keys: [], verify: null, chunk: null, release };
    const kind = header.detail.kind;
    const hasBody = kind === "changes" || kind === "chunk" || kind === "verify";
    const need = hasBody ? this.#options.needsBody(header) : "no";
    if (need === "no") return blank;
    const body = await openBody(entry, this.#options.chunkStore).catch((error: unknown) => {
      // A comparison whose body is lost is made again, from another body.
      if (isLostBody(error) && (need === "followed" || kind === "verify")) return null;
      throw error;
    });
    if (body === null) return blank;
    const bytes = body.length + blank.bytes;
    if (kind === "verify") return { ...blank, bytes, verify: body };
    if (kind === "chunk") return { ...blank, bytes, chunk: decodeChunk(body) };
    const changes = decodeChanges(body);
    return { ...blank, bytes, changes, keys: changes.map((change) => keyText(change.key)) };
  }
}
