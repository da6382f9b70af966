import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { ChangeBatch } from "../sink.ts";
import { changesInOrder, coalesce, type RowChange, type TableOf } from "./coalesce.ts";
import type { Contenders } from "./contenders.ts";
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
  { tableOf, contenders }: { readonly tableOf: TableOf; readonly contenders: Contenders },
  signal: AbortSignal,
): Promise<void> {
  const changes = [...changesInOrder(batch, tableOf)];
  for (const [at, change] of changes.entries()) {
    const { table, key } = change;
    const changedLater = () =>
      changes.some((other, i) => i > at && other.table === table && other.key === key) ||
      batch.changedLater?.(table.id, key) === true;
    await writeContended(session, change, { contenders, changedLater }, signal);
  }
}

/** The keys that the batch deletes and does not write again: they may go before all else, and again. */
export async function deleteAhead(
  session: MysqlSession,
  batch: ChangeBatch,
  tableOf: TableOf,
  signal: AbortSignal,
): Promise<void> {
  for (const { table, deletes } of coalesce(batch, tableOf)) {
    const keys = deletes.map(({ row }) => table.keyOf(row));
    await deleteKeys(session, table, keys, signal, "passed over");
  }
}

export function deletesAny(batch: ChangeBatch): boolean {
  return batch.changes.some((changes) => changes.some(({ op }) => op === "delete"));
}

export type ContendedRow = Pick<RowChange, "table" | "row" | "seq" | "kind">;

/** A row that goes between the guard's answer and the look at it is met again at most so often. */
const LOOKS = 3;

/**
 * One row of an open transaction. Where another move's row stands in its way (A8): a delete has nothing of ours left to
 * delete; a row that the log changes again need not be written now (what stands of it goes), and must not be waited for,
 * as that later change may be what gave it to the other tenant; else GUARD_CONTENDED while that move can still take its row away.
 */
export async function writeContended(
  session: MysqlSession,
  change: ContendedRow,
  road: { readonly contenders: Contenders; readonly changedLater: () => boolean },
  signal: AbortSignal,
): Promise<void> {
  const { table, row, seq, kind } = change;
  for (let look = 1; ; look++) {
    try {
      if (kind === "delete") await deleteKeys(session, table, [table.keyOf(row)], signal);
      else await upsertRows(session, table, [row], signal);
      return;
    } catch (error) {
      if (!isGuardError(error) || session.isLost) throw named(error, change);
      const by = kind === "delete" ? "key" : "any unique value";
      const found = await road.contenders.inTheWay(session, table, row, by, signal);
      if (found.kind === "nothing" && look < LOOKS) continue;
      if (found.kind !== "moving") throw named(error, change);
      if (kind === "delete") return;
      if (road.changedLater()) {
        // What stands of it is of before, and a row of ours that takes over its unique values would meet it.
        await deleteKeys(session, table, [table.keyOf(row)], signal, "passed over");
        return;
      }
      const { lane, move, tenant, state } = found.lane;
      if (state === "arrived") throw named(error, change);
      const key = table.keyLabel(row);
      throw new DrayError("GUARD_CONTENDED", { seq, table: table.id, key, tenant, move, lane }, error);
    }
  }
}

function isGuardError(error: unknown): boolean {
  return isDrayError(error, "MYSQL_GUARD") || isDrayError(error, "GUARD_FOREIGN_ROW");
}

/** An error that may vanish in log order, or that only the single change can name. */
export function worthTheOrder(error: unknown): boolean {
  return isGuardError(error) || isDrayError(error, "MYSQL_REFUSED");
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
