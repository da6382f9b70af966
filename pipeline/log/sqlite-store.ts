import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { LaneId, LogAnchor } from "../entry.ts";
import { decodeHeader, encodeHeader } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import { epochHeader } from "./epoch-header.ts";
import { sqliteError } from "./sqlite-file.ts";
import type { AppendBatch, BatchAnswer, OpenAnswer, RemoveAnswer } from "./sqlite-requests.ts";

/** One transaction of a removal, so that appends never wait long behind it. */
const REMOVE_ENTRIES = 200;
const REMOVE_BYTES = 4 * 1024 * 1024;
/** Free pages are used again; only a file that is mostly free space gives some back to the disk. */
const VACUUM_ABOVE_PAGES = 8192;
const VACUUM_STEP_PAGES = 256;
/**
 * A checkpoint is felt by every server on the disk for some tens of milliseconds, so it comes rarely: behind so much that
 * it has to write, or so many transactions, each of which leaves some 48 KiB in the write-ahead log, most of it the same
 * pages again.
 */
const CHECKPOINT_AFTER_BYTES = 8 * 1024 * 1024;
const CHECKPOINT_AFTER_TRANSACTIONS = 2_500;

type LaneRow = { readonly id: number; readonly epoch: number; readonly nonce: string; readonly last_seq: number };

