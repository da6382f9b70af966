import { randomBytes } from "node:crypto";
import { connectMysql, type MysqlAddress, type MysqlSession } from "../../connectors/mysql/client.ts";
import { MysqlConnector, type MysqlConnectorOptions } from "../../connectors/mysql/connector.ts";
import { keysAreOrdered } from "../../connectors/mysql/key-bytes.ts";
import { selectList } from "../../connectors/mysql/load-text.ts";
import { decodeRow } from "../../connectors/mysql/row-codec.ts";
import { buildTableSpec, readTables } from "../../connectors/mysql/schema-reader.ts";
import { carriedColumns, type TableSpec } from "../../connectors/mysql/table-spec.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Change, LaneId } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { CoveredTable, LaneFeed, LaneSource, SourceEvent } from "../../pipeline/source.ts";

export const NEVER = new AbortController().signal;

/** A schema of its own with tables that two tenants and others share, and a Drayage schema of its own. */
export class StreamHarness {
  readonly address: MysqlAddress;
  readonly schema = `app_${randomBytes(4).toString("hex")}`;
  readonly draySchema = `dray_${randomBytes(4).toString("hex")}`;
  readonly installationId = "00000000-0000-4000-8000-000000000001";
  sql!: MysqlSession;
  tables: readonly CoveredTable[] = [];
  readonly #connectors: MysqlConnector[] = [];
  readonly #sessions: MysqlSession[] = [];

  static async open(address: MysqlAddress, ddl: readonly string[], tables: Readonly<Record<string, string>>) {
    const harness = new StreamHarness(address);
    harness.sql = await harness.session();
    await harness.sql.run(`CREATE SCHEMA ${harness.schema} DEFAULT CHARACTER SET utf8mb4`);
    await harness.sql.run(`USE ${harness.schema}`);
    for (const statement of ddl) await harness.sql.run(statement);
    harness.tables = await harness.readSpecs(tables);
    return harness;
  }

  private constructor(address: MysqlAddress) {
    this.address = address;
  }

  /** By table: the column that holds the tenant. */
  async readSpecs(tables: Readonly<Record<string, string>>): Promise<readonly CoveredTable[]> {
    const found = await readTables(this.sql, this.schema);
    return Object.entries(tables).map(([name, column]) => {
      const table = found.find((candidate) => candidate.name === name);
      if (!table) throw new Error(`no table ${name}`);
      const spec = buildTableSpec(table, { belonging: { kind: "column", column }, targetSchema: this.schema });
      return { id: `${this.schema}.${name}`, root: false, ordered: keysAreOrdered(spec), definition: spec };
    });
  }

  async session(): Promise<MysqlSession> {
    const session = await connectMysql(this.address, { side: "source" });
    this.#sessions.push(session);
    return session;
  }

  /** A session as an application has it, in the harness's schema. */
  async client(): Promise<MysqlSession> {
    const session = await this.session();
    await session.run(`USE ${this.schema}`);
    return session;
  }

  connector(options: Partial<MysqlConnectorOptions> = {}): MysqlConnector {
    const connector = new MysqlConnector({
      address: this.address,
      draySchema: this.draySchema,
      installationId: this.installationId,
      clock: systemClock,
      visibleWithinMs: 1_000,
      ...options,
    });
    this.#connectors.push(connector);
    return connector;
  }

  lane(tenant: string, move = `move-${tenant}`): LaneSource {
    return { lane: `${move}.db.f1` as LaneId, move, tenant, tables: this.tables };
  }

  /** Connections that read the binlog for this harness alone, ended as an operator would. */
  async killReaders(): Promise<void> {
    const rows = await this.sql.query(
      `SELECT p.ID AS id FROM information_schema.PROCESSLIST p JOIN performance_schema.session_connect_attrs a
        ON a.PROCESSLIST_ID = p.ID WHERE p.COMMAND LIKE 'Binlog Dump%' AND a.ATTR_VALUE = '${this.draySchema}'`,
    );
    for (const row of rows) await this.sql.run(`KILL ${row["id"]}`).catch(() => {});
  }

