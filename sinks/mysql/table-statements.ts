import { carrierOf } from "../../connectors/mysql/column-types.ts";
import { quoteIdentifier, quoteTable } from "../../connectors/mysql/identifier.ts";
import type { CanonicalRow } from "../../connectors/mysql/row-codec.ts";
import {
  type ColumnSpec,
  carriedColumns,
  keyColumns,
  type TableSpec,
  tenantColumn,
} from "../../connectors/mysql/table-spec.ts";
import { canonicalTenant, tenantPredicate } from "../../connectors/mysql/tenant-key.ts";
import { parameter } from "../../connectors/mysql/values.ts";
import { isConstant, isParameter, sameValue } from "./guard.ts";

/** Rows of one statement are a power of two, so that a session prepares few shapes; more than this gains nothing. */
export const MAX_STATEMENT_ROWS = 256;
const MAX_PARAMETERS = 60_000;
const NEW = "dray_new";

export type Bytes = Uint8Array | null;

/** The statements that write one table of one tenant, guard and all (A1). Knows SQL, runs nothing. */
export class TableStatements {
  readonly id: string;
  readonly spec: TableSpec;
  readonly columns: readonly ColumnSpec[];
  readonly maxRows: number;
  readonly table: string;
  /** The tenant's rows, through the index and to the byte (T1). */
  readonly ownRows: string;
  readonly #tenant: Uint8Array;
  readonly #tenantAt: number;
  readonly #keys: readonly ColumnSpec[];
  readonly #keyAt: readonly number[];
  readonly #ownGuard: string;
  readonly #keyCondition: { readonly sql: string; readonly twice: readonly boolean[] };
  readonly #upserts = new Map<number, string>();
  readonly #deletes = new Map<number, string>();
  readonly #foreign = new Map<number, string>();

  constructor(options: { readonly id: string; readonly spec: TableSpec; readonly tenant: string }) {
    const { id, spec } = options;
    const tenant = canonicalTenant(tenantColumn(spec), options.tenant);
    this.id = id;
    this.spec = spec;
    this.columns = carriedColumns(spec);
    this.table = quoteTable(spec.targetSchema, spec.name);
    this.#tenant = tenant;
    const owner = tenantColumn(spec);
    const place = (column: ColumnSpec) => this.columns.findIndex(({ name }) => name === column.name);
    this.#tenantAt = place(owner);
    this.#keys = keyColumns(spec);
    this.#keyAt = this.#keys.map(place);
    if (this.#keys.length === 0 || this.#keyAt.includes(-1) || this.#tenantAt === -1) {
      throw new RangeError(`${id}: key and tenant column must be carried`);
    }
    this.#ownGuard = isConstant(owner, `t.${quoteIdentifier(owner.name)}`, tenant);
    this.ownRows = tenantPredicate(spec, options.tenant, "t");
    const parts = this.#keys.map((key) => isParameter(key, `t.${quoteIdentifier(key.name)}`));
    this.#keyCondition = {
      sql: `(${parts.map(({ sql }) => sql).join(" AND ")})`,
      twice: parts.map(({ parameters }) => parameters === 2),
    };
    const perRow = Math.max(this.columns.length, 2 * this.#keys.length);
    this.maxRows = 2 ** Math.floor(Math.log2(Math.min(MAX_STATEMENT_ROWS, MAX_PARAMETERS / perRow)));
  }

  isOwn(row: CanonicalRow): boolean {
    const value = row[this.#tenantAt];
    return value instanceof Uint8Array && Buffer.compare(value, this.#tenant) === 0;
  }

  /** The primary key, for errors and status. */
  keyLabel(row: CanonicalRow): string {
    return this.#keyAt
      .map((at, i) => {
        const value = row[at];
        if (!value) return "NULL";
        const raw = carrierOf(this.#keys[i] as ColumnSpec) === "bytes";
        return Buffer.from(value).toString(raw ? "hex" : "utf8");
      })
      .join(",");
  }

  keyColumns(): readonly ColumnSpec[] {
    return this.#keys;
  }

  keyOf(row: CanonicalRow): readonly Bytes[] {
    return this.#keyAt.map((at) => row[at] ?? null);
  }

  /** A row that is not exactly this one of this tenant, met by any unique key, raises an error and changes nothing. */
  upsert(rows: number): string {
    return cached(this.#upserts, rows, () => {
      const names = this.columns.map(({ name }) => quoteIdentifier(name));
      const one = `(${this.columns.map(parameter).join(",")})`;
      return (
        `INSERT INTO ${this.table} (${names.join(",")}) VALUES ${repeat(one, rows)} AS ${NEW} ` +
        `ON DUPLICATE KEY UPDATE ${this.#assignments().join(", ")}`
      );
    });
  }

  /** By primary key, whatever the optimizer thinks of a small table: a scan would wait for neighbours' rows. */
  delete(keys: number): string {
    return cached(
      this.#deletes,
      keys,
      () =>
        `DELETE /*+ INDEX(t PRIMARY) */ FROM ${this.table} AS t WHERE (${this.#anyKey(keys)}) AND ${this.#ownGuard}`,
    );
  }

  /** Of these keys, those that stand for a row of another tenant. */
  foreign(keys: number): string {
    return cached(this.#foreign, keys, () => {
      const names = this.#keys.map(({ name }) => `t.${quoteIdentifier(name)}`).join(",");
      const where = `(${this.#anyKey(keys)}) AND NOT (${this.#ownGuard})`;
      return `SELECT /*+ INDEX(t PRIMARY) */ ${names} FROM ${this.table} AS t WHERE ${where} LIMIT 1`;
    });
  }

  keyParameters(keys: readonly (readonly Bytes[])[]): Bytes[] {
    const { twice } = this.#keyCondition;
    const out: Bytes[] = [];
    for (const key of keys) {
      key.forEach((value, i) => {
        out.push(value);
        if (twice[i]) out.push(value);
      });
    }
    return out;
  }

  #anyKey(keys: number): string {
    return repeat(this.#keyCondition.sql, keys, " OR ");
  }

  // A1: both branches have the column's own type, for a DOUBLE would change ids above 2^53; the term of LENGTH keeps the
  // overflow from being folded into a constant, which would raise it for good rows too.
  #assignments(): string[] {
    const [first] = this.#keys;
    if (!first) throw new RangeError(`${this.id} has no primary key`);
    const old = (column: ColumnSpec) => `${this.table}.${quoteIdentifier(column.name)}`;
    const fresh = (column: ColumnSpec) => `${NEW}.${quoteIdentifier(column.name)}`;
    const owner = tenantColumn(this.spec);
    const same = [owner, ...this.#keys.filter((key) => key.name !== owner.name)].map((column) =>
      sameValue(column, old(column), fresh(column)),
    );
    const guard = `(${same.join(" AND ")}) OR EXP(710 + 0 * LENGTH(${old(first)})) > 0`;
    const rest = this.columns.filter((column) => column.name !== owner.name && !this.#keys.includes(column));
    return [
      `${quoteIdentifier(first.name)} = IF(${guard}, ${fresh(first)}, ${fresh(first)})`,
      ...rest.map((column) => `${quoteIdentifier(column.name)} = ${fresh(column)}`),
    ];
  }
}

function repeat(text: string, times: number, separator = ","): string {
  return Array.from({ length: times }, () => text).join(separator);
}

function cached(cache: Map<number, string>, size: number, make: () => string): string {
  const known = cache.get(size) ?? make();
  cache.set(size, known);
  return known;
}
