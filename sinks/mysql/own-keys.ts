import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { quoteIdentifier } from "../../connectors/mysql/identifier.ts";
import { boundLiterals, keyBytes } from "../../connectors/mysql/key-bytes.ts";
import type { CanonicalRow } from "../../connectors/mysql/row-codec.ts";
import { fromSelect, normalised, selectExpression } from "../../connectors/mysql/values.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { TableStatements } from "./table-statements.ts";

/** A key of the tenant that stands in the target. */
export type OwnKey = { readonly values: CanonicalRow; readonly text: string };

export type KeySpan = { readonly after: Bound | null; readonly upTo: Bound | null; readonly limit?: number };

/** The tenant's keys of a range, in key order, read without a lock. */
export async function ownKeys(
  session: MysqlSession,
  table: TableStatements,
  span: KeySpan,
  signal: AbortSignal,
): Promise<readonly OwnKey[]> {
  const columns = table.keyColumns();
  const toKey = keyBytes(table.spec);
  const normalise = columns.map((column) => fromSelect(column));
  const conditions = [table.ownRows, ...inSpan(table, span)];
  const order = columns.map(({ name }) => `t.${quoteIdentifier(name)}`).join(", ");
  // The hint is only a warning where the target's index has another name.
  const rows = await session.queryRaw(
    `SELECT /*+ INDEX(t ${quoteIdentifier(table.spec.pagingIndex)}) */ ` +
      `${columns.map((column) => selectExpression(column)).join(", ")} FROM ${table.table} AS t ` +
      `WHERE ${conditions.join(" AND ")} ORDER BY ${order}${span.limit === undefined ? "" : ` LIMIT ${span.limit}`}`,
    signal,
  );
  return rows.map((row) => {
    const values = row.map((value, i) => normalised(normalise[i], value));
    return { values, text: keyText(toKey(values)) };
  });
}

/** SQL that a key lies in the span, which the index serves; none where the span is the whole table. */
export function inSpan(table: TableStatements, span: Omit<KeySpan, "limit">): readonly string[] {
  const conditions: string[] = [];
  if (span.after) conditions.push(beyond(table, boundLiterals(table.spec, span.after), ">"));
  if (span.upTo) conditions.push(beyond(table, boundLiterals(table.spec, span.upTo), "<="));
  return conditions;
}

/** Keys beyond a bound, compared column by column as the index sorts them. */
function beyond(table: TableStatements, bound: readonly string[], direction: ">" | "<="): string {
  const names = table.keyColumns().map(({ name }) => `t.${quoteIdentifier(name)}`);
  const strict = direction === ">" ? ">" : "<";
  const alternatives = names.map((name, i) => {
    const equal = names.slice(0, i).map((before, j) => `${before} = ${bound[j]}`);
    const last = i === names.length - 1 ? direction : strict;
    return `(${[...equal, `${name} ${last} ${bound[i]}`].join(" AND ")})`;
  });
  if (alternatives.length === 1) return alternatives[0] as string;
  // Implied by the rest; it is what lets the index skip to the place.
  return `${names[0]} ${strict}= ${bound[0]} AND (${alternatives.join(" OR ")})`;
}
