import type { Connection } from "mysql2/promise";
import { type LedgerEntry, readLedger } from "./ledger.ts";
import { connect, type ServerAddress } from "./mysql.ts";
import { SIDES, type Side, TABLES } from "./schema.ts";

type Sided<T> = Readonly<Record<Side, T>>;

const POLL_MS = 20;
/** A copy that has not moved for so long follows no more; the check says what it lacks. */
const STILL_MS = 3_000;

/** Both sides and the ledger as they were at one moment, whatever is written afterwards. */
export interface Moment {
  readonly connections: Sided<Connection>;
  readonly ledger: readonly LedgerEntry[];
  close(): Promise<void>;
}

/** Nothing may be written until it is open. */
export async function openMoment(servers: Sided<ServerAddress>, ledgerFile: string): Promise<Moment> {
  const connections = { source: await connect(servers.source), target: await connect(servers.target) };
  for (const side of SIDES) {
    await connections[side].query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    await connections[side].query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
  }
  return {
    connections,
    ledger: readLedger(ledgerFile),
    close: async () => void (await Promise.all(SIDES.map((side) => connections[side].end()))),
  };
}

/**
 * Resolves when both sides have as many rows of each tenant, changed as often: the copy that follows has everything. Also
 * when it gets no further, for what it lacks is for the check to name. Nothing may be written meanwhile.
 */
export async function untilEven(
  servers: Sided<ServerAddress>,
  tenants: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const connections = { source: await connect(servers.source), target: await connect(servers.target) };
  try {
    let [last, sinceMs] = ["", performance.now()];
    for (;;) {
      signal.throwIfAborted();
      const [source, target] = await Promise.all(SIDES.map((side) => sums(connections[side], tenants)));
      if (source === target) return;
      const now = `${source} ${target}`;
      if (now !== last) [last, sinceMs] = [now, performance.now()];
      if (performance.now() - sinceMs > STILL_MS) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    await Promise.all(SIDES.map((side) => connections[side].end()));
  }
}

async function sums(connection: Connection, tenants: readonly string[]): Promise<string> {
  const found: unknown[] = [];
  for (const tenant of tenants) {
    for (const table of TABLES) {
      const sql = `SELECT COUNT(*), SUM(id), SUM(rev) FROM ${table} WHERE tenant_id = ?`;
      found.push((await connection.query(sql, [tenant]))[0]);
    }
  }
  return JSON.stringify(found);
}
