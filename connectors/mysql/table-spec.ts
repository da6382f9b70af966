import type { CoveredTable } from "../connector.ts";

/** One column as information_schema gives it. Strings are lower case as MySQL prints them. */
export type ColumnSpec = {
  readonly name: string;
  /** 0-based place in the source table, which is its place in the row image. */
  readonly ordinal: number;
  /** `bigint`, `varchar`, `enum`, … (DATA_TYPE). */
  readonly dataType: string;
  /** `bigint unsigned`, `enum('a','b')`, … (COLUMN_TYPE). */
  readonly columnType: string;
  readonly unsigned: boolean;
  readonly zerofill: boolean;
  readonly nullable: boolean;
  readonly charset: string | null;
  readonly collation: string | null;
  /** Octets of a string or binary column, else null (CHARACTER_OCTET_LENGTH). */
  readonly octetLength: number | null;
  readonly precision: number | null;
  readonly scale: number | null;
  /** Fractional digits of TIME, DATETIME, TIMESTAMP. */
  readonly fraction: number | null;
  /** ENUM and SET, in index order. */
  readonly labels: readonly string[] | null;
  readonly generated: "no" | "virtual" | "stored";
};

export type UniqueIndex = { readonly name: string; readonly columns: readonly string[] };

export type Belonging =
  | { readonly kind: "root" }
  /** The column holds the tenant key in every row. */
  | { readonly kind: "column"; readonly column: string };

/** What both sides need to know of a MySQL table that moves: the `definition` of its CoveredTable. */
export type TableSpec = {
  readonly schema: string;
  readonly name: string;
  /** Schemas may be named otherwise in the target; tables may not. */
  readonly targetSchema: string;
  readonly belonging: Belonging;
  /** All columns in table order, generated ones too. Rows in the log carry the columns of `carriedColumns`, in order. */
  readonly columns: readonly ColumnSpec[];
  readonly primaryKey: readonly string[];
  /** Unique indexes other than the primary key; with one, the table's changes are never applied in parallel (A2). */
  readonly uniqueIndexes: readonly UniqueIndex[];
  /** The index that chunk reads are paged by: an equality prefix that fixes the tenant, then the primary key (W7). */
  readonly pagingIndex: string;
};

export function tableSpec(table: CoveredTable): TableSpec {
  return table.definition as TableSpec;
}

/** Generated columns are computed by the target itself. */
export function carriedColumns(spec: TableSpec): readonly ColumnSpec[] {
  return spec.columns.filter((column) => column.generated === "no");
}

export function keyColumns(spec: TableSpec): readonly ColumnSpec[] {
  return spec.primaryKey.map((name) => columnNamed(spec, name));
}

/** The column that holds the tenant key: the primary key's only column for a root. */
export function tenantColumn(spec: TableSpec): ColumnSpec {
  if (spec.belonging.kind === "column") return columnNamed(spec, spec.belonging.column);
  const only = spec.primaryKey[0];
  if (only === undefined || spec.primaryKey.length !== 1) throw new Error(`root ${spec.name} needs a one-column key`);
  return columnNamed(spec, only);
}

export function columnNamed(spec: TableSpec, name: string): ColumnSpec {
  const column = spec.columns.find((candidate) => candidate.name === name);
  if (!column) throw new Error(`${spec.schema}.${spec.name} has no column ${name}`);
  return column;
}
