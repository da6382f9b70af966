import { type Connection, createConnection } from "mysql2/promise";
import type { ServerAddress } from "../demo/mysql.ts";
import { settings, tell } from "./child.ts";
import { RowMaker } from "./rows.ts";
import { idOf, rowsOf, TABLES, type TableName } from "./schema.ts";

/** One backlog: transactions of 10 rows, 6 updated, 3 inserted, 1 deleted, as fast as the source takes them. */
export interface BacklogSettings {
  readonly source: ServerAddress;
  readonly tenant: number;
  readonly rows: number;
  readonly events: number;
  readonly connections: number;
  readonly seed: number;
  /** Backlogs of one run take their deletes from different keys. */
  readonly round: number;
}

/** Inserted ids begin here, so that counting them says whether every transaction has arrived. */
export const insertedFrom = (round: number): number => (round + 1) * 2_000_000_000 + 1;

const ROWS_A_TRANSACTION = 10;
const ROUNDS = 4;
/** One transaction in so many is about the second table, which has a tenth of the rows. */
const ONE_IN = 11;

type Backlog = { readonly table: TableName; readonly deletes: number[]; readonly keys: number };

/** A process of its own. Tells the number of transactions, and of rows inserted in each table. */
async function main(): Promise<void> {
  const options = settings<BacklogSettings>();
  const { source, events, connections, seed } = options;
  const backlogs = TABLES.map((table, place) => backlogOf(table, { ...options, seed: seed + place }));
  const inserted = Object.fromEntries(TABLES.map((table) => [table, 0])) as Record<TableName, number>;
  const transactions = Math.floor(events / ROWS_A_TRANSACTION);
  let next = 0;
  const work = async (maker: RowMaker, connection: Connection): Promise<void> => {
    while (next < transactions) {
      const backlog = backlogs[next++ % ONE_IN === 0 ? 1 : 0];
      if (backlog === undefined) throw new Error("there are two tables");
      const from = inserted[backlog.table];
      inserted[backlog.table] += 3;
      await connection.query(transactionSql(maker, backlog, { ...options, firstInsert: from }));
    }
  };
  await Promise.all(
    Array.from({ length: connections }, async (_, place) => {
      const connection = await openLoad(source);
      await work(new RowMaker({ seed: seed + 100 + place }), connection);
      await connection.end();
    }),
  );
  await tell({ type: "done", transactions, inserted });
  process.disconnect?.();
}

export async function openLoad({ host, port, user, password, schema }: ServerAddress): Promise<Connection> {
  const connection = await createConnection({
    host,
    port,
    user,
    password,
    database: schema,
    charset: "utf8mb4",
    timezone: "Z",
    multipleStatements: true,
  });
  await connection.query("SET time_zone = '+00:00', transaction_isolation = 'READ-COMMITTED'");
  return connection;
}

/** An eighth of the keys is this round's to delete; half of them, never deleted, are there to be updated. */
function backlogOf(table: TableName, { rows, round, seed }: BacklogSettings): Backlog {
  const keys = rowsOf(table, rows);
  const deletes: number[] = [];
  for (let index = round % ROUNDS; index < keys; index += 2 * ROUNDS) deletes.push(idOf(index));
  const { random } = new RowMaker({ seed });
  for (let i = deletes.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [deletes[i], deletes[j]] = [deletes[j] as number, deletes[i] as number];
  }
  return { table, deletes, keys };
}

function transactionSql(
  maker: RowMaker,
  { table, deletes, keys }: Backlog,
  { tenant, round, firstInsert }: { tenant: number; round: number; firstInsert: number },
): string {
  const { random } = maker;
  const chosen = new Set<number>();
  while (chosen.size < 6) {
    const index = random.integer(keys);
    if (index % (2 * ROUNDS) >= ROUNDS) chosen.add(idOf(index));
  }
  // In the order of keys, so that two transactions never wait for each other in a circle.
  const updates = [...chosen].sort((a, b) => a - b).map((id) => updateSql(maker, table, id));
  const inserts = [0, 1, 2].map((i) =>
    insertSql(maker, table, { tenant, id: insertedFrom(round) + 2 * (firstInsert + i) }),
  );
  const deleted = deletes.pop();
  if (deleted === undefined) throw new Error(`${table} has no key left to delete`);
  return ["BEGIN", ...updates, ...inserts, `DELETE FROM ${table} WHERE id = ${deleted}`, "COMMIT"].join("; ");
}

export function updateSql(maker: RowMaker, table: TableName, id: number): string {
  // `updated` changes too, so that no update is one in name only.
  return `UPDATE ${table} SET status = '${maker.status()}', amount = ${maker.amount()}, note = '${maker.note()}', qty = qty + 1, updated = NOW() WHERE id = ${id}`;
}

/** `id` null: the server's next one. */
export function insertSql(maker: RowMaker, table: TableName, row: { tenant: number; id: number | null }): string {
  const v = maker.values();
  const email = v.email === null ? "NULL" : `'${v.email}'`;
  return (
    `INSERT INTO ${table} VALUES (${row.id ?? "NULL"}, ${row.tenant}, '${v.customer}', ${email}, '${v.status}', ${v.amount}, ${v.qty}, ` +
    `'${v.created}', '${v.updated}', '${v.note}', '${v.flags}', '${v.ref}')`
  );
}

if (import.meta.main) await main();
