import type { ColumnSpec, TableSpec } from "../../connectors/mysql/table-spec.ts";

/** A column without anything special to it, but for what is given. */
export function mysqlColumn(
  parts: Partial<ColumnSpec> & { readonly name: string; readonly dataType: string },
): ColumnSpec {
  return {
    ordinal: 0,
    columnType: parts.dataType,
    unsigned: false,
    zerofill: false,
    nullable: false,
    charset: null,
    collation: null,
    octetLength: null,
    precision: null,
    scale: null,
    fraction: null,
    labels: null,
    generated: "no",
    ...parts,
  };
}

/** Columns get their places in order; the tenant column is called `tenant`. */
export function mysqlTable(parts: {
  readonly columns: readonly ColumnSpec[];
  readonly primaryKey: readonly string[];
}): TableSpec {
  return {
    schema: "source",
    name: "t",
    targetSchema: "target",
    belonging: { kind: "column", column: "tenant" },
    columns: parts.columns.map((column, ordinal) => ({ ...column, ordinal })),
    primaryKey: parts.primaryKey,
    uniqueIndexes: [],
    pagingIndex: "PRIMARY",
  };
}
