import { DrayError } from "../../pipeline/errors.ts";
import type { ColumnSpec, TableSpec } from "./table-spec.ts";

/**
 * How a type's canonical value (W6) is made. `text`: MySQL's own exact text. `real`: shortest text that reads back as
 * the same double. `index`: the number of an ENUM's label or a SET's or BIT's bits, as decimal text. `string`: the
 * column's own bytes. `bytes`: raw bytes. `json`: JSON text that MySQL reads back as an equal value.
 */
export type Carrier = "integer" | "decimal" | "temporal" | "year" | "real" | "index" | "string" | "bytes" | "json";

/** `ordered`: KeyBytes sort as MySQL does. `equal`: compared for equality only. `no`: refused in a primary key (W5). */
export type KeyUse = "ordered" | "equal" | "no";

export type TypeRule =
  | { readonly accepted: true; readonly carrier: Carrier; readonly key: KeyUse; readonly note: string }
  | { readonly accepted: false; readonly reason: string; readonly remedy: string };

function accept(carrier: Carrier, key: KeyUse, note: string): TypeRule {
  return { accepted: true, carrier, key, note };
}

const INTEGER = accept("integer", "ordered", "exact text; ZEROFILL without its padding");
const TEMPORAL = accept("temporal", "equal", "exact text in time zone +00:00; zero dates and all fraction digits kept");
const REAL = accept("real", "no", "shortest text that reads back as the same double; refused in keys");
const STRING = accept("string", "equal", "the column's own bytes");
const TEXT = accept("string", "no", "the column's own bytes; only a prefix can be a key, so refused there");
const BLOB = accept("bytes", "no", "raw bytes; only a prefix can be a key, so refused there");
const GEOMETRY: TypeRule = {
  accepted: false,
  reason: "spatial values are not carried yet",
  remedy: "Move the column to a table that is classified `ignore`, or keep the value as WKB in a BLOB.",
};

/** Every DATA_TYPE that MySQL 9.7 knows; one that is not here is refused as unknown. Preflight and README read it. */
export const COLUMN_TYPES: Readonly<Record<string, TypeRule>> = {
  tinyint: INTEGER,
  smallint: INTEGER,
  mediumint: INTEGER,
  int: INTEGER,
  bigint: INTEGER,
  decimal: accept("decimal", "equal", "exact text with all digits of the scale"),
  float: REAL,
  double: REAL,
  bit: accept("index", "equal", "decimal text of the unsigned value"),
  year: accept("year", "equal", "four digits; 0000 kept"),
  date: TEMPORAL,
  time: TEMPORAL,
  datetime: TEMPORAL,
  timestamp: TEMPORAL,
  char: STRING,
  varchar: STRING,
  tinytext: TEXT,
  text: TEXT,
  mediumtext: TEXT,
  longtext: TEXT,
  binary: accept("bytes", "ordered", "raw bytes, padded to the column's length"),
  varbinary: accept("bytes", "equal", "raw bytes"),
  tinyblob: BLOB,
  blob: BLOB,
  mediumblob: BLOB,
  longblob: BLOB,
  enum: accept("index", "equal", "the label's number, never the label"),
  set: accept("index", "no", "the labels' bits as a number, never the labels; refused in keys"),
  json: accept("json", "no", "JSON text that reads back as an equal value; a value it cannot carry stops the lane"),
  geometry: GEOMETRY,
  point: GEOMETRY,
  linestring: GEOMETRY,
  polygon: GEOMETRY,
  multipoint: GEOMETRY,
  multilinestring: GEOMETRY,
  multipolygon: GEOMETRY,
  geomcollection: GEOMETRY,
  geometrycollection: GEOMETRY,
  vector: {
    accepted: false,
    reason: "vectors are not carried yet",
    remedy: "Move the column to a table that is classified `ignore`, or keep the value in a VARBINARY.",
  },
};

/** Character sets whose bytes pass unchanged through SELECT, row image, LOAD DATA and parameters. */
export const CHARSETS: readonly string[] = ["utf8mb4", "utf8mb3", "ascii", "latin1", "binary"];

export type ColumnProblem = {
  readonly column: string;
  readonly type: string;
  readonly reason: string;
  readonly remedy: string;
};

/** Null where every road carries the column exactly. Generated columns are never carried, so any type may be one. */
export function columnProblem(column: ColumnSpec, inPrimaryKey: "key" | "plain"): ColumnProblem | null {
  const refuse = (reason: string, remedy: string) => ({
    column: column.name,
    type: column.columnType,
    reason,
    remedy,
  });
  if (column.generated !== "no") {
    if (inPrimaryKey === "plain") return null;
    return refuse("a generated column cannot be in the primary key", "Make the primary key of plain columns.");
  }
  const rule = COLUMN_TYPES[column.dataType];
  if (!rule)
    return refuse("this type is not known to this version", "Classify the table `ignore`, or change the type.");
  if (!rule.accepted) return refuse(rule.reason, rule.remedy);
  if (rule.carrier === "string" && !CHARSETS.includes(column.charset ?? "")) {
    return refuse(
      `character set ${column.charset} is not carried; carried are ${CHARSETS.join(", ")}`,
      `ALTER TABLE … MODIFY the column to CHARACTER SET utf8mb4, on both sides.`,
    );
  }
  if (inPrimaryKey === "key" && rule.key === "no") {
    return refuse("this type cannot be in the primary key of a table that moves", "Use an integer or binary key.");
  }
  return null;
}

/** All of a table's problems, in column order. */
export function columnProblems(spec: Pick<TableSpec, "columns" | "primaryKey">): readonly ColumnProblem[] {
  return spec.columns.flatMap((column) => {
    const problem = columnProblem(column, spec.primaryKey.includes(column.name) ? "key" : "plain");
    return problem ? [problem] : [];
  });
}

/** How an accepted column is carried. Throws COLUMN_REFUSED for any other, so that nothing lossy can pass. */
export function carrierOf(column: ColumnSpec): Carrier {
  const problem = columnProblem(column, "plain");
  if (problem) throw new DrayError("COLUMN_REFUSED", problem);
  const rule = COLUMN_TYPES[column.dataType];
  if (!rule?.accepted) throw new DrayError("COLUMN_REFUSED", { column: column.name, type: column.columnType });
  return rule.carrier;
}

/** Throws COLUMN_REFUSED for the first problem; preflight lists all by `columnProblems`. */
export function requireColumns(spec: TableSpec): void {
  for (const problem of columnProblems(spec)) {
    throw new DrayError("COLUMN_REFUSED", { table: `${spec.schema}.${spec.name}`, ...problem });
  }
}
