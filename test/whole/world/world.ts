import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import { ReferenceServer } from "../../../cutover/adapters/reference-server.ts";
import type { LogConfig, ServerConfig } from "../../../cutover/server-settings.ts";
import { systemClock } from "../../../pipeline/clock.ts";
import { AdapterProxy } from "./adapter-proxy.ts";
import { Ledger, type Side } from "./ledger.ts";
import { type TenantKind, worldDdl } from "./tables.ts";
import { type Address, Traffic } from "./traffic.ts";

export type WorldOptions = {
  readonly servers: Readonly<Record<Side, Address>>;
  readonly kind: TenantKind;
  readonly homes: Readonly<Record<string, Side>>;
  /** Rows of each tenant in each table, before any traffic. */
  readonly rows: number;
  /** Owners of those rows. */
  readonly workers: number;
};

export type Whereabouts = { readonly home: Side; readonly mayWrite: boolean };

export type TrafficPlan = {
  readonly seed: number;
  readonly workers: number;
  readonly pauseMs: number;
  readonly tenants?: readonly string[];
};

const GRACE_MS = 60;
const TRUST_MS = 40;

/** Two servers with the same schema under a random name, several tenants, an adapter, and what was acknowledged. */
export class World {
  readonly schema: string;
  readonly ledger = new Ledger();
  readonly admin: Record<Side, Connection>;
  readonly proxy: AdapterProxy;
  readonly heldAtTarget = new Set<string>();
  readonly heldAtSource = new Set<string>();
  readonly folder: string;
  /** Who knows where a tenant lives; the adapter unless a test has another. */
  router: (tenant: string) => Promise<Whereabouts>;
  readonly #options: WorldOptions;
  readonly #adapter: ReferenceServer;
  readonly #ownSchemas: string[] = [];
  #traffics = 0;

