import { COLUMN_TYPES, carrierOf } from "../../connectors/mysql/column-types.ts";
import type { ColumnSpec } from "../../connectors/mysql/table-spec.ts";
import { comparableParameter } from "../../connectors/mysql/values.ts";
import { DrayError } from "../../pipeline/errors.ts";

/**
 * SQL that two values of a column are the same bytes (A1, T1): collations take 'acme' for 'ACME', and an ENUM's labels
 * are compared by theirs. Throws GUARD_TYPE for a type whose guard was not tested.
 */
export function sameValue(column: ColumnSpec, left: string, right: string): string {
  switch (guardForm(column)) {
    case "bytes":
      return `CAST(${left} AS BINARY) <=> CAST(${right} AS BINARY)`;
    case "index":
      return `CAST(${left} AS UNSIGNED) <=> CAST(${right} AS UNSIGNED)`;
    case "value":
      return `${left} <=> ${right}`;
  }
}

/** SQL around one `?`: the column holds exactly these canonical bytes, found through its index. */
export function isParameter(column: ColumnSpec, name: string): { readonly sql: string; readonly parameters: 1 | 2 } {
  const byIndex = `${name} = ${comparableParameter(column)}`;
  if (guardForm(column) !== "bytes") return { sql: byIndex, parameters: 1 };
  return { sql: `(${byIndex} AND CAST(${name} AS BINARY) = ?)`, parameters: 2 };
}

/** SQL that the column holds exactly these canonical bytes, whichever index is used for it or none. */
export function isConstant(column: ColumnSpec, name: string, value: Uint8Array): string {
  const hex = `x'${Buffer.from(value).toString("hex")}'`;
  switch (guardForm(column)) {
    case "bytes":
      return `CAST(${name} AS BINARY) <=> ${hex}`;
    case "index":
      return `CAST(${name} AS UNSIGNED) <=> CAST(${hex} AS UNSIGNED)`;
    case "value":
      return `${name} <=> ${comparableParameter(column).replace("?", hex)}`;
  }
}

function guardForm(column: ColumnSpec): "bytes" | "index" | "value" {
  if (COLUMN_TYPES[column.dataType]?.accepted !== true) throw refused(column);
  switch (carrierOf(column)) {
    case "string":
    case "bytes":
      return "bytes";
    case "index":
      return "index";
    case "integer":
    case "decimal":
    case "temporal":
    case "year":
      return "value";
    default:
      throw refused(column);
  }
}

function refused(column: ColumnSpec): DrayError {
  return new DrayError("GUARD_TYPE", { column: column.name, type: column.columnType });
}
