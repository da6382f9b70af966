import { randomBytes } from "node:crypto";
import { type Connection, createConnection } from "mysql2/promise";
import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { grantSql, sourceGrants, targetGrants } from "../../connectors/mysql/grants.ts";
import { ensureDraySchema } from "../../connectors/mysql/installation.ts";
import { type MysqlPreflightOptions, mysqlPreflight } from "../../connectors/mysql/preflight.ts";
import type { ManifestBelonging, ManifestSchema } from "../../pipeline/manifest.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import { TableStatements } from "../../sinks/mysql/table-statements.ts";

export const TENANT = "acme";
export const INSTALLATION = "11111111-2222-3333-4444-555555555555";

/** A clean system: nothing in it is refused. `{s}` stands for the schema. */
const TABLES: Readonly<Record<string, string>> = {
  countries: "code CHAR(2) NOT NULL PRIMARY KEY, name VARCHAR(60) NOT NULL",
  companies: "id VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(60) NOT NULL",
  users: `id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, email VARCHAR(190) NOT NULL,
    country CHAR(2) NULL, UNIQUE KEY email (tenant_id, email), KEY paging (tenant_id, id),
    CONSTRAINT {s}_country FOREIGN KEY (country) REFERENCES countries (code)`,
  orders: `id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, user_id BIGINT UNSIGNED NOT NULL,
    total DECIMAL(12,2) NOT NULL, KEY paging (tenant_id, id),
    CONSTRAINT {s}_user FOREIGN KEY (user_id) REFERENCES users (id)`,
  audit: "id BIGINT NOT NULL PRIMARY KEY, text_ VARCHAR(60)",
};
const BELONGING: Readonly<Record<string, ManifestBelonging>> = {
  countries: { kind: "reference" },
  companies: { kind: "root" },
  users: { kind: "column", column: "tenant_id" },
  orders: { kind: "column", column: "tenant_id" },
  audit: { kind: "ignore", reason: "stays" },
};

/** Two schemas, two accounts with exactly the grants that Drayage asks for, on two real servers. */
export class PreflightSystem {
  readonly names: { readonly source: string; readonly target: string; readonly dray: string; readonly account: string };
  readonly admin: { readonly source: Connection; readonly target: Connection };
  readonly address: { readonly source: MysqlAddress; readonly target: MysqlAddress };
  readonly #admins: { readonly source: MysqlAddress; readonly target: MysqlAddress };

  private constructor(options: {
    readonly names: PreflightSystem["names"];
    readonly admin: PreflightSystem["admin"];
    readonly admins: { readonly source: MysqlAddress; readonly target: MysqlAddress };
  }) {
    this.names = options.names;
    this.admin = options.admin;
    this.#admins = options.admins;
    const account = { user: this.names.account, password: "drayage" };
    this.address = {
      source: { ...options.admins.source, ...account },
      target: { ...options.admins.target, ...account },
    };
  }

