import { DrayError } from "../../pipeline/errors.ts";
import type { MysqlSession, TextRow } from "./client.ts";
import type { Belonging, ColumnSpec, TableSpec, UniqueIndex } from "./table-spec.ts";

export type IndexPart = {
  /** Null for an expression. */
  readonly column: string | null;
  /** Characters or bytes of a prefix, null for the whole column. */
  readonly prefixLength: number | null;
  readonly order: "ascending" | "descending" | "none";
};

export type IndexDefinition = {
  readonly name: string;
  readonly unique: boolean;
  readonly visible: boolean;
  /** BTREE, HASH, FULLTEXT, SPATIAL. */
  readonly method: string;
  readonly parts: readonly IndexPart[];
};

export type ForeignKey = {
  readonly name: string;
  readonly columns: readonly string[];
  readonly parentSchema: string;
  readonly parentTable: string;
  readonly parentColumns: readonly string[];
  readonly onDelete: string;
  readonly onUpdate: string;
};

/** A base table as its server describes it now. */
export type TableDefinition = {
  readonly schema: string;
  readonly name: string;
  readonly engine: string;
  readonly columns: readonly ColumnSpec[];
  readonly primaryKey: readonly string[];
  readonly indexes: readonly IndexDefinition[];
  readonly triggers: readonly string[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly partitions: number;
  /** The server's guess. */
  readonly rowsEstimate: number;
};

/** All base tables of a schema, by name; information_schema's statistics are read fresh. */
export async function readTables(
  session: MysqlSession,
  schema: string,
  signal?: AbortSignal,
): Promise<readonly TableDefinition[]> {
  const read = (sql: string) => session.executeQuery(sql, [schema], signal);
  const tables = await read(TABLES);
  const columns = byTable(await read(COLUMNS));
  const parts = byTable(await read(INDEXES));
  const triggers = byTable(await read(TRIGGERS));
  const keys = byTable(await read(FOREIGN_KEYS));
  const partitions = byTable(await read(PARTITIONS));
  return tables.map((row): TableDefinition => {
    const name = text(row, "t");
    const indexes = grouped(parts.get(name) ?? [], "index_name").map(indexDefinition);
    const primary = indexes.find((index) => index.name === "PRIMARY");
    return {
      schema,
      name,
      engine: text(row, "engine"),
      columns: (columns.get(name) ?? []).map(columnSpec),
      primaryKey: primary?.parts.map((part) => part.column ?? "") ?? [],
      indexes,
      triggers: (triggers.get(name) ?? []).map((trigger) => text(trigger, "name")),
      foreignKeys: grouped(keys.get(name) ?? [], "name").map(foreignKey),
      partitions: Number(partitions.get(name)?.[0]?.["partitions"] ?? 0),
      rowsEstimate: Number(row["rows_"] ?? 0),
    };
  });
}

/**
 * W7: the index whose equality prefix fixes the tenant and which then follows the primary key; null where there is
 * none. InnoDB appends the primary key's columns to every secondary index, so KEY (tenant) will do.
 */
export function pagingIndex(table: TableDefinition, belonging: Belonging): string | null {
  if (belonging.kind === "root") return table.primaryKey.length === 1 ? "PRIMARY" : null;
  const tenant = belonging.column;
  const rest = table.primaryKey.filter((column) => column !== tenant);
  const follows = (index: IndexDefinition) => {
    if (!index.visible || index.method !== "BTREE") return false;
    if (index.parts.some((part) => part.prefixLength !== null || part.order !== "ascending")) return false;
    const [first, ...others] = index.parts.map((part) => part.column);
    return first === tenant && others.length <= rest.length && others.every((column, i) => column === rest[i]);
  };
  const found = table.indexes.filter(follows);
  // The longest says most of it itself; the primary key is the table and needs no second lookup.
  const best = found.find((index) => index.name === "PRIMARY");
  return (best ?? found.sort((a, b) => b.parts.length - a.parts.length)[0])?.name ?? null;
}

/** Throws SCHEMA_MISMATCH for what preflight refuses: no primary key, a prefix in it, no column, no paging index. */
export function buildTableSpec(
  table: TableDefinition,
  options: { readonly belonging: Belonging; readonly targetSchema: string },
): TableSpec {
  const { belonging, targetSchema } = options;
  const refuse = (reason: string) =>
    new DrayError("SCHEMA_MISMATCH", { table: `${table.schema}.${table.name}`, reason });
  const primary = table.indexes.find((index) => index.name === "PRIMARY");
  if (!primary) throw refuse("no primary key");
  if (primary.parts.some((part) => part.prefixLength !== null)) throw refuse("a prefix in the primary key");
  if (belonging.kind === "column" && !table.columns.some((column) => column.name === belonging.column)) {
    throw refuse(`no tenant column ${belonging.column}`);
  }
  const paging = pagingIndex(table, belonging);
  if (paging === null) {
    throw refuse(
      belonging.kind === "root"
        ? "a root table needs a primary key of one column"
        : `no index on (${[belonging.column, ...table.primaryKey].join(", ")})`,
    );
  }
  return {
    schema: table.schema,
    name: table.name,
    targetSchema,
    belonging,
    columns: table.columns,
    primaryKey: table.primaryKey,
    uniqueIndexes: uniqueIndexes(table),
    pagingIndex: paging,
  };
}

/** Other than the primary key; an expression stands as `(expression)`. */
export function uniqueIndexes(table: TableDefinition): readonly UniqueIndex[] {
  return table.indexes
    .filter((index) => index.unique && index.name !== "PRIMARY")
    .map((index) => ({ name: index.name, columns: index.parts.map((part) => part.column ?? "(expression)") }));
}

const TABLES = `
  SELECT TABLE_NAME AS t, ENGINE AS engine, TABLE_ROWS AS rows_ FROM information_schema.TABLES
  WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME`;
const COLUMNS = `
  SELECT TABLE_NAME AS t, COLUMN_NAME AS name, ORDINAL_POSITION AS place, DATA_TYPE AS data_type,
    CAST(COLUMN_TYPE AS CHAR) AS column_type, IS_NULLABLE AS nullable, CHARACTER_SET_NAME AS charset_,
    COLLATION_NAME AS collation_, CHARACTER_OCTET_LENGTH AS octets, NUMERIC_PRECISION AS precision_,
    NUMERIC_SCALE AS scale, DATETIME_PRECISION AS fraction, EXTRA AS extra
  FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, ORDINAL_POSITION`;
const INDEXES = `
  SELECT TABLE_NAME AS t, INDEX_NAME AS index_name, NON_UNIQUE AS non_unique, COLUMN_NAME AS name,
    SUB_PART AS sub_part, COLLATION AS order_, INDEX_TYPE AS method, IS_VISIBLE AS visible
  FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`;
const TRIGGERS = `
  SELECT EVENT_OBJECT_TABLE AS t, TRIGGER_NAME AS name FROM information_schema.TRIGGERS
  WHERE EVENT_OBJECT_SCHEMA = ? ORDER BY TRIGGER_NAME`;
const FOREIGN_KEYS = `
  SELECT k.TABLE_NAME AS t, k.CONSTRAINT_NAME AS name, k.COLUMN_NAME AS child, k.REFERENCED_TABLE_SCHEMA AS parent_schema,
    k.REFERENCED_TABLE_NAME AS parent, k.REFERENCED_COLUMN_NAME AS parent_column, r.DELETE_RULE AS on_delete,
    r.UPDATE_RULE AS on_update
  FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
    ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
  WHERE k.TABLE_SCHEMA = ? AND k.REFERENCED_TABLE_NAME IS NOT NULL
  ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION`;
const PARTITIONS = `
  SELECT TABLE_NAME AS t, COUNT(*) AS partitions FROM information_schema.PARTITIONS
  WHERE TABLE_SCHEMA = ? AND PARTITION_NAME IS NOT NULL GROUP BY TABLE_NAME`;

function columnSpec(row: TextRow): ColumnSpec {
  const columnType = text(row, "column_type").replace(/^[a-z]+/i, (word) => word.toLowerCase());
  const dataType = text(row, "data_type").toLowerCase();
  const extra = text(row, "extra").toUpperCase();
  const modifiers = /\)?([a-z ]*)$/.exec(columnType)?.[1] ?? "";
  return {
    name: text(row, "name"),
    ordinal: Number(row["place"]) - 1,
    dataType,
    columnType,
    unsigned: modifiers.includes("unsigned"),
    zerofill: modifiers.includes("zerofill"),
    nullable: row["nullable"] === "YES",
    charset: row["charset_"] ?? null,
    collation: row["collation_"] ?? null,
    octetLength: numberOrNull(row["octets"]),
    precision: numberOrNull(row["precision_"]),
    scale: numberOrNull(row["scale"]),
    fraction: numberOrNull(row["fraction"]),
    labels: dataType === "enum" || dataType === "set" ? labelsOf(columnType) : null,
    generated: extra.includes("VIRTUAL GENERATED") ? "virtual" : extra.includes("STORED GENERATED") ? "stored" : "no",
  };
}

