import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { ChunkStore } from "../chunk-store/chunk-store.ts";
import type { Clock } from "../clock.ts";
import type { LaneId, LogAnchor, LogEntry } from "../entry.ts";
import { DrayError } from "../errors.ts";
import { noProbe, type Probe } from "../probe.ts";
import { sweepChunks } from "./chunk-sweep.ts";
import { FolderLock } from "./folder-lock.ts";
import { asHeld, HeldEntries } from "./held-entries.ts";
import { LaneWakeups } from "./lane-wakeups.ts";
import { anchorOf, LaneWriter } from "./lane-writer.ts";
import type { ChangeLog, LaneStats, LogWriter, OpenWriterOptions, ReadOptions } from "./log.ts";
import { openSqliteFile, sqliteError } from "./sqlite-file.ts";
import { SqliteReader } from "./sqlite-reader.ts";
import { SqliteThread } from "./sqlite-thread.ts";

export type SqliteLogOptions = {
  /** Data folder; one process uses it at a time, another is refused with LOG_LOCKED. */
  readonly folder: string;
  readonly chunkStore: ChunkStore;
  readonly clock: Clock;
  /** The log's file never grows beyond this: LOG_FULL. Without it, as far as the disk goes. */
  readonly limitBytes?: number;
  readonly probe?: Probe;
};

/**
 * The embedded log: one SQLite file for all lanes. Appends are synced before they resolve; those of all lanes that wait
 * together are one transaction. Readers are woken, never poll. Two writers of a lane cannot both append: epoch check and
 * insert are one transaction (L4).
 */
export class SqliteLog implements ChangeLog {
  readonly kind = "embedded";
  readonly #options: SqliteLogOptions;
  readonly #probe: Probe;
  readonly #lock: FolderLock;
  readonly #readDb: DatabaseSync;
  readonly #reader: SqliteReader;
  readonly #thread: SqliteThread;
  readonly #wakeups = new LaneWakeups();
  readonly #held = new HeldEntries();
  readonly #closing = new AbortController();
  readonly #sweeps = new Set<Promise<void>>();

  constructor(options: SqliteLogOptions) {
    const file = { folder: options.folder, limitBytes: options.limitBytes ?? null };
    this.#options = options;
    this.#probe = options.probe ?? noProbe;
    this.#lock = new FolderLock(options.folder);
    try {
      this.#readDb = openSqliteFile(file);
      this.#reader = new SqliteReader(this.#readDb);
    } catch (error) {
      this.#lock.release();
      throw sqliteError(error, { folder: options.folder });
    }
    this.#thread = new SqliteThread(file);
  }

  async openWriter(options: OpenWriterOptions): Promise<LogWriter> {
    const { lane, aboveEpoch, checkpoint, anchor, signal } = options;
    signal.throwIfAborted();
    const nonce = randomBytes(16).toString("hex");
    const wallMs = this.#options.clock.wallMs();
    const { epoch, epochId } = await this.#thread.ask({ op: "open", lane, aboveEpoch, nonce, wallMs });
    await this.#probe("log.epoch-appended", { lane, epoch });
    signal.throwIfAborted();
    const row = this.#reader.lane(lane);
    if (row?.epoch !== epoch || row.nonce !== nonce) {
      throw new DrayError("FENCED", { lane, epoch, currentEpoch: row?.epoch ?? null });
    }
    if (anchor) this.#reader.find(lane, anchor);
    const tail = this.#reader.tailBefore(lane, row.id, epochId);
    const tailSeq = tail?.header.seq ?? 0;
    // L7: entries that were durable are gone, even where the sink has recorded none yet.
    if (checkpoint && checkpoint.seq > tailSeq) {
      throw new DrayError("LOG_TRUNCATED", { lane, tailSeq, checkpointSeq: checkpoint.seq });
    }
    if (tailSeq !== row.lastSeq) throw new DrayError("LOG_CORRUPT", { lane, tailSeq, lastSeq: row.lastSeq });
    this.#sweep(lane, epoch);
    return new LaneWriter({
      lane,
      epoch,
      nonce,
      tail: tail?.header ?? null,
      checkpoint: tail ? anchorOf(tail.header, String(tail.id)) : null,
      openedBytes: tail?.bytes ?? 0,
      chunkStore: this.#options.chunkStore,
      probe: this.#probe,
      saveCheckpoint: options.saveCheckpoint,
      send: async (entries) => {
        const firstId = await this.#thread.append(lane, epoch, nonce, entries);
        this.#held.offer(
          lane,
          entries.map((entry, i) => asHeld(entry, String(firstId + i))),
        );
        this.#wakeups.wake(lane);
        return entries.map((_, i) => String(firstId + i));
      },
      release: async () => {},
    });
  }

  async *read(options: ReadOptions): AsyncGenerator<readonly LogEntry[], void> {
    const { lane, after, takesHeld } = options;
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    if (signal.aborted) return;
    const cursor = this.#guard(lane, () => this.#reader.cursor(lane, after));
    const detach = takesHeld ? this.#held.attach(lane) : () => {};
    try {
      while (!signal.aborted) {
        const held = takesHeld ? cursor.nextHeld(this.#held) : [];
        if (held.length > 0) {
          yield held;
          continue;
        }
        const { entries, isAtEnd } = this.#guard(lane, () => cursor.next());
        if (entries.length > 0) yield entries;
        // Between looking and going to sleep nothing is awaited, so that no wake-up is missed.
        else if (isAtEnd) await this.#wakeups.next(lane, signal);
      }
    } finally {
      detach();
    }
  }

  async trim(lane: LaneId, anchor: LogAnchor): Promise<void> {
    for (let more = true; more; ) {
      const removed = await this.#thread.ask({ op: "trim", lane, anchor });
      for (const key of removed.chunkKeys) await this.#options.chunkStore.delete(key);
      more = removed.more;
    }
  }

  async drop(lane: LaneId): Promise<void> {
    this.#held.clear(lane);
    for (let more = true; more; ) {
      more = (await this.#thread.ask({ op: "drop", lane })).more;
      this.#wakeups.wake(lane);
    }
    await this.#options.chunkStore.dropLane(lane);
  }

  async stats(lane: LaneId): Promise<LaneStats> {
    return this.#guard(lane, () => this.#reader.stats(lane));
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await Promise.all(this.#sweeps);
    await this.#thread.close();
    this.#readDb.close();
    this.#lock.release();
  }

  /** Files of a dead writer whose entry never came (L6). */
  #sweep(lane: LaneId, epoch: number): void {
    const isNamed = (key: string) => this.#reader.namesChunk(lane, key);
    const sweep = sweepChunks({ lane, belowEpoch: epoch, chunkStore: this.#options.chunkStore, isNamed })
      // What is left over takes room, nothing else, and the next opening sweeps again.
      .catch(() => {})
      .finally(() => this.#sweeps.delete(sweep));
    this.#sweeps.add(sweep);
  }

  #guard<Result>(lane: LaneId, read: () => Result): Result {
    try {
      return read();
    } catch (error) {
      throw sqliteError(error, { lane });
    }
  }
}
