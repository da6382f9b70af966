import type { MysqlSession } from "../../connectors/mysql/client.ts";
import type { CanonicalRow } from "../../connectors/mysql/row-codec.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { Bytes, TableStatements } from "./table-statements.ts";

/** Far below any max_allowed_packet that preflight accepts, whatever the rows' size. */
const MAX_STATEMENT_BYTES = 1024 * 1024;
/** Up to here every number of rows has a statement of its own. */
const FEW_ROWS = 16;

/** Guarded upserts, in this order, a few hundred rows a statement. */
export async function upsertRows(
  session: MysqlSession,
  table: TableStatements,
  rows: readonly CanonicalRow[],
  signal: AbortSignal,
): Promise<void> {
  for (let at = 0; at < rows.length; ) {
    const count = shape(rows, at, table.maxRows);
    const parameters: Bytes[] = [];
    for (let i = at; i < at + count; i++) {
      const row = rows[i] as CanonicalRow;
      for (const value of row) parameters.push(value);
    }
    await session.write(table.upsert(count), parameters, signal);
    at += count;
  }
}

/**
 * Guarded deletes. A key that stands for another tenant's row is a guard error, unless such rows are to be passed over;
 * one that is gone already is none.
 */
export async function deleteKeys(
  session: MysqlSession,
  table: TableStatements,
  keys: readonly (readonly Bytes[])[],
  signal: AbortSignal,
  foreign: "refused" | "passed over" = "refused",
): Promise<number> {
  let deleted = 0;
  for (let at = 0; at < keys.length; ) {
    const count = shape(keys, at, table.maxRows);
    const parameters = table.keyParameters(keys.slice(at, at + count));
    const affectedRows = await session.write(table.delete(count), parameters, signal);
    deleted += affectedRows;
    // The count alone cannot tell a row that is gone from one that the guard spared.
    if (affectedRows < count && foreign === "refused") {
      const [found] = await session.executeQuery(table.foreign(count), parameters, signal);
      if (found) {
        const key = Object.values(found).join(",");
        throw new DrayError("GUARD_FOREIGN_ROW", { table: table.id, key, server: session.server });
      }
    }
    at += count;
  }
  return deleted;
}

/**
 * All that is left where it is little, for a lone transaction should not take two turns; else the largest power of two,
 * so that the statements to prepare stay few. What does not fit one statement is split either way.
 */
function shape(rows: readonly (readonly Bytes[])[], at: number, maxRows: number): number {
  const limit = Math.min(maxRows, rows.length - at);
  if (limit <= FEW_ROWS && bytesOf(rows, at, limit) <= MAX_STATEMENT_BYTES) return limit;
  let count = 1;
  let bytes = 0;
  let seen = 0;
  while (count * 2 <= limit) {
    for (; seen < count * 2; seen++) for (const value of rows[at + seen] ?? []) bytes += value?.length ?? 0;
    if (bytes > MAX_STATEMENT_BYTES) break;
    count *= 2;
  }
  return count;
}

function bytesOf(rows: readonly (readonly Bytes[])[], at: number, count: number): number {
  let bytes = 0;
  for (let i = at; i < at + count; i++) for (const value of rows[i] ?? []) bytes += value?.length ?? 0;
  return bytes;
}
