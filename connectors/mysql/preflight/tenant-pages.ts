import type { RawRow } from "../client.ts";
import { carrierOf } from "../column-types.ts";
import { canonicalReal } from "../decimal-text.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { type ColumnSpec, keyColumns, type TableSpec } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { literal, selectExpression } from "../values.ts";
import type { MysqlPreflightContext } from "./context.ts";

export type TenantPage = {
  readonly context: Pick<MysqlPreflightContext, "source" | "tenant">;
  readonly spec: TableSpec;
  /** Indexed, so JSON is none of them; they begin with the primary key. */
  readonly columns: readonly ColumnSpec[];
  /** The last key of the page before. */
  readonly after: RawRow | null;
  readonly rows: number;
};

/**
 * The tenant's next rows at the source as canonical values, in the primary key's order, so that no read view stays open
 * for longer than a page takes (W7: never OFFSET).
 */
export async function pageOfTenant({ context, spec, columns, after, rows }: TenantPage): Promise<readonly RawRow[]> {
  const values = columns.map((column) => selectExpression(column)).join(", ");
  const page = await context.source.raw(`SELECT ${values} ${tenantRows({ context, spec, after })} LIMIT ${rows}`);
  const real = columns.map((column) => carrierOf(column) === "real");
  if (!real.includes(true)) return page;
  return page.map((row) => row.map((value, i) => (value && real[i] ? Buffer.from(canonicalReal(value)) : value)));
}

/** `FROM … ORDER BY …`: the tenant's rows behind a key, by the paging index. */
export function tenantRows({ context, spec, after }: Pick<TenantPage, "context" | "spec" | "after">): string {
  const keys = keyColumns(spec);
  const behind = after === null ? "" : ` AND ${beyond(keys, after, ">")}`;
  return (
    `FROM ${sourceTable(spec)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)}) ` +
    `WHERE ${tenantPredicate(spec, context.tenant)}${behind} ORDER BY ${keys.map((column) => quoteIdentifier(column.name)).join(", ")}`
  );
}

/** Row constructors are not served by an index; this form is. */
export function beyond(keys: readonly ColumnSpec[], key: RawRow, operator: "<" | ">"): string {
  const parts = keys.map((column, i) => {
    const equal = keys
      .slice(0, i)
      .map((earlier, j) => `${quoteIdentifier(earlier.name)} = ${literal(earlier, key[j] ?? null)}`);
    return `(${[...equal, `${quoteIdentifier(column.name)} ${operator} ${literal(column, key[i] ?? null)}`].join(" AND ")})`;
  });
  return `(${parts.join(" OR ")})`;
}

/** Both ends belong to it. The first column's ends stand by themselves, as an index scan begins and stops at them. */
export function between(keys: readonly ColumnSpec[], first: RawRow, last: RawRow): string {
  const [lead] = keys;
  if (!lead) throw new Error("a key has a column");
  const name = quoteIdentifier(lead.name);
  const ends = [`${name} >= ${literal(lead, first[0] ?? null)}`, `${name} <= ${literal(lead, last[0] ?? null)}`];
  if (keys.length > 1) ends.push(`NOT ${beyond(keys, first, "<")}`, `NOT ${beyond(keys, last, ">")}`);
  return `(${ends.join(" AND ")})`;
}