  private constructor(
    options: WorldOptions,
    parts: {
      readonly admin: World["admin"];
      readonly adapter: ReferenceServer;
      readonly proxy: AdapterProxy;
      readonly folder: string;
    },
  ) {
    this.#options = options;
    this.schema = `w_${randomBytes(4).toString("hex")}`;
    this.admin = parts.admin;
    this.#adapter = parts.adapter;
    this.proxy = parts.proxy;
    this.folder = parts.folder;
    this.router = async (tenant) => {
      const answer = await fetch(new URL(`where?tenant=${encodeURIComponent(tenant)}`, this.#adapter.url));
      return (await answer.json()) as Whereabouts;
    };
  }

  static async create(options: WorldOptions): Promise<World> {
    const folder = mkdtempSync(join(tmpdir(), "dray-world-"));
    const admin = { a: await connect(options.servers.a), b: await connect(options.servers.b) };
    const adapter = await ReferenceServer.open({
      token: "t",
      tenants: options.homes,
      journalFile: join(folder, "adapter"),
      clock: systemClock,
    });
    const world = new World(options, { admin, adapter, folder, proxy: await AdapterProxy.open(adapter.url) });
    for (const side of ["a", "b"] as const) {
      for (const sql of worldDdl(world.schema, options.kind)) await admin[side].query(sql);
      await world.#fill(side);
    }
    return world;
  }

  get tenants(): readonly string[] {
    return Object.keys(this.#options.homes);
  }

  get servers(): Readonly<Record<Side, Address>> {
    return this.#options.servers;
  }

  /** A fresh data folder and a fresh `dray` schema on both sides: an installation that has never moved anything. */
  installation(): { readonly dataDir: string; readonly draySchema: string } {
    const draySchema = this.ownSchema();
    return { dataDir: join(this.folder, `data-${draySchema}`), draySchema };
  }

  /** The name of a schema that goes away with the world. */
  ownSchema(): string {
    const schema = `${this.schema}_${randomBytes(4).toString("hex")}`;
    this.#ownSchemas.push(schema);
    return schema;
  }

  config(
    { dataDir, draySchema }: { readonly dataDir: string; readonly draySchema: string },
    log: LogConfig = { kind: "embedded" },
  ): ServerConfig {
    const cluster = (side: Side) => {
      const { host, port, user, password } = this.#options.servers[side];
      return { kind: "mysql" as const, host, port, user, password, tls: null, draySchema, candidates: [] };
    };
    return {
      dataDir,
      log,
      listen: { kind: "unix", path: "" },
      tokens: [],
      clusters: { a: cluster("a"), b: cluster("b") },
      adapters: { app: { kind: "http", url: this.proxy.url, token: "t", timeoutMs: 1_000, expiry: "self" } },
      probes: {},
      allowedHosts: ["127.0.0.1"],
      alarm: null,
      verifySharePercent: 100,
      heartbeatMs: 50,
      keepAppliedMs: 60_000,
      leaseMs: 30_000,
    };
  }

  /** `max_pause_ms` is wide: machines that run tests are slow, and the pause is measured elsewhere. */
  manifest(change: object = {}): string {
    const column = { column: "tenant_id" };
    const tables = { tenants: { root: true }, orders: column, handles: column, documents: column, lines: column };
    return JSON.stringify({
      name: "world",
      stores: { db: { kind: "mysql", schemas: { [this.schema]: { tables } } } },
      fence: { steps: [{ adapter: "app" }], grace_ms: GRACE_MS },
      routing: [{ adapter: "app" }],
      cutover: { heartbeats: 2, max_lag_s: 2, max_pause_ms: 15_000 },
      ...change,
    });
  }

  homeOf(tenant: string): Promise<Whereabouts> {
    return this.router(tenant);
  }

  traffic(plan: TrafficPlan): Traffic {
    return new Traffic({
      ...plan,
      servers: this.#options.servers,
      schema: this.schema,
      ledger: this.ledger,
      tenants: plan.tenants ?? Object.keys(this.#options.homes),
      homeOf: (tenant) => this.homeOf(tenant),
      trustMs: TRUST_MS,
      // A stamp names one write in the world, and ids are made of it.
      firstStamp: ++this.#traffics * 1_000_000,
      heldAtTarget: this.heldAtTarget,
      heldAtSource: this.heldAtSource,
    });
  }

  /** What `dray.cutover` of both sides says of a move. */
  async outcomes(draySchema: string): Promise<Readonly<Record<Side, readonly string[]>>> {
    const read = async (side: Side) => {
      const [rows] = await this.admin[side].query<RowDataPacket[]>(
        `SELECT CONCAT(generation, ' ', outcome) AS it FROM ${draySchema}.cutover ORDER BY generation`,
      );
      return rows.map((row) => String(row["it"]));
    };
    return { a: await read("a"), b: await read("b") };
  }

  /** After a server was down. */
  async reconnect(side: Side): Promise<void> {
    this.admin[side].destroy();
    this.admin[side] = await connect(this.#options.servers[side]);
  }

  async close(): Promise<void> {
    for (const side of ["a", "b"] as const) {
      // A test that failed inside a transaction holds what is to be dropped.
      this.admin[side].destroy();
      const admin = await connect(this.#options.servers[side]);
      // As a move that was fenced by its schema leaves it.
      await admin.query(`ALTER SCHEMA ${this.schema} READ ONLY = 0`);
      for (const schema of [this.schema, ...this.#ownSchemas]) await admin.query(`DROP SCHEMA IF EXISTS ${schema}`);
      admin.destroy();
    }
    await this.proxy.close();
    await this.#adapter.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The rows of before, owned by the workers in turn. */
  async #fill(side: Side): Promise<void> {
    const { homes, rows, workers } = this.#options;
    let stamp = side === "a" ? 0 : 500_000_000;
    for (const [tenant, home] of Object.entries(homes)) {
      if (home !== side) continue;
      const own = Buffer.from(tenant).toString("hex");
      const values: Record<string, unknown[][]> = { orders: [], handles: [], documents: [], lines: [] };
      for (let n = 0; n < rows; n++) {
        const flags = JSON.stringify({ n, half: n / 2, text: `${n}` });
        values["orders"]?.push([tenant, `old ${n}`, "new", `${n}.125`, n, "2020-01-01 00:00:00.5", flags, ++stamp]);
        values["handles"]?.push([tenant, `${own}-old-${n}`, ++stamp]);
        values["documents"]?.push([`${side}-Old-${own.slice(0, 20)}-${n}`, tenant, `body ${n}`, ++stamp]);
        values["lines"]?.push([tenant, ++stamp, n % 7, "9.99", stamp]);
      }
      const admin = this.admin[side];
      const columns: Record<string, string> = {
        orders: "tenant_id, customer, status, amount, qty, created, flags, stamp",
        handles: "tenant_id, name, stamp",
        documents: "code, tenant_id, body, stamp",
        lines: "tenant_id, order_no, line_no, price, stamp",
      };
      await admin.query(`INSERT INTO ${this.schema}.tenants VALUES (?, 'first', '{"a": 1.0}', ?)`, [tenant, ++stamp]);
      for (const [table, list] of Object.entries(values)) {
        if (list.length === 0) continue;
        await admin.query(`INSERT INTO ${this.schema}.\`${table}\` (${columns[table]}) VALUES ?`, [list]);
      }
    }
    const { readLedgerRows } = await import("./compare.ts");
    let turn = 0;
    for (const row of await readLedgerRows(this.admin[side], this.schema, side)) {
      const worker = row.table === "tenants" ? 0 : turn++ % Math.max(1, workers);
      const { tenant, stamp: written, table, key } = row;
      this.ledger.commit([{ side, table, key, state: { tenant, stamp: written, worker } }]);
    }
  }
}

async function connect({ host, port, user, password }: Address): Promise<Connection> {
  const connection = await createConnection({ host, port, user, password, charset: "utf8mb4" });
  connection.on("error", () => {});
  await connection.query("SET time_zone = '+00:00'");
  return connection;
}
