import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { DrayError } from "../errors.ts";

const FORMAT = 1;
/** Beyond this the file that SQLite keeps for its write-ahead log is cut back after use. */
const WAL_LIMIT_BYTES = 128 * 1024 * 1024;
const PAGE_BYTES = 8192;
const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/*
 * `lane` carries what a writer's transaction checks and what `stats` tells; `entry.id` is the offset, never used twice.
 * The index on `lane` alone is ordered by id within a lane.
 */
const SCHEMA = `
  CREATE TABLE lane (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    nonce TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    chunk_key TEXT,
    header BLOB NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX entry_seq ON entry (lane, seq) WHERE seq > 0;
  CREATE INDEX entry_lane ON entry (lane);
  CREATE INDEX entry_chunk ON entry (lane, chunk_key) WHERE chunk_key IS NOT NULL;
`;

export type SqliteFileOptions = {
  readonly folder: string;
  /** The log's file never grows beyond this; null: as far as the disk goes. */
  readonly limitBytes: number | null;
};

/** L4: durable means synced, so a commit that was answered survives a power cut. */
export function openSqliteFile(options: SqliteFileOptions): DatabaseSync {
  mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  const db = new DatabaseSync(join(options.folder, "log.sqlite"), { timeout: 5000 });
  try {
    db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL`);
    db.exec(`PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${WAL_LIMIT_BYTES}; PRAGMA wal_autocheckpoint = 0`);
    if (options.limitBytes !== null) {
      db.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(options.limitBytes / PAGE_BYTES))}`);
    }
    const format = db.prepare("PRAGMA user_version").get()?.["user_version"];
    if (format === 0) db.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${FORMAT}; COMMIT`);
    else if (format !== FORMAT) {
      throw new DrayError("LOG_FORMAT", { folder: options.folder, found: format, expected: FORMAT });
    }
    return db;
  } catch (error) {
    db.close();
    throw sqliteError(error, { folder: options.folder });
  }
}

/** What an error of SQLite means to a lane. Its text names files and numbers, never a value that was stored. */
export function sqliteError(error: unknown, facts: Readonly<Record<string, unknown>>): DrayError {
  if (error instanceof DrayError) return error;
  const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : null;
  const reason = error instanceof Error ? error.message : String(error);
  const all = { ...facts, reason, sqlite: code };
  if (code === SQLITE_FULL) return new DrayError("LOG_FULL", all, error);
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return new DrayError("LOG_CORRUPT", all, error);
  // A failed fsync leaves it open whether the transaction will be there after a restart.
  if (code === SQLITE_IOERR) return new DrayError("LOG_OUTCOME_UNKNOWN", all, error);
  return new DrayError("LOG_UNAVAILABLE", all, error);
}
