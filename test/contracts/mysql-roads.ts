import { randomBytes } from "node:crypto";
import { EVENT } from "../../connectors/mysql/binlog-events.ts";
import { BinlogStream } from "../../connectors/mysql/binlog-stream.ts";
import { connectMysql, type MysqlSession, quoteIdentifier, quoteTable } from "../../connectors/mysql/client.ts";
import { ChunkText, loadStatement, selectList } from "../../connectors/mysql/load-text.ts";
import { loadTextKey, parseLoadText } from "../../connectors/mysql/parse-load-text.ts";
import { type CanonicalRow, decodeRow } from "../../connectors/mysql/row-codec.ts";
import { buildPlan, type RowPlan } from "../../connectors/mysql/row-decoder.ts";
import { buildTableSpec, readTables } from "../../connectors/mysql/schema-reader.ts";
import { readRowsHeader, readTableMap, readTableMapName } from "../../connectors/mysql/table-map.ts";
import { carriedColumns, keyColumns, type TableSpec } from "../../connectors/mysql/table-spec.ts";
import { parameter, type SelectMode } from "../../connectors/mysql/values.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { MysqlAddress, SharedMysql } from "../setup/shared-servers.ts";

export type BinlogImage = {
  readonly op: "insert" | "update" | "delete";
  readonly tenant: string | null;
  readonly key: string;
  readonly row: CanonicalRow;
};

/** A schema of its own on both servers, and a table's rows by every road that a value can take. */
export class Roads {
  readonly schema = `dray_test_${randomBytes(6).toString("hex")}`;
  readonly source: MysqlSession;
  readonly target: MysqlSession;
  readonly #address: MysqlAddress;

  private constructor(options: { source: MysqlSession; target: MysqlSession; address: MysqlAddress }) {
    this.source = options.source;
    this.target = options.target;
    this.#address = options.address;
  }

  static async open(mysql: SharedMysql): Promise<Roads> {
    const source = await connectMysql(mysql.a, { side: "source" });
    const target = await connectMysql(mysql.b, { side: "sink" });
    const roads = new Roads({ source, target, address: mysql.a });
    for (const session of [source, target]) await session.run(`CREATE SCHEMA ${quoteIdentifier(roads.schema)}`);
    return roads;
  }

  async close(): Promise<void> {
    for (const session of [this.source, this.target]) {
      if (!session.isLost) await session.run(`DROP SCHEMA ${quoteIdentifier(this.schema)}`);
      await session.close();
    }
  }

  table(name: string): string {
    return quoteTable(this.schema, name);
  }

  /** Columns `tenant INT` and `id` come first unless `head` says otherwise. */
  async create(
    name: string,
    columns: string,
    head = "tenant INT NOT NULL, id INT NOT NULL PRIMARY KEY",
  ): Promise<TableSpec> {
    const ddl = `CREATE TABLE ${this.table(name)} (${head}, ${columns}, KEY by_tenant (tenant)) CHARACTER SET utf8mb4`;
    for (const session of [this.source, this.target]) await session.run(ddl);
    return await this.spec(name);
  }

  async spec(name: string): Promise<TableSpec> {
    const table = (await readTables(this.source, this.schema)).find((candidate) => candidate.name === name);
    if (!table) throw new Error(`no table ${name}`);
    return buildTableSpec(table, { belonging: { kind: "column", column: "tenant" }, targetSchema: this.schema });
  }

  /** The SELECT road, through LOAD DATA text and back, in key order. */
  async selected(spec: TableSpec, mode: SelectMode = "plain"): Promise<{ rows: CanonicalRow[]; body: Uint8Array }> {
    const order = keyColumns(spec).map((column) => quoteIdentifier(column.name));
    const sql = `SELECT ${selectList(spec, mode)} FROM ${this.table(spec.name)} ORDER BY ${order.join(", ")}`;
    const text = new ChunkText({ spec, mode });
    await this.source.eachRow({ sql, onRow: (packet, start, end) => text.addPacket(packet, start, end) });
    const { body } = text.encode(new Set());
    return { rows: parseLoadText(spec, body), body };
  }

  async position(): Promise<string> {
    const [row] = await this.source.query("SELECT @@GLOBAL.gtid_executed AS executed");
    return (row?.["executed"] ?? "").replace(/\s/g, "");
  }

