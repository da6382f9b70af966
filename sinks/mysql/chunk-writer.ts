import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { loadStatement } from "../../connectors/mysql/load-text.ts";
import { loadTextKey, parseLoadText } from "../../connectors/mysql/parse-load-text.ts";
import type { CanonicalRow } from "../../connectors/mysql/row-codec.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { ChunkUnit } from "../sink.ts";
import { worthTheOrder, writeContended } from "./change-writer.ts";
import type { Contenders } from "./contenders.ts";
import { ownKeys } from "./own-keys.ts";
import { deleteKeys, upsertRows } from "./row-writer.ts";
import type { TableStatements } from "./table-statements.ts";

const NO_KEYS: ReadonlySet<string> = new Set();

/** LOAD DATA did not take every row as it was sent; the transaction must be rolled back and the guarded road taken. */
export class LoadNotTaken extends Error {}

/**
 * The fast road of a first pass (A5, W4): what the stream has already brought into the range goes first, but the
 * left-out rows, so that the load meets no duplicates. LOAD DATA skips what it meets instead of failing, so only
 * a load that took every row without a warning counts.
 */
export async function loadChunk(
  session: MysqlSession,
  table: TableStatements,
  chunk: ChunkUnit,
  signal: AbortSignal,
): Promise<void> {
  await clearRange(session, table, chunk, NO_KEYS, signal);
  if (chunk.rows === 0) return;
  const { rows, skipped, warnings } = await session.loadData(loadStatement(table.spec), chunk.body, signal);
  if (rows !== chunk.rows || skipped > 0 || warnings > 0) {
    throw new LoadNotTaken(`${rows} of ${chunk.rows} rows, ${skipped} skipped, ${warnings} warnings`);
  }
}

/** The guarded road: works over stale rows, and names the row that is in its way. */
export async function replaceRange(
  session: MysqlSession,
  table: TableStatements,
  { chunk, contenders }: { readonly chunk: ChunkUnit; readonly contenders: Contenders },
  signal: AbortSignal,
): Promise<void> {
  const rows = chunkRows(table, chunk);
  for (const row of rows) {
    if (table.isOwn(row)) continue;
    throw new DrayError("GUARD_NOT_TENANT", { seq: chunk.seq, table: table.id, key: table.keyLabel(row) });
  }
  await clearStale(session, table, chunk, signal);
  try {
    await upsertRows(session, table, rows, signal);
  } catch (error) {
    if (!worthTheOrder(error) || session.isLost) throw error;
    // The transaction is still open after a refused statement: the row that it was about is found one by one.
    const textOf = loadTextKey(table.spec);
    let contended: unknown = null;
    for (const row of rows) {
      const changedLater = () => chunk.changedLater?.(table.id, textOf(row)) === true;
      const one = { table, row, seq: chunk.seq, kind: "upsert" } as const;
      await writeContended(session, one, { contenders, changedLater }, signal).catch((met: unknown) => {
        if (!isDrayError(met, "GUARD_CONTENDED")) throw met;
        // On to the others: what they ask of the log is then searched for once, not once a row.
        contended ??= met;
      });
    }
    if (contended !== null) throw contended;
  }
}

/** What the chunk does not hold goes from its range; it may go before all else, and again. */
export async function clearStale(
  session: MysqlSession,
  table: TableStatements,
  chunk: ChunkUnit,
  signal: AbortSignal,
): Promise<void> {
  // Where another unique index is there, stale rows of the range could hold each other's values.
  const hasOther = table.spec.uniqueIndexes.length > 0;
  const keep = hasOther ? NO_KEYS : new Set(chunkRows(table, chunk).map(loadTextKey(table.spec)));
  try {
    await clearRange(session, table, chunk, keep, signal);
  } catch (error) {
    // Read as ours, and no longer ours when it was to be deleted.
    if (isDrayError(error, "GUARD_FOREIGN_ROW"))
      throw new DrayError(error.code, { seq: chunk.seq, ...error.facts }, error);
    throw error;
  }
}

function chunkRows(table: TableStatements, chunk: ChunkUnit): readonly CanonicalRow[] {
  const rows = chunk.rows === 0 ? [] : parseLoadText(table.spec, chunk.body);
  if (rows.length === chunk.rows) return rows;
  throw new DrayError("LOG_CORRUPT", { seq: chunk.seq, table: table.id, rows: rows.length, expected: chunk.rows });
}

/** W4: the tenant's rows of the range that are neither kept nor left to the stream. Keys first, then by primary key. */
async function clearRange(
  session: MysqlSession,
  table: TableStatements,
  chunk: ChunkUnit,
  keep: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  const present = await ownKeys(session, table, chunk.range, signal);
  if (present.length === 0) return;
  const leftOut = new Set(chunk.leftOut.map(keyText));
  const stale = present.filter(({ text }) => !keep.has(text) && !leftOut.has(text)).map(({ values }) => values);
  await deleteKeys(session, table, stale, signal);
}
