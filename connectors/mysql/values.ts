import { carrierOf } from "./column-types.ts";
import { canonicalReal } from "./decimal-text.ts";
import { quoteIdentifier } from "./identifier.ts";
import { canonicalJson } from "./json-guard.ts";
import type { ColumnSpec } from "./table-spec.ts";

/**
 * `plain`: the fastest expression; for JSON, `fromSelect` then throws JSON_NEEDS_PROOF on text that could hide a value
 * that text cannot carry (a DATE inside JSON looks like a string). `proving`: the server compares each JSON value with
 * what its text reads back as; costs about 1.3 microseconds of the source's CPU a value. `comparing`: the same, but ''
 * stands for a value that its text does not carry instead of an error, as it equals no JSON (V1).
 */
export type SelectMode = "plain" | "proving" | "comparing";

/** Read the column's canonical bytes (W6) in a session with SESSION_SETTINGS, as text protocol Buffers. */
export function selectExpression(column: ColumnSpec, mode: SelectMode = "plain"): string {
  const name = quoteIdentifier(column.name);
  switch (carrierOf(column)) {
    case "integer":
      return column.zerofill ? `CAST(${name} AS UNSIGNED)` : name;
    case "decimal":
      return column.zerofill ? `CAST(${name} AS DECIMAL(${column.precision ?? 10},${column.scale ?? 0}))` : name;
    case "real":
      // FLOAT's own text has 6 digits, and a FLOAT or DOUBLE (M,D) prints D digits: a product is a plain DOUBLE.
      return `${name} * 1e0`;
    case "index":
      return `CAST(${name} AS UNSIGNED)`;
    case "string":
      // The session's results are utf8mb4: only these bytes pass without a conversion.
      return column.charset === "utf8mb4" ? name : `CAST(${name} AS BINARY)`;
    case "json":
      return mode === "plain"
        ? name
        : `IF(${name} = CAST(CAST(${name} AS CHAR CHARACTER SET utf8mb4) AS JSON), CAST(${name} AS CHAR CHARACTER SET utf8mb4), IF(${name} IS NULL, NULL, ''))`;
    default:
      return name;
  }
}

/** Of the bytes from `from` to `to`, never of NULL: the canonical bytes, or null where they are it already. */
export type Normalise = (raw: Uint8Array, from: number, to: number) => Uint8Array | null;

/**
 * What is left to do in the process to what `selectExpression` yields; null where nothing is, so that a hot loop can
 * skip it. Throws JSON_NEEDS_PROOF (read the range again in `proving` mode) and VALUE_REFUSED.
 */
export function fromSelect(column: ColumnSpec, mode: SelectMode = "plain"): Normalise | null {
  const carrier = carrierOf(column);
  if (carrier === "real") return (raw, from, to) => canonicalReal(raw.subarray(from, to));
  if (carrier === "json") return (raw, from, to) => canonicalJson({ bytes: raw, from, to }, column.name, mode);
  return null;
}

/** The canonical value of one that was read by itself. */
export function normalised(normalise: Normalise | null | undefined, raw: Uint8Array | null): Uint8Array | null {
  if (raw === null || !normalise) return raw;
  return normalise(raw, 0, raw.length) ?? raw;
}

/**
 * The character set that LOAD DATA reads the text as. utf8mb4 is faster where JSON is there, binary exact for bytes that
 * are no characters; one that is both is read as binary.
 */
export type LoadCharset = "utf8mb4" | "binary";

export function loadCharset(columns: readonly ColumnSpec[]): LoadCharset {
  const textual = (column: ColumnSpec) => {
    const carrier = carrierOf(column);
    return carrier === "bytes" ? false : carrier === "string" ? readsAsUtf8(column) : true;
  };
  return columns.every(textual) ? "utf8mb4" : "binary";
}

export type LoadTarget = { readonly list: string; readonly set?: string };

/** A column's places in LOAD DATA: in the column list, and in SET where the text is not the value. */
export function loadTarget(column: ColumnSpec, index: number, charset: LoadCharset): LoadTarget {
  const name = quoteIdentifier(column.name);
  const carrier = carrierOf(column);
  const variable = `@v${index}`;
  if (carrier === "index" && !takesIndexText(column)) {
    return { list: variable, set: `${name} = CAST(${variable} AS UNSIGNED)` };
  }
  if (carrier === "json" && charset === "binary") {
    return { list: variable, set: `${name} = CONVERT(${variable} USING utf8mb4)` };
  }
  return { list: name };
}

