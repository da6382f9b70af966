/** Text keys meet the collation traps of T1 ('acme' and 'ACME'); number keys are the other accepted kind. */
export type TenantKind = "text" | "number";

export type WorldTable = "orders" | "handles" | "documents" | "lines" | "tenants";

/** How the rows of a table are told apart, in the ledger and in SQL. */
export const KEYS: Readonly<Record<WorldTable, readonly string[]>> = {
  orders: ["id"],
  handles: ["id"],
  documents: ["code"],
  lines: ["tenant_id", "order_no", "line_no"],
  tenants: ["id"],
};
export const WORLD_TABLES = Object.keys(KEYS) as readonly WorldTable[];

/** The column that says whose a row is. */
export function tenantColumn(table: WorldTable): string {
  return table === "tenants" ? "id" : "tenant_id";
}

/** `stamp` names the write that made a row what it is, so that a ledger can tell every acknowledged one. */
export function worldDdl(schema: string, kind: TenantKind): readonly string[] {
  const tenant = kind === "number" ? "INT NOT NULL" : "VARCHAR(32) NOT NULL";
  // Under a ci collation the root rows of 'acme' and 'ACME' would be one.
  const root = kind === "number" ? "INT NOT NULL" : "VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL";
  return [
    `CREATE SCHEMA ${schema}`,
    `CREATE TABLE ${schema}.tenants (id ${root} PRIMARY KEY, plan VARCHAR(20) NOT NULL, settings JSON NULL,
       stamp BIGINT NOT NULL)`,
    `CREATE TABLE ${schema}.orders (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id ${tenant},
       customer VARCHAR(80) NULL, status ENUM('new','paid','sent','void') NOT NULL, amount DECIMAL(14,3) NULL,
       qty INT UNSIGNED NOT NULL DEFAULT 0, created DATETIME(6) NOT NULL, updated TIMESTAMP NULL, note TEXT NULL,
       flags JSON NULL, digest VARBINARY(24) NULL, stamp BIGINT NOT NULL, KEY paging (tenant_id, id))`,
    `CREATE TABLE ${schema}.handles (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id ${tenant},
       name VARCHAR(64) NOT NULL, stamp BIGINT NOT NULL, UNIQUE KEY name (tenant_id, name), KEY paging (tenant_id, id))`,
    `CREATE TABLE ${schema}.documents (code VARCHAR(36) NOT NULL PRIMARY KEY, tenant_id ${tenant}, body TEXT NULL,
       stamp BIGINT NOT NULL, KEY paging (tenant_id, code)) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci`,
    `CREATE TABLE ${schema}.lines (tenant_id ${tenant}, order_no INT UNSIGNED NOT NULL, line_no INT NOT NULL,
       price DECIMAL(10,2) NULL, stamp BIGINT NOT NULL, PRIMARY KEY (tenant_id, order_no, line_no))`,
  ].map((sql) => sql.replaceAll(".lines ", ".`lines` "));
}

export function quoted(table: WorldTable): string {
  return `\`${table}\``;
}
