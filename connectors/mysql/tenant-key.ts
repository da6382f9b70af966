import { DrayError } from "../../pipeline/errors.ts";
import { quoteIdentifier } from "./identifier.ts";
import { type ColumnSpec, type TableSpec, tenantColumn } from "./table-spec.ts";
import { literal } from "./values.ts";

/**
 * T1: the canonical bytes (W6) of the tenant key that the operator typed, as this column holds it. Integers by value
 * ("007" is 7), strings by their bytes ('acme' is not 'ACME', nor 'acme '), BINARY(n) from 2n hex digits, with or
 * without 0x, BINARY(16) from a UUID too, VARBINARY from 0x… or as text. Throws TENANT_KEY_INVALID.
 */
export function canonicalTenant(column: ColumnSpec, tenant: string): Uint8Array {
  const refuse = (reason: string) =>
    new DrayError("TENANT_KEY_INVALID", { column: column.name, type: column.columnType, reason });
  const bits = INTEGER_BITS[column.dataType];
  if (bits !== undefined) return integerTenant(column, tenant, bits, refuse);
  switch (column.dataType) {
    case "char":
    case "varchar":
      return stringTenant(column, tenant, refuse);
    case "binary":
    case "varbinary":
      return binaryTenant(column, tenant, refuse);
    default:
      throw refuse("a tenant column is an integer, CHAR, VARCHAR, BINARY or VARBINARY");
  }
}

/** As `RowPlan.tenant()` gives it: one character a byte. */
export function tenantText(canonical: Uint8Array): string {
  return Buffer.from(canonical.buffer, canonical.byteOffset, canonical.byteLength).toString("latin1");
}

/** The column as it stands for the index, its bytes for the truth (T1). `alias` stands before the column, unquoted. */
export function tenantPredicate(spec: TableSpec, tenant: string, alias?: string): string {
  const column = tenantColumn(spec);
  const name = `${alias === undefined ? "" : `${alias}.`}${quoteIdentifier(column.name)}`;
  const value = canonicalTenant(column, tenant);
  const throughIndex = `${name} = ${literal(column, value)}`;
  if (column.charset === null) return throughIndex;
  const hex = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex");
  return `(${throughIndex} AND CAST(${name} AS BINARY) = _binary x'${hex}')`;
}

type Refuse = (reason: string) => DrayError;

const INTEGER_BITS: Readonly<Record<string, bigint>> = {
  tinyint: 8n,
  smallint: 16n,
  mediumint: 24n,
  int: 32n,
  bigint: 64n,
};

function integerTenant(column: ColumnSpec, tenant: string, bits: bigint, refuse: Refuse): Uint8Array {
  if (!/^-?\d{1,40}$/.test(tenant)) throw refuse("not an integer");
  const value = BigInt(tenant);
  const lowest = column.unsigned ? 0n : -(1n << (bits - 1n));
  const highest = column.unsigned ? (1n << bits) - 1n : (1n << (bits - 1n)) - 1n;
  if (value < lowest || value > highest) throw refuse(`not between ${lowest} and ${highest}`);
  return Buffer.from(value.toString(), "latin1");
}

function stringTenant(column: ColumnSpec, tenant: string, refuse: Refuse): Uint8Array {
  const bytes = Buffer.from(tenant, "utf8");
  if (tenant === "" || bytes.toString("utf8") !== tenant) throw refuse("empty, or not valid Unicode");
  if (column.charset === "binary") throw refuse("a string column of character set binary");
  const plain = bytes.every((byte) => byte < 0x80);
  // latin1 is cp1252 to MySQL, and nobody's tenant keys are worth guessing.
  if (!plain && column.charset !== "utf8mb4" && column.charset !== "utf8mb3") {
    throw refuse(`only ASCII can be given for character set ${column.charset}`);
  }
  if (column.charset === "utf8mb3" && [...tenant].some((char) => (char.codePointAt(0) ?? 0) > 0xffff)) {
    throw refuse("a character that utf8mb3 does not have");
  }
  if (column.octetLength !== null && bytes.length > column.octetLength) throw refuse("longer than the column");
  if (column.dataType === "char" && tenant.endsWith(" ")) throw refuse("CHAR holds no trailing spaces");
  return bytes;
}

function binaryTenant(column: ColumnSpec, tenant: string, refuse: Refuse): Uint8Array {
  const length = column.octetLength ?? 0;
  const digits = tenant.replace(/^0x/i, "");
  if (column.dataType === "varbinary") {
    const bytes = /^0x([0-9a-f]{2})+$/i.test(tenant) ? Buffer.from(digits, "hex") : Buffer.from(tenant, "utf8");
    if (bytes.length === 0 || bytes.length > length) throw refuse("empty, or longer than the column");
    return bytes;
  }
  if (length === 16 && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(tenant)) {
    return Buffer.from(tenant.replaceAll("-", ""), "hex");
  }
  if (digits.length === 2 * length && /^[0-9a-f]+$/i.test(digits)) return Buffer.from(digits, "hex");
  throw refuse(`not ${2 * length} hex digits${length === 16 ? " or a UUID" : ""}`);
}