/** SQL around a `?` in VALUES; the parameter is the canonical bytes as a Buffer, which the server takes as binary. */
export function parameter(column: ColumnSpec): string {
  const carrier = carrierOf(column);
  if (carrier === "json") return "CONVERT(? USING utf8mb4)";
  if (carrier === "index" && !takesIndexText(column)) return `CAST(${ASCII} AS UNSIGNED)`;
  return "?";
}

// A bare `?` inside CAST is given the cast's own type, and the server then takes a 20-digit text for something smaller.
const ASCII = "CONVERT(? USING ascii)";

/**
 * SQL around a `?` that is compared with the column, so that the comparison is exact and an index serves it. A hex
 * literal may stand in the place of the `?`.
 */
export function comparableParameter(column: ColumnSpec): string {
  switch (carrierOf(column)) {
    case "integer":
      return `CAST(${ASCII} AS ${column.unsigned ? "UNSIGNED" : "SIGNED"})`;
    case "index":
    case "year":
      return `CAST(${ASCII} AS UNSIGNED)`;
    case "decimal":
      return `CAST(${ASCII} AS DECIMAL(${column.precision ?? 10},${column.scale ?? 0}))`;
    case "real":
      return `(${ASCII} * 1e0)`;
    case "temporal": {
      if (column.dataType === "date") return `CAST(${ASCII} AS DATE)`;
      return `CAST(${ASCII} AS ${column.dataType === "time" ? "TIME" : "DATETIME"}(${column.fraction ?? 0}))`;
    }
    case "string":
      return `CONVERT(? USING ${charsetOf(column)}) COLLATE ${collationOf(column)}`;
    case "json":
      return "CAST(CONVERT(? USING utf8mb4) AS JSON)";
    case "bytes":
      return "?";
  }
}

/** The canonical bytes as SQL, in VALUES and in WHERE; digits, or hex behind an introducer, never escaped text (A6). */
export function literal(column: ColumnSpec, value: Uint8Array | null): string {
  if (value === null) return "NULL";
  switch (carrierOf(column)) {
    case "integer":
    case "index":
      return checked(column, value, /^-?\d{1,20}$/);
    case "decimal":
      return checked(column, value, /^-?\d{1,65}(\.\d{1,30})?$/);
    case "year":
      return `'${checked(column, value, /^\d{4}$/)}'`;
    case "temporal":
      return `'${checked(column, value, /^[-0-9:. ]{8,27}$/)}'`;
    case "real": {
      const text = checked(column, value, /^-?\d+(\.\d+)?(e[-+]?\d+)?$/);
      return text.includes("e") ? text : `${text}e0`;
    }
    case "string":
      return `_${charsetOf(column)} x'${hex(value)}'`;
    case "bytes":
      return `_binary x'${hex(value)}'`;
    case "json":
      return `CAST(_utf8mb4 x'${hex(value)}' AS JSON)`;
  }
}

/**
 * An ENUM takes its number as text where no label can be meant by it: then, unlike by a number, index 0 (an invalid
 * value's '') can be written too. A label with an ASCII letter equals no run of digits in any collation. Elsewhere the
 * number is written as a number, and the server refuses index 0: loudly, never changed.
 */
export function takesIndexText(column: ColumnSpec): boolean {
  return (
    column.dataType === "enum" &&
    CHARSETS_OF_ASCII.includes(column.charset ?? "") &&
    (column.labels ?? []).length > 0 &&
    (column.labels ?? []).every((label) => /[A-Za-z]/.test(label))
  );
}

const CHARSETS_OF_ASCII: readonly string[] = ["utf8mb4", "utf8mb3", "ascii", "latin1"];

function readsAsUtf8(column: ColumnSpec): boolean {
  return column.charset === "utf8mb4" || column.charset === "utf8mb3" || column.charset === "ascii";
}

function charsetOf(column: ColumnSpec): string {
  return checkedName(column.charset);
}

function collationOf(column: ColumnSpec): string {
  return checkedName(column.collation);
}

function checkedName(name: string | null): string {
  if (name === null || !/^[a-z0-9_]+$/.test(name)) throw new RangeError(`not a character set or collation: ${name}`);
  return name;
}

function checked(column: ColumnSpec, value: Uint8Array, form: RegExp): string {
  const text = latin1(value);
  if (!form.test(text)) throw new RangeError(`not a canonical ${column.dataType} for column ${column.name}`);
  return text;
}

function hex(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex");
}

function latin1(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1");
}
