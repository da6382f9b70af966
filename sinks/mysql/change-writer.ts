import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { ChangeBatch } from "../sink.ts";
import { changesInOrder, coalesce, type RowChange, type TableOf } from "./coalesce.ts";
import { deleteKeys, upsertRows } from "./row-writer.ts";

/** A whole batch, last change a key, deletes before upserts, in few statements (A3). */
export async function writeCoalesced(
  session: MysqlSession,
  batch: ChangeBatch,
  tableOf: TableOf,
  signal: AbortSignal,
): Promise<void> {
  const tables = coalesce(batch, tableOf);
  for (const { table, deletes } of tables) {
    const keys = deletes.map(({ row }) => table.keyOf(row));
    await deleteKeys(session, table, keys, signal);
  }
  for (const { table, upserts } of tables) {
    const rows = upserts.map(({ row }) => row);
    await upsertRows(session, table, rows, signal);
  }
}

/** The batch as it happened, change by change: what fails here is real, and is named. */
export async function writeInOrder(
  session: MysqlSession,
  batch: ChangeBatch,
  tableOf: TableOf,
  signal: AbortSignal,
): Promise<void> {
  for (const change of changesInOrder(batch, tableOf)) {
    try {
      const { table, row, kind } = change;
      if (kind === "delete") await deleteKeys(session, table, [table.keyOf(row)], signal);
      else await upsertRows(session, table, [row], signal);
    } catch (error) {
      throw named(error, change);
    }
  }
}

/** An error that may vanish in log order, or that only the single change can name. */
export function worthTheOrder(error: unknown): boolean {
  return (
    isDrayError(error, "MYSQL_GUARD") || isDrayError(error, "GUARD_FOREIGN_ROW") || isDrayError(error, "MYSQL_REFUSED")
  );
}

/** A8: a final error carries its entry, table and key. */
export function named(error: unknown, change: Pick<RowChange, "table" | "row" | "seq">): unknown {
  if (!worthTheOrder(error) || !isDrayError(error)) return error;
  const { table, row, seq } = change;
  const { server, error: answer, message } = error.facts;
  const facts = { seq, table: table.id, key: table.keyLabel(row), server };
  if (error.code === "MYSQL_REFUSED")
    return new DrayError("TARGET_REFUSED", { ...facts, error: answer, message }, error);
  return new DrayError("GUARD_FOREIGN_ROW", answer === undefined ? facts : { ...facts, error: answer }, error);
}
