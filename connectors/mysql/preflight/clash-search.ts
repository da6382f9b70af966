import type { RawRow } from "../client.ts";
import { COLUMN_TYPES } from "../column-types.ts";
import { notTenantPredicate, sourceTable, targetTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { type ColumnSpec, keyColumns, type TableSpec } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { literal, selectExpression } from "../values.ts";
import { liveTable, type MysqlPreflightContext } from "./context.ts";
import type { LiveTable } from "./live-schema.ts";
import { between, pageOfTenant, tenantRows } from "./tenant-pages.ts";

/** A stretch is that many pages of the tenant's keys, asked about in one question. */
const STRETCH_PAGES = 10;
/** A question looks at this many target rows for each key it asks about, or gives no answer. */
const EXAMINED_PER_KEY = 4;
/** After unanswered questions the next pages are looked up unasked: 10, 20, … up to 320 of them. */
const MOST_DOUBLINGS = 5;
const ORDERED: readonly string[] = ["integer", "decimal", "temporal", "string", "bytes"];
/** Of a whole table, the ends of text are nearly always everybody's. */
const WORTH_ITS_ENDS: readonly string[] = ["integer", "decimal", "temporal"];

export type ClashOptions = {
  readonly context: MysqlPreflightContext;
  readonly spec: TableSpec;
  /** Of the primary key, or of a unique index. */
  readonly columns: readonly ColumnSpec[];
  readonly signal: AbortSignal;
};

/**
 * Primary keys of the tenant's source rows whose values in some columns a row of another tenant holds in the target, by
 * the collations of the target. NULL clashes with nothing. Exact; the rows are looked up one by one only where cheaper
 * questions leave it open: is anybody's row among the tenant's keys at all; are there so few that looking them up at the
 * source is less; is one in this stretch of keys, of the remainder that all the tenant's ids there leave?
 */
export class ClashSearch {
  readonly #context: MysqlPreflightContext;
  readonly #spec: TableSpec;
  readonly #columns: readonly ColumnSpec[];
  readonly #keys: readonly ColumnSpec[];
  readonly #signal: AbortSignal;
  readonly #isPrimary: boolean;
  /** Null where the sides would order or compare the values differently: then every row is looked up. */
  readonly #index: string | null;
  readonly #found: RawRow[] = [];

  constructor({ context, spec, columns, signal }: ClashOptions) {
    this.#context = context;
    this.#spec = spec;
    this.#columns = columns;
    this.#keys = keyColumns(spec);
    this.#signal = signal;
    this.#isPrimary = columns.map(({ name }) => name).join("\0") === spec.primaryKey.join("\0");
    this.#index = indexOnBothSides(context, spec, columns);
  }

  /** One more than the context's limit for listing at most, in no order where there are more. */
  async run(): Promise<readonly RawRow[]> {
    const range = this.#index === null ? null : await this.#range();
    if (range === "nothing") return [];
    if (range !== null) {
      const rows = EXAMINED_PER_KEY * this.#context.limits.batchKeys;
      const { examined, foreign } = await this.#examine(range, rows);
      if (examined < rows) {
        if (foreign > 0) await this.#lookUpForeign(range);
        return this.#found;
      }
    }
    await this.#pages();
    return this.#found;
  }

  get #isFull(): boolean {
    return this.#found.length > this.#context.limits.listedKeys;
  }

  /** SQL for where the tenant's values lie in the target; TRUE where that is not worth finding out. */
  async #range(): Promise<string | "nothing"> {
    const { source, tenant } = this.#context;
    if (this.#isPrimary) {
      const names = this.#keys.map((column) => selectExpression(column)).join(", ");
      const rows = tenantRows({ context: this.#context, spec: this.#spec, after: null });
      const [first] = await this.#firstKey();
      const backwards = this.#keys.map((column) => `${quoteIdentifier(column.name)} DESC`).join(", ");
      const [last] = await source.raw(
        `SELECT ${names} ${rows.replace(/ ORDER BY .*$/s, "")} ORDER BY ${backwards} LIMIT 1`,
      );
      return first && last ? between(this.#keys, first, last) : "nothing";
    }
    const [lead] = this.#columns;
    if (!lead || !WORTH_ITS_ENDS.includes(carrier(lead))) return "TRUE";
    const value = selectExpression(lead);
    const [ends] = await source.raw(
      `SELECT MIN(${value}), MAX(${value}) FROM ${sourceTable(this.#spec)} FORCE INDEX (${quoteIdentifier(this.#spec.pagingIndex)})
        WHERE ${tenantPredicate(this.#spec, tenant)}`,
    );
    const [lowest, highest] = ends ?? [];
    return lowest && highest ? between([lead], [lowest], [highest]) : "nothing";
  }

  /** Of the first so many target rows in a range, how many are another tenant's and, where asked, of a kind. */
  async #examine(range: string, rows: number, kind = "TRUE"): Promise<{ examined: number; foreign: number }> {
    const { target, tenant } = this.#context;
    // The remainder first: it costs less than the tenant's bytes.
    const foreign = `(${kind} AND ${notTenantPredicate(this.#spec, tenant)})`;
    const [row] = await target.rows(
      `SELECT COUNT(*) examined_, COALESCE(SUM(foreign_), 0) foreign_ FROM (
        SELECT ${foreign} foreign_ FROM ${targetTable(this.#spec)} ${this.#forced()} WHERE ${range} LIMIT ${rows}) t`,
    );
    return { examined: Number(row?.["examined_"]), foreign: Number(row?.["foreign_"]) };
  }

  #forced(): string {
    return this.#index === null ? "" : `FORCE INDEX (${quoteIdentifier(this.#index)})`;
  }

  /** The other way round: the few rows of others are looked up among the tenant's. */
  async #lookUpForeign(range: string): Promise<void> {
    const { source, target, tenant, limits } = this.#context;
    const rows = await target.raw(
      `SELECT ${this.#columns.map((column) => selectExpression(column)).join(", ")}
         FROM ${targetTable(this.#spec)} ${this.#forced()}
        WHERE ${range} AND ${notTenantPredicate(this.#spec, tenant)} AND ${this.#names("IS NOT NULL")}
        ORDER BY ${this.#columns.map((column) => quoteIdentifier(column.name)).join(", ")}`,
    );
    for (let at = 0; at < rows.length && !this.#isFull; at += limits.batchKeys) {
      this.#signal.throwIfAborted();
      const tuples = rows.slice(at, at + limits.batchKeys).map((row) => this.#tuple(row));
      const hits = await source.raw(
        `SELECT ${this.#keys.map((column) => selectExpression(column)).join(", ")} FROM ${sourceTable(this.#spec)}
          WHERE (${this.#names("")}) IN (${tuples.join(", ")}) AND ${tenantPredicate(this.#spec, tenant)}
          ORDER BY ${this.#keys.map((column) => quoteIdentifier(column.name)).join(", ")} LIMIT ${limits.listedKeys + 1}`,
      );
      this.#found.push(...hits);
    }
  }

  async #pages(): Promise<void> {
    let after: RawRow | null = null;
    let misses = 0;
    let unasked = this.#isPrimary && this.#index !== null ? 0 : Number.POSITIVE_INFINITY;
    let next: Promise<readonly RawRow[]> | null = null;
    while (!this.#isFull) {
      this.#signal.throwIfAborted();
      if (unasked <= 0 && next === null) {
        const stretch = await this.#freeStretch(after);
        if (stretch.free) {
          if (stretch.last === null) return;
          misses = 0;
          after = stretch.last;
          continue;
        }
        unasked = STRETCH_PAGES * 2 ** Math.min(misses++, MOST_DOUBLINGS);
      }
      const page: readonly RawRow[] = await (next ?? this.#page(after));
      after = page.at(-1) ?? null;
      unasked--;
      const isLast = page.length < this.#context.limits.batchKeys;
      // The source reads the next page while the target looks this one up.
      next = isLast || unasked <= 0 ? null : this.#page(after);
      next?.catch(() => {}); // awaited above, unless the search has ended
      await this.#lookUp(page);
      if (isLast) return;
    }
  }

  #page(after: RawRow | null): Promise<readonly RawRow[]> {
    const columns = [...this.#keys, ...this.#columns];
    return pageOfTenant({ ...this.#options(), columns, after, rows: this.#context.limits.batchKeys });
  }

  /** Whether the target has nobody's row among the tenant's next keys; `last` is null where there are no more. */
  async #freeStretch(after: RawRow | null): Promise<{ free: boolean; last: RawRow | null }> {
    const keys = STRETCH_PAGES * this.#context.limits.batchKeys;
    const { last, kind } = await this.#stretch(after, keys);
    if (last === null) return { free: true, last };
    // From the last key of the stretch before, which is known to be free: one row more than need be, in a simpler range.
    const [first] = after === null ? await this.#firstKey() : [after];
    const examined = EXAMINED_PER_KEY * keys;
    const found = await this.#examine(between(this.#keys, first ?? last, last), examined, kind);
    return { free: found.examined < examined && found.foreign === 0, last };
  }

  /** The last of the tenant's next keys, and what of a target row's key would have to hold for it to be one of them. */
  async #stretch(after: RawRow | null, keys: number): Promise<{ last: RawRow | null; kind: string }> {
    const { source } = this.#context;
    const names = this.#keys.map((column) => quoteIdentifier(column.name));
    const page = `(SELECT ${names.join(", ")} ${tenantRows({ ...this.#options(), after })} LIMIT ${keys}) page`;
    const values = this.#keys.map((column) => selectExpression(column));
    const remainder = await this.#remainder();
    if (remainder === null) {
      const backwards = names.map((name) => `${name} DESC`).join(", ");
      const [last] = await source.raw(`SELECT ${values.join(", ")} FROM ${page} ORDER BY ${backwards} LIMIT 1`);
      return { last: last ?? null, kind: "TRUE" };
    }
    const [row] = await source.raw(`SELECT MAX(${values[0]}), MIN(${remainder}), MAX(${remainder}) FROM ${page}`);
    const [last, least, most] = row ?? [];
    const kind = least && most && least.equals(most) ? `${remainder} = ${least}` : "TRUE";
    return { last: last ? [last] : null, kind };
  }

  async #firstKey(): Promise<readonly RawRow[]> {
    return this.#context.source.raw(
      `SELECT ${this.#keys.map((column) => selectExpression(column)).join(", ")} ${tenantRows({ ...this.#options(), after: null })} LIMIT 1`,
    );
  }

  /**
   * C9: where servers give out ids in steps, all of a tenant's leave the same remainder, and its neighbours' another.
   * Null for keys that no server counts.
   */
  async #remainder(): Promise<string | null> {
    const [only, ...others] = this.#keys;
    if (!only || others.length > 0 || carrier(only) !== "integer") return null;
    const { source, target } = this.#context;
    const steps = await Promise.all([source, target].map((server) => server.variable("auto_increment_increment")));
    let [a, b] = steps.map((step) => Number(step ?? 1)) as [number, number];
    while (b !== 0) [a, b] = [b, a % b];
    return `MOD(${quoteIdentifier(only.name)}, ${Math.max(a, 1)})`;
  }

  async #lookUp(page: readonly RawRow[]): Promise<void> {
    const { target, tenant } = this.#context;
    const values = (row: RawRow) => row.slice(this.#keys.length);
    const whole = page.filter((row) => values(row).every((value) => value !== null));
    if (whole.length === 0) return;
    const clash = async (rows: readonly RawRow[]) => {
      const [hit] = await target.rows(
        `SELECT 1 FROM ${targetTable(this.#spec)}
          WHERE (${this.#names("")}) IN (${rows.map((row) => this.#tuple(values(row))).join(", ")})
            AND ${notTenantPredicate(this.#spec, tenant)} LIMIT 1`,
      );
      return hit !== undefined;
    };
    if (!(await clash(whole))) return;
    // Only in a page that clashes is each key looked up on its own, so that it can be named.
    for (const row of whole) {
      if (await clash([row])) this.#found.push(row.slice(0, this.#keys.length));
      if (this.#isFull) return;
    }
  }

  #names(test: "" | "IS NOT NULL"): string {
    const names = this.#columns.map((column) => quoteIdentifier(column.name));
    return test === "" ? names.join(", ") : names.map((name) => `${name} ${test}`).join(" AND ");
  }

  #tuple(row: RawRow): string {
    return `(${this.#columns.map((column, i) => literal(column, row[i] ?? null)).join(", ")})`;
  }

  #options() {
    return { context: this.#context, spec: this.#spec };
  }
}

function carrier(column: ColumnSpec): string {
  const rule = COLUMN_TYPES[column.dataType];
  return rule?.accepted ? rule.carrier : "none";
}

/** The target's index on these columns, where both sides order and compare them in the same way. */
function indexOnBothSides(
  context: MysqlPreflightContext,
  spec: TableSpec,
  columns: readonly ColumnSpec[],
): string | null {
  const source = liveTable(context, "source", spec.schema, spec.name);
  const target = liveTable(context, "target", spec.schema, spec.name);
  if (!source || !target) return null;
  const same = (column: ColumnSpec) => {
    const [ours, theirs] = [source, target].map((table) => columnOf(table, column.name));
    return ours !== undefined && ours === theirs && ORDERED.includes(carrier(column));
  };
  if (!columns.every(same)) return null;
  const names = columns.map(({ name }) => name).join("\0");
  return target.indexes.find((index) => index.visible && index.columns.join("\0") === names)?.name ?? null;
}

function columnOf(table: LiveTable, name: string): string | undefined {
  const column = table.columns.find((candidate) => candidate.name === name);
  return column && `${column.type} ${column.charset} ${column.collation}`;
}
