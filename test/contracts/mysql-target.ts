import { randomBytes } from "node:crypto";
import { connectMysql, type MysqlSession, quoteIdentifier, quoteTable } from "../../connectors/mysql/client.ts";
import { drayDdl } from "../../connectors/mysql/dray-schema.ts";
import { boundFromKey, keyBytes, keysAreOrdered } from "../../connectors/mysql/key-bytes.ts";
import { ChunkText } from "../../connectors/mysql/load-text.ts";
import { encodeRow } from "../../connectors/mysql/row-codec.ts";
import { buildTableSpec, readTables } from "../../connectors/mysql/schema-reader.ts";
import { type Belonging, carriedColumns, keyColumns, type TableSpec } from "../../connectors/mysql/table-spec.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import type { Change, ChangeOp, KeyBytes, LaneId } from "../../pipeline/entry.ts";
import { noProbe, type Probe } from "../../pipeline/probe.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import { MysqlSink } from "../../sinks/mysql/mysql-sink.ts";
import type { ChangeBatch, ChunkUnit, LaneSink, LaneTarget } from "../../sinks/sink.ts";
import type { MysqlAddress } from "../setup/shared-servers.ts";

export type Value = string | Buffer | null;
export type Row = readonly Value[];
export const NONCE = "ab".repeat(16);
export const soon = () => AbortSignal.timeout(60_000);

/** A target's schemas of their own on a shared server, and hand-made entries for their tables. */
export class MysqlTarget {
  readonly schema = `dray_test_${randomBytes(6).toString("hex")}`;
  readonly dray = `${this.schema}_d`;
  readonly sql: MysqlSession;
  readonly address: MysqlAddress;
  readonly tables: CoveredTable[] = [];
  readonly #sinks: MysqlSink[] = [];

  private constructor(options: { readonly sql: MysqlSession; readonly address: MysqlAddress }) {
    this.sql = options.sql;
    this.address = options.address;
  }

  static async open(address: MysqlAddress): Promise<MysqlTarget> {
    const target = new MysqlTarget({ sql: await connectMysql(address, { side: "source" }), address });
    await target.sql.run(`CREATE SCHEMA ${quoteIdentifier(target.schema)} CHARACTER SET utf8mb4`);
    for (const statement of drayDdl(target.dray, quoteIdentifier)) await target.sql.run(statement);
    return target;
  }

  async close(): Promise<void> {
    for (const sink of this.#sinks) await sink.close();
    // Lost where a test has restarted a server of its own, which goes away with its data.
    if (this.sql.isLost) return;
    for (const schema of [this.schema, this.dray]) await this.sql.run(`DROP SCHEMA ${quoteIdentifier(schema)}`);
    await this.sql.close();
  }

  /** The tenant column is `tenant` unless it is a root. */
  async create(name: string, columns: string, belonging: Belonging = { kind: "column", column: "tenant" }) {
    await this.sql.run(`CREATE TABLE ${this.table(name)} (${columns}) ENGINE=InnoDB`);
    const definition = (await readTables(this.sql, this.schema)).find((table) => table.name === name);
    if (!definition) throw new Error(`no table ${name}`);
    const spec = buildTableSpec(definition, { belonging, targetSchema: this.schema });
    this.tables.push({
      id: this.id(name),
      root: belonging.kind === "root",
      ordered: keysAreOrdered(spec),
      definition: spec,
    });
  }

  id(name: string): string {
    return `${this.schema}.${name}`;
  }

  table(name: string): string {
    return quoteTable(this.schema, name);
  }

  spec(name: string): TableSpec {
    const table = this.tables.find(({ id }) => id === this.id(name));
    if (!table) throw new Error(`no table ${name}`);
    return table.definition as TableSpec;
  }

  lane(tenant: string, lane = `m${randomBytes(4).toString("hex")}.db.f1`): LaneTarget {
    return { lane: lane as LaneId, tenant, tables: this.tables };
  }

  sink(probe: Probe = noProbe): MysqlSink {
    const { address, dray } = this;
    const sink = new MysqlSink({ address, draySchema: dray, clock: systemClock, probe });
    this.#sinks.push(sink);
    return sink;
  }

  open(target: LaneTarget, probe?: Probe): Promise<LaneSink> {
    return this.sink(probe).open(target, soon());
  }

  /** Values in table order. */
  change(name: string, op: ChangeOp, row: Row): Change {
    const values = row.map(bytes);
    return { table: this.id(name), op, key: this.key(name, row), row: encodeRow(values) };
  }

  key(name: string, row: Row): KeyBytes {
    return keyBytes(this.spec(name))(this.#keyValues(name, row));
  }

  bound(name: string, row: Row): Bound {
    return boundFromKey(this.spec(name), this.#keyValues(name, row));
  }

  /** Rows whose keys alone count stand for the range's ends and for the left-out keys. */
  chunk(options: {
    readonly table: string;
    readonly rows: readonly Row[];
    readonly seq?: number;
    readonly pass?: number;
    readonly after?: Row;
    readonly upTo?: Row;
    readonly leftOut?: readonly Row[];
  }): ChunkUnit {
    const { table, rows, seq = 1, pass = 0, after, upTo, leftOut = [] } = options;
    const text = new ChunkText({ spec: this.spec(table) });
    for (const row of rows) text.add(row.map(bytes));
    const { body } = text.encode(new Set());
    return {
      seq,
      nonce: NONCE,
      range: {
        table: this.id(table),
        pass,
        after: after ? this.bound(table, after) : null,
        upTo: upTo ? this.bound(table, upTo) : null,
        announces: "end",
      },
      leftOut: leftOut.map((row) => this.key(table, row)),
      body,
      rows: rows.length,
    };
  }

  /** All rows as text, in key order. */
  async rows(name: string): Promise<string[]> {
    const order = keyColumns(this.spec(name)).map((column) => quoteIdentifier(column.name));
    const rows = await this.sql.query(`SELECT * FROM ${this.table(name)} ORDER BY ${order.join(", ")}`);
    return rows.map((row) => Object.values(row).join(" "));
  }

  /** The rows of `dray.applied` of a lane. */
  async applied(lane: LaneId): Promise<string[]> {
    const sql = `SELECT first_seq, last_seq FROM ${quoteTable(this.dray, "applied")} WHERE lane = ? ORDER BY id`;
    const rows = await this.sql.executeQuery(sql, [lane]);
    return rows.map((row) => `${row["first_seq"]}-${row["last_seq"]}`);
  }

  #keyValues(name: string, row: Row): Buffer[] {
    const spec = this.spec(name);
    const carried = carriedColumns(spec);
    return keyColumns(spec).map((column) => {
      const value = bytes(row[carried.findIndex((one) => one.name === column.name)] ?? null);
      if (value === null) throw new Error(`no key in ${row}`);
      return value;
    });
  }
}

export function batch(first: number, ...changes: readonly Change[][]): ChangeBatch {
  return { seqs: { first, last: first + changes.length - 1, nonce: NONCE }, changes };
}

function bytes(value: Value): Buffer | null {
  return typeof value === "string" ? Buffer.from(value) : value;
}
