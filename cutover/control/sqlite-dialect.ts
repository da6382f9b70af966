import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { type SqliteDatabase, SqliteDialect, type SqliteStatement } from "kysely";
import { DrayError } from "../../pipeline/errors.ts";

/**
 * node:sqlite in the shape that kysely's SqliteDialect expects of better-sqlite3. Every transaction begins IMMEDIATE:
 * one that reads first and writes later would fail half way where another process wrote in between. A commit is on the
 * disk when it returns (synchronous=FULL).
 */
export function nodeSqliteDialect(file: string): SqliteDialect {
  return new SqliteDialect({ database: async () => openDatabase(file) });
}

function openDatabase(file: string): SqliteDatabase {
  const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  const statements = new Map<string, SqliteStatement>();
  return {
    prepare(sql) {
      const text = sql === "begin" ? "begin immediate" : sql;
      let statement = statements.get(text);
      if (statement === undefined) {
        const prepared = adapt(prepare(database, text));
        // A full disk makes SQLite roll back by itself; the error that says so must not be hidden by another.
        statement = text === "rollback" ? { ...prepared, run: () => rollback(database) } : prepared;
        // Kysely's statements are few and fixed; the bound only keeps a generated one from piling up.
        if (statements.size < MOST_STATEMENTS) statements.set(text, statement);
      }
      return statement;
    },
    close: () => database.close(),
  };
}

const BUSY_TIMEOUT_MS = 5_000;
const MOST_STATEMENTS = 200;
const NOTHING_CHANGED = { changes: 0, lastInsertRowid: 0 };

function adapt(statement: StatementSync): SqliteStatement {
  return {
    // Statements with RETURNING have columns too: they must be run to their end by `all`.
    reader: statement.columns().length > 0,
    all: (parameters) => named(() => statement.all(...values(parameters))),
    run: (parameters) => named(() => statement.run(...values(parameters))),
    iterate: (parameters) => statement.iterate(...values(parameters)),
  };
}

function prepare(database: DatabaseSync, sql: string): StatementSync {
  return named(() => database.prepare(sql));
}

function rollback(database: DatabaseSync): typeof NOTHING_CHANGED {
  if (database.isTransaction) database.exec("ROLLBACK");
  return NOTHING_CHANGED;
}

/** SQLite's codes for what passes: busy, locked, I/O error, full, cannot open. */
const PASSING: ReadonlySet<number> = new Set([5, 6, 10, 13, 14]);

/** Whoever waits for the control store must know whether to wait on. Texts name files and tables, never a value. */
function named<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : -1;
    if (!PASSING.has(code)) throw error;
    throw new DrayError("CONTROL_STORE_UNAVAILABLE", { reason: (error as Error).message, sqlite: code }, error);
  }
}

function values(parameters: readonly unknown[]): SQLInputValue[] {
  return parameters as SQLInputValue[];
}
