import type { LaneSource } from "../../pipeline/source.ts";
import { type MysqlSession, quoteIdentifier, quoteTable } from "./client.ts";
import { tableSpec } from "./table-spec.ts";
import { tenantPredicate } from "./tenant-key.ts";

/** The optimizer's guess of the tenant's rows per table: index dives, no row is read. */
export async function estimateRows(
  session: MysqlSession,
  source: LaneSource,
  signal: AbortSignal,
): Promise<Readonly<Record<string, number>>> {
  const estimates: Record<string, number> = {};
  for (const table of source.tables) {
    const spec = tableSpec(table);
    const [row] = await session.query<{ rows: string | null }>(
      `EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM ${quoteTable(spec.schema, spec.name)} ` +
        `FORCE INDEX (${quoteIdentifier(spec.pagingIndex)}) WHERE ${tenantPredicate(spec, source.tenant)}`,
      signal,
    );
    estimates[table.id] = Number(row?.rows ?? 0);
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
