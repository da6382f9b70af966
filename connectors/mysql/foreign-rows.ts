import { quoteIdentifier, quoteTable } from "./identifier.ts";
import { type TableSpec, tenantColumn } from "./table-spec.ts";
import { canonicalTenant } from "./tenant-key.ts";
import { literal } from "./values.ts";

/** T1, the other way round: every row that is not the tenant's by its bytes, rows without a tenant among them. */
export function notTenantPredicate(spec: TableSpec, tenant: string): string {
  const column = tenantColumn(spec);
  const name = quoteIdentifier(column.name);
  const value = canonicalTenant(column, tenant);
  if (column.charset === null) return `NOT (${name} <=> ${literal(column, value)})`;
  return `NOT (CAST(${name} AS BINARY) <=> _binary x'${Buffer.from(value).toString("hex")}')`;
}

/** The same as far as an index on the column can tell: rows whose tenant differs in case only are not seen. */
export function otherTenantByIndex(spec: TableSpec, tenant: string): string {
  const column = tenantColumn(spec);
  const name = quoteIdentifier(column.name);
  const value = literal(column, canonicalTenant(column, tenant));
  return `(${name} < ${value} OR ${name} > ${value}${column.nullable ? ` OR ${name} IS NULL` : ""})`;
}

export function sourceTable(spec: TableSpec): string {
  return quoteTable(spec.schema, spec.name);
}

export function targetTable(spec: TableSpec): string {
  return quoteTable(spec.targetSchema, spec.name);
}
