import type { Connection } from "mysql2/promise";

/**
 * The demo's multi-tenant system: three tables that all tenants share, on two servers. Foreign keys are there, without
 * cascades, because a system has them and a mover must cope with rows that arrive before their parents.
 */
/** Its default name; on servers that are not the demo's own a random one is taken instead. */
export const SCHEMA = "shop";
export type Side = "source" | "target";
export const SIDES: readonly Side[] = ["source", "target"];
export type TableName = "users" | "orders" | "invoices";

/** A value as the server prints it; the ledger, the image and the check know no other form. */
export type Cell = string | null;

export const TABLES: readonly TableName[] = ["users", "orders", "invoices"];
/** Columns in table order; the first two are the key and the tenant in every table. */
export const COLUMNS: Readonly<Record<TableName, readonly string[]>> = {
  users: ["id", "tenant_id", "email", "name", "plan", "balance", "logins", "settings", "created_at", "seen_at", "rev"],
  orders: ["id", "tenant_id", "user_id", "status", "total", "items", "note", "placed_at", "changed_at", "rev"],
  invoices: ["id", "tenant_id", "order_id", "number", "state", "amount", "lines", "issued_on", "paid_at", "rev"],
};

/** On the source; the first is the one with most rows and the first to be moved. */
export const SOURCE_TENANTS: readonly string[] = ["acme", "birch", "cedar", "delta", "ember"];
/** On the target from the beginning, in the same tables: the neighbours there. */
export const TARGET_TENANTS: readonly string[] = ["fjord", "grove", "hazel"];

/** Odd ids are born on the source, even ones on the target: no id of one side can meet one of the other. */
export const ID_STEP = 2;
export const ID_OFFSET: Readonly<Record<Side, number>> = { source: 1, target: 2 };
/** Flags of both servers beside what the product needs of any MySQL. */
export function serverFlags(side: Side): string[] {
  return [`--auto-increment-increment=${ID_STEP}`, `--auto-increment-offset=${ID_OFFSET[side]}`, "--local-infile=1"];
}

const TABLE_SQL: Readonly<Record<TableName, string>> = {
  users: `CREATE TABLE users (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    tenant_id VARCHAR(32) NOT NULL,
    email VARCHAR(190) NOT NULL,
    name VARCHAR(120) NOT NULL,
    plan ENUM('free','team','business') NOT NULL,
    balance DECIMAL(12,2) NOT NULL,
    logins INT NOT NULL,
    settings JSON NOT NULL,
    created_at DATETIME(6) NOT NULL,
    seen_at TIMESTAMP NULL,
    rev INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY users_email (tenant_id, email),
    KEY users_paging (tenant_id, id)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`,
  orders: `CREATE TABLE orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    tenant_id VARCHAR(32) NOT NULL,
    user_id BIGINT UNSIGNED NOT NULL,
    status ENUM('new','paid','shipped','cancelled') NOT NULL,
    total DECIMAL(12,2) NOT NULL,
    items INT NOT NULL,
    note TEXT NULL,
    placed_at DATETIME(6) NOT NULL,
    changed_at TIMESTAMP NULL,
    rev INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    KEY orders_paging (tenant_id, id),
    KEY orders_user (user_id),
    CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`,
  invoices: `CREATE TABLE invoices (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    tenant_id VARCHAR(32) NOT NULL,
    order_id BIGINT UNSIGNED NOT NULL,
    number VARCHAR(40) NOT NULL,
    state ENUM('open','paid','void') NOT NULL,
    amount DECIMAL(12,2) NOT NULL,
    \`lines\` JSON NOT NULL,
    issued_on DATE NOT NULL,
    paid_at DATETIME(6) NULL,
    rev INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    KEY invoices_paging (tenant_id, id),
    KEY invoices_order (order_id),
    CONSTRAINT invoices_order FOREIGN KEY (order_id) REFERENCES orders (id)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`,
};

export function columnList(table: TableName): string {
  return COLUMNS[table].map((column) => `\`${column}\``).join(", ");
}

/** Fails where a schema of this name is there already: nothing that the demo did not make is touched. */
export async function createSchema(connection: Connection, schema: string): Promise<void> {
  await connection.query(`CREATE DATABASE \`${schema}\` CHARACTER SET utf8mb4`);
  await connection.query(`USE \`${schema}\``);
  for (const table of TABLES) await connection.query(TABLE_SQL[table]);
}
