import type { LaneSource } from "../../pipeline/source.ts";
import { type MysqlSession, quoteIdentifier, quoteTable } from "./client.ts";
import { tableSpec } from "./table-spec.ts";
import { tenantPredicate } from "./tenant-key.ts";

/** Up to here counting costs some hundredths of a second. */
const COUNTED_ROWS = 200_000;

/**
 * The tenant's rows per table: counted where they are not many, as the optimizer's guess of a small table may be off by
 * any factor, else that guess, from index dives.
 */
export async function estimateRows(
  session: MysqlSession,
  source: LaneSource,
  signal: AbortSignal,
): Promise<Readonly<Record<string, number>>> {
  const estimates: Record<string, number> = {};
  for (const table of source.tables) {
    const spec = tableSpec(table);
    const rows =
      `FROM ${quoteTable(spec.schema, spec.name)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)}) ` +
      `WHERE ${tenantPredicate(spec, source.tenant)}`;
    const [counted] = await session.query<{ rows: string }>(
      `SELECT COUNT(*) AS \`rows\` FROM (SELECT 1 ${rows} LIMIT ${COUNTED_ROWS}) AS some`,
      signal,
    );
    estimates[table.id] = Number(counted?.rows ?? 0);
    if (Number(counted?.rows) < COUNTED_ROWS) continue;
    const [guess] = await session.query<{ rows: string | null }>(`EXPLAIN FORMAT=TRADITIONAL SELECT 1 ${rows}`, signal);
    estimates[table.id] = Math.max(COUNTED_ROWS, Number(guess?.rows ?? 0));
  }
  return estimates;
}

/** How long the server keeps its binary log; null where it never purges by age. */
export async function retentionSeconds(session: MysqlSession, signal: AbortSignal): Promise<number | null> {
  const [row] = await session.query<{ seconds: string }>(
    "SELECT @@global.binlog_expire_logs_seconds AS seconds",
    signal,
  );
  const seconds = Number(row?.seconds ?? 0);
  return seconds > 0 ? seconds : null;
}