  static async create(servers: {
    readonly source: MysqlAddress;
    readonly target: MysqlAddress;
  }): Promise<PreflightSystem> {
    const prefix = `pf_${randomBytes(4).toString("hex")}`;
    const names = { source: `${prefix}_s`, target: `${prefix}_t`, dray: `${prefix}_dray`, account: `${prefix}_u` };
    const admin = { source: await connect(servers.source), target: await connect(servers.target) };
    const system = new PreflightSystem({ names, admin, admins: servers });
    for (const side of ["source", "target"] as const) {
      const schema = names[side];
      await admin[side].query(`CREATE SCHEMA ${schema} CHARACTER SET utf8mb4`);
      for (const [table, columns] of Object.entries(TABLES)) {
        await admin[side].query(`USE ${schema}`);
        await admin[side].query(`CREATE TABLE ${table} (${columns.replaceAll("{s}", schema)})`);
      }
      await admin[side].query("INSERT INTO countries VALUES ('CH', 'Switzerland'), ('DE', 'Germany')");
      const account = `'${names.account}'@'%'`;
      await admin[side].query(`CREATE USER ${account} IDENTIFIED BY 'drayage'`);
      const plan = { account, draySchema: names.dray, schemas: [schema] };
      const grants = side === "source" ? sourceGrants({ ...plan, fencedSchemas: [schema] }) : targetGrants(plan);
      for (const grant of grants) await admin[side].query(grantSql(grant, account));
    }
    await admin.source.query("INSERT INTO companies VALUES ('acme', 'Acme'), ('birch', 'Birch')");
    await admin.source.query(
      "INSERT INTO users (id, tenant_id, email, country) VALUES (1, 'acme', 'a@x', 'CH'), (3, 'acme', 'b@x', 'DE'), (5, 'birch', 'a@x', 'CH'), (7, 'ACME', 'c@x', NULL)",
    );
    await admin.source.query(
      "INSERT INTO orders (id, tenant_id, user_id, total) VALUES (1, 'acme', 1, 5), (3, 'birch', 5, 7)",
    );
    await admin.target.query("INSERT INTO companies VALUES ('fjord', 'Fjord')");
    await admin.target.query("INSERT INTO users (id, tenant_id, email) VALUES (2, 'fjord', 'a@x')");
    return system;
  }

  /** Under the least-privilege accounts. */
  async install(): Promise<void> {
    for (const side of ["source", "target"] as const) {
      const session = await connectMysql(this.address[side], { side: "source" });
      await ensureDraySchema(session, { schema: this.names.dray, installationId: INSTALLATION });
      await session.close();
    }
  }

  schemas(change: Readonly<Record<string, ManifestBelonging | null>> = {}): readonly ManifestSchema[] {
    const tables = Object.entries({ ...BELONGING, ...change }).flatMap(([name, belonging]) =>
      belonging === null ? [] : [{ name, belonging }],
    );
    return [{ source: this.names.source, target: this.names.target, tables }];
  }

  async preflight(options: Partial<MysqlPreflightOptions> = {}): Promise<readonly Finding[]> {
    return mysqlPreflight({
      ...this.address,
      draySchema: { source: this.names.dray, target: this.names.dray },
      installationId: INSTALLATION,
      tenant: TENANT,
      schemas: this.schemas(),
      fencedSchemas: [],
      consents: [],
      guardedUpsert: (table) => new TableStatements(table).upsert(1),
      signal: AbortSignal.timeout(60_000),
      ...options,
    });
  }

  /** `{s}` and `{t}` are the schemas, `{d}` the dray schema, `{u}` Drayage's account. */
  async run(side: "source" | "target", statements: readonly string[]): Promise<void> {
    const { names } = this;
    for (const statement of statements) {
      const sql = statement
        .replaceAll("{s}", names.source)
        .replaceAll("{t}", names.target)
        .replaceAll("{d}", names.dray)
        .replaceAll("{u}", `'${names.account}'@'%'`);
      await this.admin[side].query(sql);
    }
  }

  /** As an operator would run what `preflight --fix-sql` prints. */
  async applyFixes(finding: Finding): Promise<void> {
    const side = finding.fixOn?.startsWith("target") ? "target" : "source";
    for (const statement of finding.fixSql ?? []) await this.admin[side].query(statement);
  }

  async drop(): Promise<void> {
    for (const side of ["source", "target"] as const) {
      const connection = await connect(this.#admins[side]);
      for (const schema of [this.names[side], this.names.dray]) {
        await connection.query(`ALTER SCHEMA ${schema} READ ONLY = 0`).catch(() => {});
        await connection.query(`DROP SCHEMA IF EXISTS ${schema}`);
      }
      await connection.query(`DROP USER IF EXISTS '${this.names.account}'@'%'`);
      await connection.end();
      await this.admin[side].end();
    }
  }
}

export function connect(address: MysqlAddress): Promise<Connection> {
  const { host, port, user, password } = address;
  return createConnection({ host, port, user, password });
}
