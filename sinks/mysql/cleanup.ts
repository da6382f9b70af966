import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { boundFromKey } from "../../connectors/mysql/key-bytes.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { LaneTransaction } from "./lane-transaction.ts";
import { ownKeys } from "./own-keys.ts";
import { deleteKeys } from "./row-writer.ts";
import type { TableStatements } from "./table-statements.ts";

/** Locks are held for some milliseconds, and a neighbour's replica gets a breath between two batches. */
const BATCH_ROWS = 500;
const PAUSE_MS = 20;

export type CleanupOptions = {
  readonly table: TableStatements;
  readonly transaction: LaneTransaction;
  /** Lends a session for one batch. */
  readonly use: <T>(work: (session: MysqlSession) => Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly onBatch?: (rows: number) => void;
};

/**
 * Removes the tenant's rows of one table, guarded, in small transactions, each of which names the lane and completes no
 * seq (A2). May be stopped anywhere and begun again: what is left is found by the tenant, not remembered.
 */
export async function removeTenantRows(
  options: CleanupOptions,
  signal: AbortSignal,
): Promise<{ readonly rows: number }> {
  const { table, transaction, use, clock, probe, onBatch } = options;
  let removed = 0;
  let after: Bound | null = null;
  for (;;) {
    signal.throwIfAborted();
    const span = { after, upTo: null, limit: BATCH_ROWS };
    const keys = await use((session) => ownKeys(session, table, span, signal));
    const last = keys.at(-1);
    if (!last) {
      // Once more from the beginning only where something was removed, so that nothing can have slipped behind.
      if (after === null) return { rows: removed };
      after = null;
      continue;
    }
    const values = keys.map((key) => key.values);
    const work = (session: MysqlSession) => deleteKeys(session, table, values, signal);
    const rows = await use((session) => transaction.run(session, null, work, signal));
    removed += rows;
    onBatch?.(rows);
    await probe("abort.after-cleanup-batch", { table: table.id, rows: removed });
    after = boundFromKey(table.spec, last.values);
    await clock.sleep(PAUSE_MS, signal);
  }
}
