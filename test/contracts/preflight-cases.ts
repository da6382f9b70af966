import type { Consent } from "../../pipeline/consents.ts";
import type { ManifestBelonging } from "../../pipeline/manifest.ts";

/** What is done to a clean system, and what preflight must then say. `{s}`, `{t}`, `{d}` and `{u}`: see PreflightSystem. */
export type Case = {
  readonly name: string;
  readonly id: string;
  readonly rule: string;
  readonly severity?: "warning";
  readonly source?: readonly string[];
  readonly target?: readonly string[];
  readonly manifest?: Readonly<Record<string, ManifestBelonging | null>>;
  readonly fenced?: "source schema";
  /** Told in the finding or its subject. */
  readonly says: RegExp;
  /** With it the error is a warning. */
  readonly consent?: Consent;
  /** What takes the finding away where it has no fix SQL; run before the system is used again. */
  readonly undo?: readonly string[];
};

const COLUMN: ManifestBelonging = { kind: "column", column: "tenant_id" };

/** One line of preflight each, shown failing, and passing once it is mended. */
export const CASES: readonly Case[] = [
  {
    name: "chunk reads that examine another tenant's rows",
    id: "mysql.paging",
    rule: "W7",
    source: [
      "SET SESSION cte_max_recursion_depth = 100000",
      "INSERT INTO {s}.orders (tenant_id, user_id, total) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) SELECT 'ACME', 7, i FROM n",
    ],
    says: /1 row\(s\) by index paging examines 12001 rows \(ref by paging\): by the collation utf8mb4_0900_ai_ci of tenant_id the other 12000 /,
    undo: ["DELETE FROM {s}.orders WHERE CAST(tenant_id AS BINARY) = 'ACME'"],
    consent: "full-scan",
  },
  {
    name: "a tenant that is not there",
    id: "mysql.tenant-in-source",
    rule: "T1",
    source: ["UPDATE {s}.companies SET id = 'Acme' WHERE id = 'acme'"],
    says: /no row of tenant acme here/,
    undo: ["UPDATE {s}.companies SET id = 'acme' WHERE id = 'Acme'"],
  },
  {
    name: "a tenant key that does not fit its column",
    id: "mysql.tenant-key",
    rule: "T1",
    source: ["CREATE TABLE {s}.k (id BIGINT AUTO_INCREMENT PRIMARY KEY, org BIGINT NOT NULL, KEY (org))"],
    target: ["CREATE TABLE {t}.k (id BIGINT AUTO_INCREMENT PRIMARY KEY, org BIGINT NOT NULL, KEY (org))"],
    manifest: { k: { kind: "column", column: "org" } },
    says: /does not fit the column bigint: not an integer/,
  },
  {
    name: "a table nobody classified",
    id: "mysql.unclassified-table",
    rule: "T2",
    source: ["CREATE TABLE {s}.extra (id INT PRIMARY KEY)"],
    says: /nothing of table extra/,
  },
  {
    name: "a table that is not at the target",
    id: "mysql.missing-table",
    rule: "T2",
    target: ["DROP TABLE {t}.orders"],
    says: /no base table orders at the target/,
  },
  {
    name: "a table that is not at the source",
    id: "mysql.missing-table",
    rule: "T2",
    manifest: { ghosts: COLUMN },
    says: /no base table ghosts at the source/,
  },
  {
    name: "no primary key",
    id: "mysql.primary-key",
    rule: "W5",
    source: ["CREATE TABLE {s}.notes (tenant_id VARCHAR(32) NOT NULL, t TEXT)"],
    target: ["CREATE TABLE {t}.notes (tenant_id VARCHAR(32) NOT NULL, t TEXT)"],
    manifest: { notes: COLUMN },
    says: /notes has no primary key/,
  },
  {
    name: "a storage engine without transactions",
    id: "mysql.engine",
    rule: "W1",
    source: [
      "CREATE TABLE {s}.isam (id BIGINT AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id, id)) ENGINE=MyISAM",
    ],
    target: [
      "CREATE TABLE {t}.isam (id BIGINT AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id, id))",
    ],
    manifest: { isam: COLUMN },
    says: /engine is MyISAM/,
  },
  {
    name: "a column type that is not carried",
    id: "mysql.column-type",
    rule: "W5",
    source: ["ALTER TABLE {s}.orders ADD COLUMN place POINT NULL"],
    target: ["ALTER TABLE {t}.orders ADD COLUMN place POINT NULL"],
    says: /place is point/,
  },
  {
    name: "a FLOAT in a key",
    id: "mysql.column-type",
    rule: "W5",
    source: ["CREATE TABLE {s}.f (id FLOAT PRIMARY KEY, tenant_id VARCHAR(32), KEY (tenant_id))"],
    target: ["CREATE TABLE {t}.f (id FLOAT PRIMARY KEY, tenant_id VARCHAR(32), KEY (tenant_id))"],
    manifest: { f: COLUMN },
    says: /cannot be in the primary key/,
  },
  {
    name: "a tenant column that is not there",
    id: "mysql.tenant-column",
    rule: "T1",
    manifest: { orders: { kind: "column", column: "org" } },
    says: /no column org/,
  },
  {
    name: "a root with a wide key",
    id: "mysql.tenant-column",
    rule: "T1",
    source: ["ALTER TABLE {s}.companies DROP PRIMARY KEY, ADD PRIMARY KEY (id, name)"],
    says: /primary key has 2 columns/,
  },
  {
    name: "another type at the target",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.orders MODIFY total DECIMAL(10,2) NOT NULL"],
    says: /total: the type is decimal\(12,2\).*decimal\(10,2\)/,
  },
  {
    name: "another collation at the target",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.users MODIFY email VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"],
    says: /the collation is utf8mb4_0900_ai_ci.*utf8mb4_bin/,
  },
  {
    name: "a column missing at the target",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.orders DROP COLUMN total"],
    says: /Column total .* is missing/,
  },
  {
    name: "a column at the target only",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.orders ADD COLUMN more INT NULL"],
    says: /Column more .* at the target only/,
  },
  {
    name: "a unique index at the target only",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.users ADD UNIQUE KEY mail (email)"],
    says: /unique index mail .* at the target only/,
  },
  {
    name: "another primary key at the target",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.companies DROP PRIMARY KEY, ADD PRIMARY KEY (id, name)"],
    says: /primary key is \(id\) at the source and \(id, name\)/,
  },
  {
    name: "a check constraint at the target only",
    id: "mysql.definition",
    rule: "W6",
    target: ["ALTER TABLE {t}.orders ADD CONSTRAINT {t}_c CHECK (total > 100)"],
    says: /target checks/,
  },
  {
    name: "an index at the source only",
    id: "mysql.definition",
    rule: "W6",
    severity: "warning",
    source: ["ALTER TABLE {s}.orders ADD INDEX by_total (total)"],
    says: /by_total .* source only/,
  },
  {
    name: "a trigger at the target",
    id: "mysql.target-trigger",
    rule: "A9",
    target: ["CREATE TRIGGER {t}.t1 BEFORE INSERT ON {t}.orders FOR EACH ROW SET NEW.total = 0"],
    says: /triggers: t1/,
  },
  {
    name: "a parent that does not move",
    id: "mysql.parent-not-moved",
    rule: "T2",
    manifest: { countries: { kind: "ignore", reason: "no" } },
    says: /countries, which the manifest ignores/,
  },
  {
    name: "ids of unknown origin",
    id: "mysql.key-class",
    rule: "C9",
    source: ["CREATE TABLE {s}.n (id BIGINT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id))"],
    target: ["CREATE TABLE {t}.n (id BIGINT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id))"],
    manifest: { n: COLUMN },
    says: /unknown origin/,
    consent: "ids-globally-unique",
  },
  {
    name: "a type more than half used",
    id: "mysql.id-counter",
    rule: "C9",
    source: [
      "CREATE TABLE {s}.small (id TINYINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id))",
      "INSERT INTO {s}.small VALUES (199, 'acme')",
    ],
    target: [
      "CREATE TABLE {t}.small (id TINYINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, KEY (tenant_id))",
    ],
    manifest: { small: COLUMN },
    says: /is 1 before the move and 200 after it: 78\.43% of tinyint/,
  },
  {
    name: "no index to page by",
    id: "mysql.paging",
    rule: "W7",
    source: ["ALTER TABLE {s}.orders DROP INDEX paging"],
    says: /No index begins with \(tenant_id, id\)/,
  },
  {
    name: "rows of the tenant in the target",
    id: "mysql.tenant-in-target",
    rule: "T1",
    target: ["INSERT INTO {t}.users (id, tenant_id, email) VALUES (20, 'acme', 'z@x')"],
    says: /already holds 1 row\(s\) of tenant acme/,
    undo: ["DELETE FROM {t}.users WHERE id = 20"],
  },
  {
    name: "an id of another tenant in the target",
    id: "mysql.clashing-id",
    rule: "C9",
    target: ["INSERT INTO {t}.users (id, tenant_id, email) VALUES (3, 'fjord', 'z@x')"],
    says: /primary keys of the tenant's rows: 3\./,
    undo: ["DELETE FROM {t}.users WHERE id = 3"],
  },
  {
    name: "a root that differs in case only",
    id: "mysql.clashing-id",
    rule: "C9",
    target: ["INSERT INTO {t}.companies VALUES ('ACME', 'Other')"],
    says: /companies.*primary keys of the tenant's rows: acme\./s,
    undo: ["DELETE FROM {t}.companies WHERE id = 'ACME'"],
  },
  {
    name: "a unique index without the tenant",
    id: "mysql.unique-across-tenants",
    rule: "A1",
    severity: "warning",
    source: ["ALTER TABLE {s}.orders ADD UNIQUE KEY u (user_id, total)"],
    target: ["ALTER TABLE {t}.orders ADD UNIQUE KEY u (user_id, total)"],
    says: /none of its values clashes now/,
  },
  {
    name: "a unique value of another tenant in the target",
    id: "mysql.unique-across-tenants",
    rule: "A1",
    source: ["ALTER TABLE {s}.companies ADD UNIQUE KEY u (name)"],
    target: ["ALTER TABLE {t}.companies ADD UNIQUE KEY u (name)", "INSERT INTO {t}.companies VALUES ('grove', 'ACME')"],
    says: /same unique values as the tenant's rows with keys acme\./,
  },
  {
    name: "a reference row missing at the target",
    id: "mysql.reference-row",
    rule: "T2",
    target: ["DELETE FROM {t}.countries WHERE code = 'DE'"],
    says: /missing in the target: DE;/,
    undo: ["INSERT INTO {t}.countries VALUES ('DE', 'Germany')"],
  },
  {
    name: "a reference row that differs",
    id: "mysql.reference-row",
    rule: "T2",
    target: ["UPDATE {t}.countries SET name = 'switzerland' WHERE code = 'CH'"],
    says: /different in the target: CH;/,
    undo: ["UPDATE {t}.countries SET name = 'Switzerland' WHERE code = 'CH'"],
  },
  {
    name: "a reference table nothing leads to",
    id: "mysql.reference-row",
    rule: "T2",
    manifest: { audit: { kind: "reference" } },
    says: /which of its rows are needed is unknown/,
    consent: "references-by-hand",
  },
  {
    name: "a READ ONLY fence on a shared schema",
    id: "mysql.fence-too-wide",
    rule: "C3",
    fenced: "source schema",
    says: /FENCE_TOO_WIDE: .*(orders|users|companies) holds rows of other tenants/,
  },
  {
    name: "a READ ONLY fence says that there is no way back",
    id: "mysql.fence-no-rollback",
    rule: "C3",
    severity: "warning",
    fenced: "source schema",
    says: /no rollback/,
  },
  {
    name: "a dray schema of another installation",
    id: "mysql.dray-schema-taken",
    rule: "M1",
    target: ["UPDATE {d}.installation SET id = '99999999-2222-3333-4444-555555555555'"],
    says: /DRAY_SCHEMA_TAKEN/,
  },
  {
    name: "a dray schema that is READ ONLY",
    id: "mysql.dray-read-only",
    rule: "C3",
    source: ["ALTER SCHEMA {d} READ ONLY = 1"],
    says: /is READ ONLY/,
  },
  {
    name: "a missing grant",
    id: "mysql.grant",
    rule: "K5",
    source: ["REVOKE XA_RECOVER_ADMIN ON *.* FROM {u}"],
    says: /lacks XA_RECOVER_ADMIN on \*\.\*/,
  },
  {
    name: "a missing column grant",
    id: "mysql.grant",
    rule: "K5",
    target: ["REVOKE SELECT (account_locked) ON mysql.user FROM {u}"],
    says: /lacks SELECT \(.*account_locked.*\) on mysql\.user/,
  },
  {
    name: "an account that may write dray.*",
    id: "mysql.dray-writers",
    rule: "C7",
    source: ["CREATE USER {d}_app@'%' IDENTIFIED BY 'x'", "GRANT INSERT ON {d}.* TO {d}_app@'%'"],
    says: /may write .*: '.*_app'@'%'/,
    undo: ["DROP USER {d}_app@'%'"],
  },
];
