import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "../demo/mysql.ts";

export const SCHEMA = "bench";
/** Where the product keeps what is its own. */
export const PRODUCT_SCHEMA = "dray";
/** The second table has the same shape and a tenth of the rows. */
export const TABLES = ["orders", "returns"] as const;
export type TableName = (typeof TABLES)[number];

export const COLUMNS: readonly string[] = [
  "id",
  "tenant_id",
  "customer",
  "email",
  "status",
  "amount",
  "qty",
  "created",
  "updated",
  "note",
  "flags",
  "ref",
];

/** To read rows as they are by hand: JSON comes as its text, like all else. */
export const READ_LIST = COLUMNS.map((column) => (column === "flags" ? "CAST(flags AS CHAR)" : column)).join(", ");

/** Rows born on the source have odd ids, on the target even ones: no id of one side can meet one of the other (C9). */
export const ID_STEP = 2;
export const idOf = (index: number): number => ID_STEP * index + 1;

export const rowsOf = (table: TableName, rows: number): number => (table === "orders" ? rows : Math.floor(rows / 10));
export const allRows = (rows: number): number => TABLES.reduce((sum, table) => sum + rowsOf(table, rows), 0);

const tableSql = (name: string): string => `CREATE TABLE ${name} (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  tenant_id INT NOT NULL,
  customer VARCHAR(64) NOT NULL,
  email VARCHAR(128) NULL,
  status ENUM('new','paid','sent','void') NOT NULL,
  amount DECIMAL(12,2) NOT NULL,
  qty INT UNSIGNED NOT NULL,
  created DATETIME(6) NOT NULL,
  updated TIMESTAMP NOT NULL,
  note TEXT NOT NULL,
  flags JSON NOT NULL,
  ref CHAR(36) NOT NULL,
  PRIMARY KEY (id),
  KEY (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`;

/** Empty tables, whatever was there before, and no trace of an earlier move. */
export async function emptySchema(address: ServerAddress): Promise<void> {
  const connection = await connect(address, { inSchema: "not yet" });
  try {
    for (const schema of [SCHEMA, PRODUCT_SCHEMA]) await connection.query(`DROP DATABASE IF EXISTS ${schema}`);
    await connection.query(`CREATE DATABASE ${SCHEMA} CHARACTER SET utf8mb4`);
    await connection.query(`USE ${SCHEMA}`);
    for (const table of TABLES) await connection.query(tableSql(table));
  } finally {
    await connection.end();
  }
}

/** Each data folder of the product is an installation of its own, and they must not meet (M). */
export async function dropProductSchema(address: ServerAddress): Promise<void> {
  const connection = await connect(address, { inSchema: "not yet" });
  await connection.query(`DROP DATABASE IF EXISTS ${PRODUCT_SCHEMA}`);
  await connection.end();
}

/** All values as one row of text. */
export async function readOne(connection: Connection, sql: string): Promise<readonly (string | null)[]> {
  const [rows] = await connection.query(sql);
  return (rows as unknown as (string | null)[][])[0] ?? [];
}