/** enum('a','it''s','c,d'): quotes are doubled, some characters stand behind a backslash. */
export function labelsOf(columnType: string): readonly string[] {
  const inside = columnType.slice(columnType.indexOf("(") + 1, columnType.lastIndexOf(")"));
  const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", "0": "\u0000", t: "\t" };
  return [...inside.matchAll(/'((?:[^'\\]|''|\\[\s\S])*)'(?:,|$)/g)].map((match) =>
    (match[1] ?? "").replace(/''|\\([\s\S])/g, (whole, escaped: string) =>
      whole === "''" ? "'" : (escapes[escaped] ?? escaped),
    ),
  );
}

function indexDefinition(rows: readonly TextRow[]): IndexDefinition {
  const [first = {}] = rows;
  return {
    name: text(first, "index_name"),
    unique: first["non_unique"] === "0",
    visible: first["visible"] === "YES",
    method: text(first, "method"),
    parts: rows.map((row) => ({
      column: row["name"] ?? null,
      prefixLength: numberOrNull(row["sub_part"]),
      order: row["order_"] === "A" ? "ascending" : row["order_"] === "D" ? "descending" : "none",
    })),
  };
}

function foreignKey(rows: readonly TextRow[]): ForeignKey {
  const [first = {}] = rows;
  return {
    name: text(first, "name"),
    columns: rows.map((row) => text(row, "child")),
    parentSchema: text(first, "parent_schema"),
    parentTable: text(first, "parent"),
    parentColumns: rows.map((row) => text(row, "parent_column")),
    onDelete: text(first, "on_delete"),
    onUpdate: text(first, "on_update"),
  };
}

function byTable(rows: readonly TextRow[]): ReadonlyMap<string, readonly TextRow[]> {
  return Map.groupBy(rows, (row) => text(row, "t"));
}

function grouped(rows: readonly TextRow[], by: string): readonly (readonly TextRow[])[] {
  return [...Map.groupBy(rows, (row) => text(row, by)).values()];
}

function text(row: TextRow, name: string): string {
  return row[name] ?? "";
}

function numberOrNull(value: string | null | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}
