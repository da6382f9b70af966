import { type LedgerEntry, readLedger } from "./ledger.ts";
import { connect, type ServerAddress } from "./mysql.ts";
import type { Cell, Side, TableName } from "./schema.ts";

export const SABOTAGES = ["lost", "difference", "neighbour", "stray", "target-row"] as const;
export type Sabotage = (typeof SABOTAGES)[number];
/** Done by plain SQL before the check; the others need the application and the right moment. */
export type RowSabotage = Exclude<Sabotage, "stray" | "target-row">;

/** The row that was altered, which the check has to name. */
export interface Damage {
  readonly side: Side;
  readonly table: TableName;
  readonly key: string;
}

/**
 * Alters exactly one row, so that a check that does not see it is proved blind.
 * lost: takes an acknowledged insert away from the target. difference: changes a column of a row of the moved tenant
 * that nobody wrote. neighbour: changes a row of another tenant in the target. All of it past the binary log, as a fault of
 * the server's would be: nothing may carry it to the other side.
 */
export async function sabotage(options: {
  readonly kind: RowSabotage;
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly ledgerFile: string;
  readonly tenant: string;
  readonly neighbour: string;
}): Promise<Damage> {
  const ledger = readLedger(options.ledgerFile);
  const connection = await connect(options.servers.target);
  try {
    await connection.query("SET SESSION sql_log_bin = 0");
    const run = async (sql: string, parameters: Cell[]): Promise<void> => {
      const [result] = await connection.execute(sql, parameters);
      const { affectedRows } = result as { affectedRows: number };
      if (affectedRows !== 1) throw new Error(`sabotage ${options.kind}: ${affectedRows} rows altered`);
    };
    if (options.kind === "lost") {
      const key = lastingInvoice(ledger, options.tenant);
      await run("DELETE FROM invoices WHERE id = ?", [key]);
      return { side: "target", table: "invoices", key };
    }
    const tenant = options.kind === "difference" ? options.tenant : options.neighbour;
    const key = await untouchedOrder(ledger, async (after) => {
      const sql = "SELECT id FROM orders WHERE tenant_id = ? AND id > ? ORDER BY id LIMIT 100";
      const [rows] = await connection.query(sql, [tenant, after]);
      return (rows as unknown as string[][]).map(([id = ""]) => id);
    });
    await run("UPDATE orders SET items = items + 1 WHERE id = ?", [key]);
    return { side: "target", table: "orders", key };
  } finally {
    await connection.end();
  }
}

/** target-row: changes one column of a row in the target, which is still a copy that nobody but the product writes to. */
export async function damageTarget(server: ServerAddress, order: string): Promise<Damage> {
  const connection = await connect(server);
  try {
    const [result] = await connection.execute("UPDATE orders SET items = items + 1 WHERE id = ?", [order]);
    const { affectedRows } = result as { affectedRows: number };
    if (affectedRows !== 1) throw new Error(`sabotage target-row: ${affectedRows} rows altered`);
    return { side: "target", table: "orders", key: order };
  } finally {
    await connection.end();
  }
}

/** An invoice whose insert was acknowledged and that nothing deleted; no row refers to an invoice. */
function lastingInvoice(ledger: readonly LedgerEntry[], tenant: string): string {
  const alive = new Set<string>();
  for (const entry of ledger) {
    if (entry.tenant !== tenant || entry.outcome !== "acknowledged") continue;
    for (const { op, table, id } of entry.writes) {
      if (table === "invoices" && op === "insert") alive.add(id);
      if (table === "invoices" && op === "delete") alive.delete(id);
    }
  }
  const [first] = alive;
  if (first === undefined) throw new Error(`sabotage lost: no acknowledged insert of ${tenant}`);
  return first;
}

async function untouchedOrder(
  ledger: readonly LedgerEntry[],
  page: (after: string) => Promise<readonly string[]>,
): Promise<string> {
  const touched = new Set<string>();
  for (const { writes } of ledger) for (const { table, id } of writes) touched.add(`${table} ${id}`);
  for (let after = "0"; ; ) {
    const ids = await page(after);
    const found = ids.find((id) => !touched.has(`orders ${id}`));
    if (found !== undefined) return found;
    const last = ids.at(-1);
    if (last === undefined) throw new Error("sabotage: every row was written to");
    after = last;
  }
}