  /** The tenant's rows by SQL, as canonical values, by table and row text. */
  async rowsBySql(tenant: string): Promise<ReadonlyMap<string, string>> {
    const rows = new Map<string, string>();
    for (const table of this.tables) {
      const spec = table.definition as TableSpec;
      const where = `CAST(tenant AS BINARY) = CAST(${Number.isInteger(Number(tenant)) ? tenant : `'${tenant}'`} AS BINARY)`;
      const found = await this.sql.queryRaw(
        `SELECT ${selectList(spec)} FROM ${spec.schema}.${spec.name} WHERE ${where}`,
      );
      const places = spec.primaryKey.map((key) => carriedColumns(spec).findIndex((column) => column.name === key));
      for (const row of found) {
        const key = places.map((place) => row[place]?.toString("hex")).join("|");
        rows.set(`${table.id}|${key}`, row.map((value) => value?.toString("hex") ?? "NULL").join("|"));
      }
    }
    return rows;
  }

  async close(): Promise<void> {
    await Promise.all(this.#connectors.map((connector) => connector.close()));
    for (const schema of [this.schema, this.draySchema]) {
      await this.sql.run(`DROP SCHEMA IF EXISTS ${schema}`).catch(() => {});
    }
    for (const session of this.#sessions) await session.close();
  }
}

/** What a target would hold after the events, by table and key; each change checked against what is there. */
export class Replay {
  readonly #specs: ReadonlyMap<string, TableSpec>;
  readonly #rows = new Map<string, string>();
  readonly #texts = new Map<string, string>();
  changes = 0;

  constructor(tables: readonly CoveredTable[]) {
    this.#specs = new Map(tables.map((table) => [table.id, table.definition as TableSpec]));
  }

  apply(events: readonly SourceEvent[]): void {
    for (const event of events) if (event.type === "changes") for (const change of event.changes) this.#apply(change);
  }

  get rows(): ReadonlyMap<string, string> {
    return this.#rows;
  }

  #apply(change: Change): void {
    this.changes++;
    const spec = this.#specs.get(change.table);
    if (!spec) throw new Error(`a change of ${change.table}`);
    const columns = carriedColumns(spec);
    const row = decodeRow(change.row, columns.length);
    const hex = (value: Uint8Array | null | undefined) => (value ? Buffer.from(value).toString("hex") : "NULL");
    const places = spec.primaryKey.map((key) => columns.findIndex((column) => column.name === key));
    const place = `${change.table}|${places.map((index) => hex(row[index])).join("|")}`;
    const byKey = `${change.table}|${keyText(change.key)}`;
    const had = this.#texts.has(byKey);
    if (change.op === "insert" && had) throw new Error(`an insert of a key that is there: ${place}`);
    if (change.op !== "insert" && !had) throw new Error(`${change.op} of a key that is not there: ${place}`);
    if (change.op === "delete") {
      this.#texts.delete(byKey);
      this.#rows.delete(place);
    } else {
      this.#texts.set(byKey, place);
      this.#rows.set(place, row.map(hex).join("|"));
    }
  }
}

/** Takes events until one is the mark with this nonce; all of them, that mark included. */
export async function until(feed: LaneFeed, nonce: string, limitMs = 60_000): Promise<SourceEvent[]> {
  const taken: SourceEvent[] = [];
  const signal = AbortSignal.timeout(limitMs);
  for (;;) {
    for (const event of await feed.next(signal)) taken.push(event);
    if (taken.some((event) => event.type === "mark" && event.mark.nonce === nonce)) return taken;
  }
}

/** Commits a mark, and takes everything up to it. */
export async function drain(connector: MysqlConnector, feed: LaneFeed, source: LaneSource): Promise<SourceEvent[]> {
  const mark = await connector.mark(source.lane, 1, "sentinel", NEVER);
  return await until(feed, mark.nonce);
}

/** What `next` throws once everything that was given out before has been taken. */
export async function stopOf(feed: LaneFeed, limitMs = 60_000): Promise<{ error: unknown; events: SourceEvent[] }> {
  const events: SourceEvent[] = [];
  const signal = AbortSignal.timeout(limitMs);
  for (;;) {
    try {
      for (const event of await feed.next(signal)) events.push(event);
    } catch (error) {
      return { error, events };
    }
  }
}