  /** The binlog road: all images of the table's rows from a position on, until so many have come. */
  async streamed(spec: TableSpec, from: string, images: number): Promise<BinlogImage[]> {
    const { host, port, user, password } = this.#address;
    const found: BinlogImage[] = [];
    const plans = new Map<number, RowPlan>();
    return await new Promise((resolve, reject) => {
      const stream = new BinlogStream({
        server: { host, port, user, password },
        serverId: 1 + Math.floor(Math.random() * 2 ** 31),
        completed: from,
        clock: systemClock,
        onFailure: reject,
        onEvent: (event) => {
          if (event.type === EVENT.tableMap) {
            const name = readTableMapName(event);
            if (name.schema === spec.schema && name.table === spec.name) {
              plans.set(name.tableId, buildPlan(spec, readTableMap(event)));
            }
            return;
          }
          if (event.type < EVENT.writeRows || event.type > EVENT.deleteRows) return;
          const header = readRowsHeader(event);
          const plan = plans.get(header.tableId);
          if (!plan) return;
          for (let at = header.rowsAt; at < event.end; ) {
            at = plan.locate(event.bytes, at, event.end);
            found.push({
              op: header.op,
              tenant: plan.tenant(),
              key: Buffer.from(plan.key()).toString("hex"),
              row: decodeRow(plan.row(), carriedColumns(spec).length),
            });
          }
          if (found.length < images) return;
          stream.close().then(() => resolve(found), reject);
        },
      });
    });
  }

  async loadIntoTarget(spec: TableSpec, body: Uint8Array) {
    return await this.target.loadData(loadStatement(spec), body);
  }

  async upsertIntoTarget(spec: TableSpec, rows: readonly CanonicalRow[]): Promise<void> {
    const columns = carriedColumns(spec);
    const names = columns.map((column) => quoteIdentifier(column.name));
    const sql =
      `INSERT INTO ${this.table(spec.name)} (${names.join(", ")}) VALUES (${columns.map(parameter).join(", ")}) AS n ` +
      `ON DUPLICATE KEY UPDATE ${names.map((name) => `${name} = n.${name}`).join(", ")}`;
    for (const row of rows) await this.target.execute(sql, row);
  }

  /** All carried columns as the server itself holds them: hex of strings and numbers, and JSON's own text and types. */
  async fingerprint(side: "source" | "target", spec: TableSpec): Promise<string[]> {
    const parts = carriedColumns(spec).map((column) => {
      const name = quoteIdentifier(column.name);
      if (column.dataType === "json") return `CONCAT(CAST(${name} AS CHAR), JSON_TYPE(${name}))`;
      if (column.dataType === "float" || column.dataType === "double") return `CAST(${name} * 1e0 AS CHAR)`;
      if (column.dataType === "enum" || column.dataType === "set") return `CONCAT(${name} + 0, ':', HEX(${name}))`;
      return column.charset !== null || /binary|blob|bit/.test(column.dataType)
        ? `HEX(${name})`
        : `CAST(${name} AS CHAR)`;
    });
    const order = keyColumns(spec).map((column) => quoteIdentifier(column.name));
    const sql = `SELECT ${parts.map((part) => `COALESCE(${part}, 'NULL')`).join(", ")} FROM ${this.table(spec.name)} ORDER BY ${order.join(", ")}`;
    const session = side === "source" ? this.source : this.target;
    const isJson = carriedColumns(spec).map((column) => column.dataType === "json");
    const show = (value: Buffer | null, i: number) => {
      const text = value?.toString("latin1") ?? "";
      return isJson[i] ? canonicalJson(text) : text;
    };
    return (await session.queryRaw(sql)).map((row) => row.map(show).join("|"));
  }

  async truncate(side: "source" | "target", spec: TableSpec): Promise<void> {
    await (side === "source" ? this.source : this.target).run(`TRUNCATE TABLE ${this.table(spec.name)}`);
  }
}

export function keyHexOf(spec: TableSpec, row: CanonicalRow): string {
  return Buffer.from(loadTextKey(spec)(row), "latin1").toString("hex");
}

export function shown(rows: readonly CanonicalRow[]): (string | null)[][] {
  return rows.map((row) => row.map((value) => (value === null ? null : Buffer.from(value).toString("latin1"))));
}

/** JSON compared as values, all else as bytes: the two roads may print a double in JSON differently. */
export function comparable(spec: TableSpec, rows: readonly CanonicalRow[]): (string | null)[][] {
  const columns = carriedColumns(spec);
  return shown(rows).map((row) =>
    row.map((value, i) => (value !== null && columns[i]?.dataType === "json" ? canonicalJson(value) : value)),
  );
}

/** Numbers keep their digits as text; doubles by their value, with a mark that tells 3.0 from 3. */
export function canonicalJson(latin1: string): string {
  return latin1.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?/gi, (token) =>
    token.startsWith('"') ? JSON.stringify(JSON.parse(token)) : /[.e]/i.test(token) ? `double ${Number(token)}` : token,
  );
}
