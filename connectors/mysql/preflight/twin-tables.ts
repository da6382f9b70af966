import { randomBytes } from "node:crypto";
import type { MysqlSession } from "../client.ts";
import { carrierOf } from "../column-types.ts";
import { sourceTable, targetTable } from "../foreign-rows.ts";
import { quoteIdentifier, quoteTable } from "../identifier.ts";
import { type ColumnSpec, carriedColumns, keyColumns, type TableSpec } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import type { Side } from "./server-view.ts";

/** A covered table's shape in Drayage's own schema of both sides, for rows to travel between. */
export type Twin = { readonly id: string; readonly original: TableSpec; readonly spec: TableSpec };

const PREFIX = "twin_";
/** A preflight that crashed leaves its twins; one that runs is done with its own long before. */
const LEFT_OVER_MINUTES = 5;
/** Rows at each end of the tenant's keys among which the extremes are looked for, less where rows are large. */
const MOST_CANDIDATES = 100;
const FEWEST_CANDIDATES = 8;
const CANDIDATE_BYTES = 2 * 1024 * 1024;
const ORDINARY_ROWS = 8;

export function twinsOf(specs: readonly TableSpec[], draySchema: Readonly<Record<Side, string>>): readonly Twin[] {
  const run = randomBytes(6).toString("hex");
  return specs.map((original, i) => ({
    id: `${original.schema}.${original.name}`,
    original,
    spec: { ...original, schema: draySchema.source, targetSchema: draySchema.target, name: `${PREFIX}${run}_${i}` },
  }));
}

/** With all columns, indexes and checks of the original; without its foreign keys and triggers. */
export async function createTwin(session: MysqlSession, side: Side, twin: Twin, signal: AbortSignal): Promise<void> {
  const [of, table] =
    side === "source"
      ? [sourceTable(twin.original), sourceTable(twin.spec)]
      : [targetTable(twin.original), targetTable(twin.spec)];
  await session.run(`CREATE TABLE ${table} LIKE ${of}`, signal);
}

export async function dropTwins(
  session: MysqlSession,
  side: Side,
  twins: readonly Twin[],
  signal: AbortSignal,
): Promise<void> {
  const names = twins.map(({ spec }) => (side === "source" ? sourceTable(spec) : targetTable(spec)));
  if (names.length > 0) await session.run(`DROP TABLE IF EXISTS ${names.join(", ")}`, signal);
}

/** What an earlier preflight left behind when it, or its server, was killed. */
export async function sweepTwins(session: MysqlSession, draySchema: string, signal: AbortSignal): Promise<void> {
  const left = await session.executeQuery<{ name: string }>(
    `SELECT TABLE_NAME AS name FROM information_schema.TABLES
      WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE ? AND CREATE_TIME < NOW() - INTERVAL ${LEFT_OVER_MINUTES} MINUTE`,
    [draySchema, `${PREFIX.replace("_", "\\_")}%`],
    signal,
  );
  const names = left.map(({ name }) => quoteTable(draySchema, name));
  if (names.length > 0) await session.run(`DROP TABLE IF EXISTS ${names.join(", ")}`, signal);
}

/** Rows at each end of a tenant's keys that are worth looking at, by the twin's id. */
export async function candidateCounts(
  session: MysqlSession,
  twins: readonly Twin[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const schemas = [...new Set(twins.map(({ original }) => original.schema))];
  const rows = await session.executeQuery<{ id: string; bytes: string | null }>(
    `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS id, AVG_ROW_LENGTH AS bytes FROM information_schema.TABLES
      WHERE TABLE_SCHEMA IN (${schemas.map(() => "?").join(", ")})`,
    schemas,
    signal,
  );
  const bytes = new Map(rows.map((row) => [row.id, Math.max(1, Number(row.bytes ?? 1))]));
  const fitting = (id: string) => Math.floor(CANDIDATE_BYTES / (bytes.get(id) ?? 1));
  return new Map(twins.map(({ id }) => [id, Math.max(FEWEST_CANDIDATES, Math.min(MOST_CANDIDATES, fitting(id)))]));
}

/**
 * Copies a few of the tenant's rows into the source's twin, on the server itself: of a hundred at each end of its
 * keys those with the shortest and the longest, the lowest and the highest value and a NULL of each column, and a
 * handful more. Locks nothing of the original, as READ COMMITTED reads. Returns how many.
 */
export async function copySample(
  session: MysqlSession,
  { twin, tenant, rows }: { readonly twin: Twin; readonly tenant: string; readonly rows: number },
  signal: AbortSignal,
): Promise<number> {
  const { original, spec } = twin;
  const names = carriedColumns(spec).map((column) => quoteIdentifier(column.name));
  const keys = keyColumns(original).map((column) => quoteIdentifier(column.name));
  const { affectedRows } = await session.run(
    `INSERT INTO ${sourceTable(spec)} (${names.join(", ")})
      WITH candidate AS (${candidateRows(original, tenant, rows)}), chosen AS (${chosenKeys(original)})
      SELECT ${names.map((name) => `t.${name}`).join(", ")} FROM chosen STRAIGHT_JOIN ${sourceTable(original)} t
          ON ${keys.map((name, i) => `t.${name} = chosen.k${i}`).join(" AND ")}
       WHERE ${tenantPredicate(original, tenant, "t")}`,
    signal,
  );
  return affectedRows;
}

function candidateRows(spec: TableSpec, tenant: string, rows: number): string {
  const keys = keyColumns(spec).map((column) => quoteIdentifier(column.name));
  const columns = [
    ...keys.map((name, i) => `${name} k${i}`),
    ...carriedColumns(spec).map((column, i) => `${extreme(column)} e${i}`),
  ];
  const end = (order: "ASC" | "DESC") =>
    `(SELECT ${columns.join(", ")} FROM ${sourceTable(spec)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)})
       WHERE ${tenantPredicate(spec, tenant)} ORDER BY ${keys.map((name) => `${name} ${order}`).join(", ")} LIMIT ${rows})`;
  return `${end("ASC")} UNION ALL ${end("DESC")}`;
}

function chosenKeys(spec: TableSpec): string {
  const keys = keyColumns(spec)
    .map((_, i) => `k${i}`)
    .join(", ");
  const one = (rest: string) => `(SELECT ${keys} FROM candidate ${rest} LIMIT 1)`;
  const extremes = carriedColumns(spec).flatMap((column, i) => [
    one(`ORDER BY e${i} DESC`),
    one(`WHERE e${i} IS NOT NULL ORDER BY e${i}`),
    ...(column.nullable ? [one(`WHERE e${i} IS NULL`)] : []),
  ]);
  return [`(SELECT ${keys} FROM candidate LIMIT ${ORDINARY_ROWS})`, ...extremes].join(" UNION ");
}

/** What a column's extremes are extremes of: the length of what has one, the value of what has none. */
function extreme(column: ColumnSpec): string {
  const name = quoteIdentifier(column.name);
  switch (carrierOf(column)) {
    case "string":
    case "bytes":
      return `LENGTH(${name})`;
    case "json":
      return `JSON_STORAGE_SIZE(${name})`;
    case "index":
      return `${name} + 0`;
    default:
      return name;
  }
}
