import { type CanonicalRow, decodeRow } from "../../connectors/mysql/row-codec.ts";
import type { Change } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { ChangeBatch } from "../sink.ts";
import type { TableStatements } from "./table-statements.ts";

/** One change, decoded, with the entry it came in. */
export type RowChange = {
  readonly table: TableStatements;
  readonly kind: "upsert" | "delete";
  readonly key: string;
  readonly row: CanonicalRow;
  readonly seq: number;
};

/** What is left of a batch for one table: for each key only its last change, in the order of those (A3). */
export type TableBatch = {
  readonly table: TableStatements;
  readonly deletes: readonly RowChange[];
  readonly upserts: readonly RowChange[];
};

export type TableOf = (id: string) => TableStatements;

/** All changes of the batch in log order. */
export function* changesInOrder(batch: ChangeBatch, tableOf: TableOf): Generator<RowChange> {
  for (let i = 0; i < batch.changes.length; i++) {
    for (const change of batch.changes[i] ?? []) yield rowChange(change, batch.seqs.first + i, tableOf);
  }
}

/**
 * Only the last change of each key is left. Unique values that change hands inside the batch may then meet each other:
 * the guard notices, and the batch is applied again in log order (A3).
 */
export function coalesce(batch: ChangeBatch, tableOf: TableOf): readonly TableBatch[] {
  const tables = new Map<string, Map<string, { readonly change: Change; readonly seq: number }>>();
  for (let i = 0; i < batch.changes.length; i++) {
    for (const change of batch.changes[i] ?? []) {
      const rows = tables.get(change.table) ?? new Map<string, { readonly change: Change; readonly seq: number }>();
      if (rows.size === 0) tables.set(change.table, rows);
      const key = keyText(change.key);
      // Deleted first, so that the map's order is that of the last changes.
      rows.delete(key);
      rows.set(key, { change, seq: batch.seqs.first + i });
    }
  }
  return [...tables].map(([id, rows]) => {
    const changes = [...rows.values()].map(({ change, seq }) => rowChange(change, seq, tableOf));
    return {
      table: tableOf(id),
      deletes: changes.filter(({ kind }) => kind === "delete"),
      upserts: changes.filter(({ kind }) => kind === "upsert"),
    };
  });
}

function rowChange(change: Change, seq: number, tableOf: TableOf): RowChange {
  const table = tableOf(change.table);
  // As a Buffer, so that the values are Buffers too and go to the server without another view of each.
  const bytes = Buffer.from(change.row.buffer, change.row.byteOffset, change.row.byteLength);
  const row = decodeRow(bytes, table.columns.length);
  // T1: what is written is the tenant's by its bytes, whoever made the entry.
  if (!table.isOwn(row)) throw new DrayError("GUARD_NOT_TENANT", { seq, table: table.id, key: table.keyLabel(row) });
  const kind = change.op === "delete" ? "delete" : "upsert";
  return { table, kind, key: keyText(change.key), row, seq };
}