/** The transactions of the embedded log; lives in the writing thread. */
export class SqliteStore {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #uncheckpointedBytes = 0;
  #uncheckpointedTransactions = 0;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /**
   * One transaction for all that waited; `bytes` begins with theirs. A lane that was taken over is refused alone; a full
   * disk refuses them all.
   */
  append(batches: readonly AppendBatch[], bytes: Uint8Array): BatchAnswer[] {
    let at = 0;
    const answers = this.#transaction(() => {
      return batches.map((batch) => {
        const start = at;
        for (const entry of batch.entries) at += entry.headerBytes + entry.storedBytes;
        return this.#appendBatch(batch, bytes.subarray(start, at));
      });
    });
    this.#uncheckpointedBytes += at;
    return answers;
  }

  /** L2 and L4 in one: the epoch is chosen, checked and written under the same lock. */
  open(lane: LaneId, aboveEpoch: number, nonce: string, wallMs: number): OpenAnswer {
    return this.#transaction(() => {
      const before = this.#lane(lane);
      const epoch = Math.max(aboveEpoch, before?.epoch ?? 0) + 1;
      const header = encodeHeader(epochHeader({ lane, epoch, nonce, wallMs }));
      this.#run(
        `INSERT INTO lane (name, epoch, nonce, last_seq, entries, bytes) VALUES (?, ?, ?, 0, 1, ?)
         ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, nonce = excluded.nonce,
           entries = entries + 1, bytes = bytes + excluded.bytes`,
        [lane, epoch, nonce, header.length],
      );
      const id = (this.#lane(lane) as LaneRow).id;
      return { epoch, epochId: this.#insert(id, 0, null, header, new Uint8Array(0)) };
    });
  }

  /** Removes a little of what lies before the anchor's entry. */
  trim(lane: LaneId, anchor: LogAnchor): RemoveAnswer {
    return this.#transaction(() => {
      const row = this.#lane(lane);
      const kept =
        row && this.#get("SELECT header FROM entry WHERE id = ? AND lane = ?", [Number(anchor.offset), row.id]);
      const header = kept && decodeHeader(kept["header"] as Uint8Array, { lane, offset: anchor.offset });
      if (!header || header.seq !== anchor.seq || header.nonce !== anchor.nonce) {
        throw new DrayError("LOG_TRUNCATED", { lane, ...anchor, reason: "the entry to trim up to is not there" });
      }
      return this.#remove(row.id, Number(anchor.offset));
    });
  }

  /** The lane is gone with the first step, so that its name can be used again; its entries follow in small ones. */
  drop(lane: LaneId): RemoveAnswer {
    return this.#transaction(() => {
      this.#run("UPDATE lane SET name = 'dropped ' || id, epoch = -1 WHERE name = ?", [lane]);
      const dropped = this.#get("SELECT id FROM lane WHERE epoch = -1 LIMIT 1", []);
      if (!dropped) return { more: false, chunkKeys: [] };
      const id = Number(dropped["id"]);
      const removed = this.#remove(id, Number.MAX_SAFE_INTEGER);
      if (!removed.more) this.#run("DELETE FROM lane WHERE id = ?", [id]);
      return { more: true, chunkKeys: removed.chunkKeys };
    });
  }

  /** Called when nobody waits: moves the write-ahead log into the file, gives free space back. */
  tidy(): void {
    const isDue =
      this.#uncheckpointedBytes >= CHECKPOINT_AFTER_BYTES ||
      this.#uncheckpointedTransactions >= CHECKPOINT_AFTER_TRANSACTIONS;
    if (!isDue) return;
    this.#uncheckpointedBytes = 0;
    this.#uncheckpointedTransactions = 0;
    this.#db.exec("PRAGMA wal_checkpoint(PASSIVE)");
    const free = Number(this.#get("PRAGMA freelist_count", [])?.["freelist_count"]);
    const pages = Number(this.#get("PRAGMA page_count", [])?.["page_count"]);
    if (free > VACUUM_ABOVE_PAGES && free > pages / 2) this.#db.exec(`PRAGMA incremental_vacuum(${VACUUM_STEP_PAGES})`);
  }

  #appendBatch(batch: AppendBatch, bytes: Uint8Array): BatchAnswer {
    const { lane, epoch, nonce, firstSeq, entries } = batch;
    const lastSeq = firstSeq + entries.length - 1;
    // L4: the epoch check and the insert are one transaction.
    const changed = this.#run(
      `UPDATE lane SET last_seq = ?, entries = entries + ?, bytes = bytes + ?
       WHERE name = ? AND epoch = ? AND nonce = ? AND last_seq = ?`,
      [lastSeq, entries.length, bytes.length, lane, epoch, nonce, firstSeq - 1],
    );
    const row = this.#lane(lane);
    if (changed !== 1 || !row) {
      const facts = { lane, epoch, currentEpoch: row?.epoch ?? null, lastSeq: row?.last_seq ?? null, firstSeq };
      return { failure: { code: "FENCED", facts } };
    }
    let at = 0;
    let firstId = 0;
    entries.forEach((entry, i) => {
      const header = bytes.subarray(at, at + entry.headerBytes);
      const stored = bytes.subarray(at + entry.headerBytes, at + entry.headerBytes + entry.storedBytes);
      at += entry.headerBytes + entry.storedBytes;
      const id = this.#insert(row.id, firstSeq + i, entry.chunkKey, header, stored);
      if (i === 0) firstId = id;
    });
    return { firstId };
  }

  #insert(lane: number, seq: number, chunkKey: string | null, header: Uint8Array, stored: Uint8Array): number {
    const statement = this.#statement("INSERT INTO entry (lane, seq, chunk_key, header, body) VALUES (?, ?, ?, ?, ?)");
    return Number(statement.run(lane, seq, chunkKey, header, stored).lastInsertRowid);
  }

  #remove(lane: number, belowId: number): RemoveAnswer {
    const chunkKeys: string[] = [];
    let entries = 0;
    let bytes = 0;
    let upToId = 0;
    const rows = this.#statement(
      `SELECT id, chunk_key, length(header) + length(body) AS bytes FROM entry
       WHERE lane = ? AND id < ? ORDER BY id LIMIT ${REMOVE_ENTRIES}`,
    ).all(lane, belowId);
    for (const row of rows) {
      if (entries > 0 && bytes + Number(row["bytes"]) > REMOVE_BYTES) break;
      entries++;
      bytes += Number(row["bytes"]);
      upToId = Number(row["id"]);
      if (row["chunk_key"] !== null) chunkKeys.push(String(row["chunk_key"]));
    }
    if (entries === 0) return { more: false, chunkKeys };
    this.#run("DELETE FROM entry WHERE lane = ? AND id <= ?", [lane, upToId]);
    this.#run("UPDATE lane SET entries = entries - ?, bytes = bytes - ? WHERE id = ?", [entries, bytes, lane]);
    this.#uncheckpointedBytes += bytes;
    return { more: true, chunkKeys };
  }

  #lane(lane: LaneId): LaneRow | undefined {
    return this.#get("SELECT id, epoch, nonce, last_seq FROM lane WHERE name = ?", [lane]) as LaneRow | undefined;
  }

  #transaction<Result>(work: () => Result): Result {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#db.exec("COMMIT");
      this.#uncheckpointedTransactions++;
      return result;
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw sqliteError(error, {});
    }
  }

  #run(sql: string, values: readonly (string | number | null)[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  #get(sql: string, values: readonly (string | number | null)[]): Record<string, unknown> | undefined {
    return this.#statement(sql).get(...values) as Record<string, unknown> | undefined;
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
