import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { type SqliteDatabase, SqliteDialect, type SqliteStatement } from "kysely";

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
        statement = adapt(database.prepare(text));
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

function adapt(statement: StatementSync): SqliteStatement {
  return {
    // Statements with RETURNING have columns too: they must be run to their end by `all`.
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...values(parameters)),
    run: (parameters) => statement.run(...values(parameters)),
    iterate: (parameters) => statement.iterate(...values(parameters)),
  };
}

function values(parameters: readonly unknown[]): SQLInputValue[] {
  return parameters as SQLInputValue[];
}
