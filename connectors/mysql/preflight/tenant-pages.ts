import type { RawRow } from "../client.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { type ColumnSpec, keyColumns, type TableSpec } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { fromSelect, literal, selectExpression } from "../values.ts";
import type { MysqlPreflightContext } from "./context.ts";

/**
 * The tenant's rows at the source in pages of canonical values, the primary key first and in its order, so that no read
 * view stays open for longer than a page takes (W7: never OFFSET). `columns` must begin with the primary key.
 */
export async function* pagesOfTenant(
  context: Pick<MysqlPreflightContext, "source" | "tenant" | "limits">,
  spec: TableSpec,
  columns: readonly ColumnSpec[],
  signal: AbortSignal,
): AsyncGenerator<readonly RawRow[]> {
  const keys = keyColumns(spec);
  const normalise = columns.map((column) => fromSelect(column, "proving"));
  const head = `SELECT ${columns.map((column) => selectExpression(column, "proving")).join(", ")} FROM ${sourceTable(spec)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)}) WHERE ${tenantPredicate(spec, context.tenant)}`;
  const order = `ORDER BY ${keys.map((column) => quoteIdentifier(column.name)).join(", ")} LIMIT ${context.limits.batchKeys}`;
  let after: RawRow | null = null;
  for (;;) {
    signal.throwIfAborted();
    const behind: string = after === null ? "" : ` AND ${above(keys, after)}`;
    const page: readonly RawRow[] = await context.source.raw(`${head}${behind} ${order}`);
    if (page.length > 0) {
      yield page.map((row) =>
        row.map((value, i) => {
          const made = normalise[i]?.(value) ?? value;
          return made === null ? null : Buffer.from(made);
        }),
      );
    }
    if (page.length < context.limits.batchKeys) return;
    after = page.at(-1) ?? null;
  }
}

/** Row constructors are not served by an index; this form is. */
export function above(keys: readonly ColumnSpec[], last: RawRow): string {
  const parts = keys.map((column, i) => {
    const equal = keys
      .slice(0, i)
      .map((earlier, j) => `${quoteIdentifier(earlier.name)} = ${literal(earlier, last[j] ?? null)}`);
    return `(${[...equal, `${quoteIdentifier(column.name)} > ${literal(column, last[i] ?? null)}`].join(" AND ")})`;
  });
  return `(${parts.join(" OR ")})`;
}
