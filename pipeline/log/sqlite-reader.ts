import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { EntryHeader, LaneId, LogAnchor, LogEntry } from "../entry.ts";
import { assertStoredLength, decodeHeader, entryDigest } from "../entry-codec.ts";
import { DrayError } from "../errors.ts";
import type { HeldEntries } from "./held-entries.ts";
import type { LaneStats } from "./log.ts";
import { factsOf, Validity } from "./validity.ts";

/** One step of reading: short enough not to hold the event loop, as node:sqlite is synchronous. A larger entry goes alone. */
const STEP_BYTES = 1024 * 1024;
const STEP_ENTRIES = 500;

export type LaneRow = { readonly id: number; readonly epoch: number; readonly nonce: string; readonly lastSeq: number };
export type StoredHeader = {
  readonly id: number;
  readonly header: EntryHeader;
  readonly bytes: number;
  readonly digest: string;
};

/** Statements of the embedded log that only read; on a connection of its own, so that they never wait for a writer. */
export class SqliteReader {
  readonly #lane: StatementSync;
  readonly #entries: StatementSync;
  readonly #header: StatementSync;
  readonly #tail: StatementSync;
  readonly #first: StatementSync;
  readonly #named: StatementSync;

  constructor(db: DatabaseSync) {
    this.#lane = db.prepare("SELECT id, epoch, nonce, last_seq, entries, bytes FROM lane WHERE name = ?");
    this.#entries = db.prepare(
      `SELECT id, header, body FROM entry WHERE lane = ? AND id > ? ORDER BY id LIMIT ${STEP_ENTRIES}`,
    );
    this.#header = db.prepare("SELECT id, header FROM entry WHERE lane = ? AND id = ?");
    this.#tail = db.prepare(
      "SELECT id, header FROM entry WHERE lane = ? AND seq > 0 AND id < ? ORDER BY seq DESC LIMIT 1",
    );
    this.#first = db.prepare("SELECT min(seq) AS seq FROM entry WHERE lane = ? AND seq > 0");
    this.#named = db.prepare("SELECT 1 FROM entry WHERE lane = ? AND chunk_key = ?");
  }

  lane(lane: LaneId): LaneRow | null {
    const row = this.#lane.get(lane);
    if (!row) return null;
    return {
      id: Number(row["id"]),
      epoch: Number(row["epoch"]),
      nonce: String(row["nonce"]),
      lastSeq: Number(row["last_seq"]),
    };
  }

  /** The last entry before the given id, `epoch` entries aside. */
  tailBefore(lane: LaneId, laneRowId: number, id: number): StoredHeader | null {
    return storedHeader(lane, this.#tail.get(laneRowId, id));
  }

  /** L7: exactly the entry that was recorded, else LOG_TRUNCATED. */
  find(lane: LaneId, anchor: LogAnchor): StoredHeader {
    const row = this.lane(lane);
    const found = row && storedHeader(lane, this.#header.get(row.id, Number(anchor.offset)));
    if (found && found.header.seq === anchor.seq && found.header.nonce === anchor.nonce) return found;
    const facts = { lane, ...anchor, foundSeq: found?.header.seq ?? null, lastSeq: row?.lastSeq ?? null };
    throw new DrayError("LOG_TRUNCATED", { ...facts, reason: "the recorded entry is not there" });
  }

  stats(lane: LaneId): LaneStats {
    const row = this.#lane.get(lane);
    if (!row) return { entries: 0, bytes: 0, firstSeq: null, lastSeq: null };
    const first = this.#first.get(Number(row["id"]))?.["seq"] ?? null;
    const lastSeq = Number(row["last_seq"]);
    return {
      entries: Number(row["entries"]),
      bytes: Number(row["bytes"]),
      firstSeq: first === null ? null : Number(first),
      lastSeq: lastSeq === 0 ? null : lastSeq,
    };
  }

  namesChunk(lane: LaneId, chunkKey: string): boolean {
    const row = this.lane(lane);
    return row !== null && this.#named.get(row.id, chunkKey) !== undefined;
  }

  /** A place in the lane from which `next` goes on. */
  cursor(lane: LaneId, after: LogAnchor | null): LaneCursor {
    if (after === null) return new LaneCursor({ lane, entries: this.#entries, reader: this, start: null });
    return new LaneCursor({ lane, entries: this.#entries, reader: this, start: this.find(lane, after) });
  }
}

type LaneCursorOptions = {
  readonly lane: LaneId;
  readonly entries: StatementSync;
  readonly reader: SqliteReader;
  readonly start: StoredHeader | null;
};

export class LaneCursor {
  readonly #options: LaneCursorOptions;
  readonly #validity: Validity;
  #laneRowId: number | null;
  #lastId: number;

  constructor(options: LaneCursorOptions) {
    const { lane, start } = options;
    this.#options = options;
    this.#validity = start ? Validity.behind(lane, factsOf(start.header, start.digest)) : new Validity(lane);
    this.#laneRowId = start ? (options.reader.lane(lane)?.id ?? null) : null;
    this.#lastId = start?.id ?? 0;
  }

  /** The next entries, as far as they are in memory. */
  nextHeld(held: HeldEntries): LogEntry[] {
    const entries: LogEntry[] = [];
    let bytes = 0;
    for (;;) {
      const { epoch, nonce, seq } = this.#validity;
      if (bytes >= STEP_BYTES || entries.length >= STEP_ENTRIES) return entries;
      const next = held.take(this.#options.lane, { epoch, nonce, seq: seq + 1 });
      if (next === null) return entries;
      bytes += next.entry.held.plain.length;
      const { entry, digest } = next;
      const verdict = this.#validity.judge(factsOf(entry.header, digest));
      if (verdict !== "counts") throw new Error(`a held entry ${verdict} where it was to count`);
      this.#lastId = Number(entry.offset);
      entries.push(entry);
    }
  }

  /** The next entries that count, and whether anything was there at all: a step may hold only `epoch` entries. */
  next(): { readonly entries: readonly LogEntry[]; readonly isAtEnd: boolean } {
    const { lane, entries: statement, reader } = this.#options;
    const row = reader.lane(lane);
    if (row === null && this.#laneRowId === null) return { entries: [], isAtEnd: true };
    if (row === null || (this.#laneRowId !== null && row.id !== this.#laneRowId)) {
      throw new DrayError("LOG_TRUNCATED", { lane, lastSeq: this.#validity.seq, reason: "the lane was dropped" });
    }
    this.#laneRowId = row.id;
    const entries: LogEntry[] = [];
    let bytes = 0;
    let isAtEnd = true;
    for (const found of statement.iterate(row.id, this.#lastId)) {
      const headerBytes = found["header"] as Uint8Array;
      const stored = found["body"] as Uint8Array;
      if (bytes > 0 && bytes + headerBytes.length + stored.length > STEP_BYTES) {
        isAtEnd = false;
        break;
      }
      bytes += headerBytes.length + stored.length;
      this.#lastId = Number(found["id"]);
      const offset = String(this.#lastId);
      const header = decodeHeader(headerBytes, { lane, offset });
      assertStoredLength(header, stored, { lane, offset });
      const verdict = this.#validity.judge(factsOf(header, entryDigest(headerBytes, header)));
      if (verdict === "counts") entries.push({ header, stored, offset });
      isAtEnd = false;
    }
    return { entries, isAtEnd };
  }
}

function storedHeader(lane: LaneId, row: Record<string, unknown> | undefined): StoredHeader | null {
  if (!row) return null;
  const bytes = row["header"] as Uint8Array;
  const id = Number(row["id"]);
  const header = decodeHeader(bytes, { lane, offset: String(id) });
  return { id, header, bytes: bytes.length, digest: entryDigest(bytes, header) };
}
