import type { GenerationBook } from "../../connectors/generation-book.ts";
import { connectMysql, type MysqlAddress, quoteIdentifier, quoteTable } from "../../connectors/mysql/client.ts";
import { carrierOf } from "../../connectors/mysql/column-types.ts";
import { MysqlConnector } from "../../connectors/mysql/connector.ts";
import { discoverTables } from "../../connectors/mysql/discover-tables.ts";
import { forgetLanes } from "../../connectors/mysql/forget-lanes.ts";
import { MysqlGenerationBook } from "../../connectors/mysql/generation-book.ts";
import { ensureDraySchema } from "../../connectors/mysql/installation.ts";
import { keyValues } from "../../connectors/mysql/key-bytes.ts";
import { mysqlPreflight } from "../../connectors/mysql/preflight.ts";
import { decodeRow } from "../../connectors/mysql/row-codec.ts";
import { readTables } from "../../connectors/mysql/schema-reader.ts";
import { MysqlSourceControl } from "../../connectors/mysql/source-control.ts";
import {
  type ColumnSpec,
  carriedColumns,
  keyColumns,
  type TableSpec,
  tableSpec,
} from "../../connectors/mysql/table-spec.ts";
import { tenantPredicate } from "../../connectors/mysql/tenant-key.ts";
import type { Change } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { LiveTable } from "../../pipeline/live-schema.ts";
import type { ManifestStore } from "../../pipeline/manifest.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import type { CoveredTable, LaneSource } from "../../pipeline/source.ts";
import type { FoundRow } from "../../pipeline/verify/compare.ts";
import { MysqlSink } from "../../sinks/mysql/mysql-sink.ts";
import { TableStatements } from "../../sinks/mysql/table-statements.ts";
import { MysqlTargetControl } from "../../sinks/mysql/target-control.ts";
import type { Removal } from "../../sinks/sink.ts";
import type { Discovered, PairCheck, StorePair } from "../store-kind.ts";
import type { ClusterAddress, StoreKind, StoreKindOptions } from "../stores.ts";

/** MySQL clusters: one connector per source server, however many moves it serves (design: one reader a server). */
export class MysqlKind implements StoreKind {
  readonly #options: StoreKindOptions;
  readonly #connectors = new Map<string, MysqlConnector>();
  readonly #closables = new Set<{ close(): Promise<void> }>();

  constructor(options: StoreKindOptions) {
    this.#options = options;
  }

  pair(from: ClusterAddress, to: ClusterAddress): StorePair {
    const pair = new MysqlPair({ ...this.#options, from, to, connector: this.#connector(from) });
    this.#closables.add(pair);
    return pair;
  }

  async readNumber(cluster: ClusterAddress, query: string, signal: AbortSignal): Promise<number> {
    const session = await connectMysql(address(cluster), { side: "source", signal });
    try {
      const [row] = await session.query(query, signal);
      const value = Number(Object.values(row ?? {})[0] ?? Number.NaN);
      if (!Number.isFinite(value)) throw new DrayError("PROBE_FAILED", { cluster: cluster.name, why: "not a number" });
      return value;
    } finally {
      await session.close();
    }
  }

  async install(cluster: ClusterAddress, signal: AbortSignal): Promise<void> {
    const { installationId } = this.#options;
    const session = await connectMysql(address(cluster), { side: "source", signal });
    try {
      await ensureDraySchema(session, { schema: cluster.draySchema, installationId }, signal);
    } finally {
      await session.close();
    }
  }

  generationBook(cluster: ClusterAddress): GenerationBook {
    const { name, draySchema } = cluster;
    const book = new MysqlGenerationBook({ address: address(cluster), draySchema, cluster: name });
    this.#closables.add(book);
    return book;
  }

  async liveTables(cluster: ClusterAddress, schemas: readonly string[], signal: AbortSignal): Promise<LiveTable[]> {
    const session = await connectMysql(address(cluster), { side: "source", signal });
    try {
      const live: LiveTable[] = [];
      for (const schema of schemas) {
        const tables = await readTables(session, schema, signal);
        if (tables.length === 0) throw new DrayError("SCHEMA_UNKNOWN", { cluster: cluster.name, schema });
        live.push(
          ...tables.map((table) => ({
            schema,
            name: table.name,
            columns: table.columns.map(({ name }) => name),
            primaryKey: table.primaryKey,
            references: table.foreignKeys.map((key) => ({
              columns: key.columns,
              schema: key.parentSchema,
              table: key.parentTable,
              referencedColumns: key.parentColumns,
            })),
          })),
        );
      }
      return live;
    } finally {
      await session.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#closables].map((part) => part.close()));
    await Promise.all([...this.#connectors.values()].map((connector) => connector.close()));
  }

  #connector(cluster: ClusterAddress): MysqlConnector {
    const known = this.#connectors.get(cluster.name);
    if (known) return known;
    const { clock, heartbeatMs, installationId, lanePositions } = this.#options;
    const connector = new MysqlConnector({
      address: address(cluster),
      draySchema: cluster.draySchema,
      clock,
      heartbeatMs,
      installationId,
      lanePositions: () => lanePositions(cluster.name),
    });
    this.#connectors.set(cluster.name, connector);
    return connector;
  }
}

type PairOptions = StoreKindOptions & {
  readonly from: ClusterAddress;
  readonly to: ClusterAddress;
  readonly connector: MysqlConnector;
};

class MysqlPair implements StorePair {
  readonly connector: MysqlConnector;
  readonly sink: MysqlSink;
  readonly sourceControl: MysqlSourceControl;
  readonly targetControl: MysqlTargetControl;
  readonly #options: PairOptions;

  constructor(options: PairOptions) {
    const { from, to, clock, probe } = options;
    this.#options = options;
    this.connector = options.connector;
    this.sink = new MysqlSink({ address: address(to), draySchema: to.draySchema, clock, probe });
    this.sourceControl = new MysqlSourceControl({ address: address(from), draySchema: from.draySchema, clock });
    const candidates = to.candidates.map((server) => ({ ...address(to), ...server }));
    this.targetControl = new MysqlTargetControl({ address: address(to), draySchema: to.draySchema, candidates, clock });
  }

  async discover(store: ManifestStore, _tenant: string, signal: AbortSignal): Promise<Discovered> {
    const { from } = this.#options;
    const session = await connectMysql(address(from), { side: "source", signal });
    try {
      const live = new Map<string, Awaited<ReturnType<typeof readTables>>>();
      for (const { source } of store.schemas) live.set(source, await readTables(session, source, signal));
      return discoverTables(store.schemas, live, from.name);
    } finally {
      await session.close();
    }
  }

  async check(
    { store, tenant, when, fencedSchemas, consents }: PairCheck,
    signal: AbortSignal,
  ): Promise<readonly Finding[]> {
    const { from, to, installationId } = this.#options;
    return await mysqlPreflight({
      source: address(from),
      target: address(to),
      draySchema: { source: from.draySchema, target: to.draySchema },
      installationId,
      tenant,
      schemas: store.schemas,
      fencedSchemas,
      consents,
      when,
      guardedUpsert: (table) => new TableStatements(table).upsert(1),
      signal,
    });
  }

  async removeRows({ lane, tenant, tables }: LaneSource, removal: Removal, signal: AbortSignal): Promise<void> {
    await this.sink.removeRows({ lane, tenant, tables }, removal, signal);
  }

  idAtTarget(table: CoveredTable): string {
    const { targetSchema, name } = tableSpec(table);
    return `${targetSchema}.${name}`;
  }

  async forget(move: string, store: string, signal: AbortSignal): Promise<void> {
    for (const cluster of [this.#options.from, this.#options.to]) {
      const session = await connectMysql(address(cluster), { side: "source", signal });
      try {
        await forgetLanes(session, cluster.draySchema, `${move}.${store}`, signal);
      } finally {
        await session.close();
      }
    }
  }

  /** The last table first, as what refers goes before what is referred to; by tenant, a thousand rows a statement. */
  removalSql({ tables, tenant }: LaneSource): readonly string[] {
    return [...tables].reverse().map((table) => {
      const spec = tableSpec(table);
      const order = spec.primaryKey.map(quoteIdentifier).join(", ");
      return (
        `DELETE FROM ${quoteTable(spec.schema, spec.name)} WHERE ${tenantPredicate(spec, tenant)} ` +
        `ORDER BY ${order} LIMIT 1000; -- again until it removes nothing`
      );
    });
  }

  describeChange(source: LaneSource, change: Change): Readonly<Record<string, string | null>> {
    const columns = carriedColumns(specOf(source, change));
    const row = decodeRow(change.row, columns.length);
    return Object.fromEntries(columns.map((column, i) => [column.name, text(column, row[i] ?? null)]));
  }

  differingColumns(source: LaneSource, table: string, found: FoundRow): readonly string[] {
    if (found.source === null || found.target === null) return [];
    return differing(carriedColumns(specOf(source, { table })), found).map(({ column }) => column.name);
  }

  describeDifference(source: LaneSource, table: string, found: FoundRow) {
    const all = differing(carriedColumns(specOf(source, { table })), found);
    return Object.fromEntries(
      all.map(({ column, source: one, target: other }) => [
        column.name,
        { source: text(column, one), target: text(column, other) },
      ]),
    );
  }

  describeKey(source: LaneSource, { table, key }: Pick<Change, "table" | "key">): string {
    const spec = specOf(source, { table });
    const values = keyValues(spec, key);
    return keyColumns(spec)
      .map((column, i) => `${column.name}=${text(column, values[i] ?? null)}`)
      .join(" ");
  }

  async close(): Promise<void> {
    await Promise.all([this.sink.close(), this.sourceControl.close(), this.targetControl.close()]);
  }
}

/** A row that stands on one side alone differs in every column. */
function differing(columns: readonly ColumnSpec[], { source, target }: FoundRow) {
  const absent = columns.map(() => null);
  const atSource = source === null ? absent : decodeRow(source, columns.length);
  const atTarget = target === null ? absent : decodeRow(target, columns.length);
  return columns
    .map((column, i) => ({ column, source: atSource[i] ?? null, target: atTarget[i] ?? null }))
    .filter(({ source: one, target: other }) => !isSameValue(one, other));
}

function isSameValue(one: Uint8Array | null, other: Uint8Array | null): boolean {
  if (one === null || other === null) return one === other;
  return Buffer.compare(one, other) === 0;
}

function specOf(source: LaneSource, change: Pick<Change, "table">): TableSpec {
  const table = source.tables.find(({ id }) => id === change.table);
  if (table === undefined) throw new DrayError("TABLE_UNKNOWN", { table: change.table });
  return tableSpec(table);
}

/** Binary bytes in hex, all else as its text: whoever reads it must be able to tell two keys apart, and find the row. */
function text(column: ColumnSpec, value: Uint8Array | null): string | null {
  if (value === null) return null;
  const bytes = Buffer.from(value);
  const carrier = carrierOf(column);
  if (carrier === "bytes" || (carrier === "string" && column.charset === "binary")) return `0x${bytes.toString("hex")}`;
  return carrier === "string" && column.charset === "latin1" ? LATIN1.decode(bytes) : bytes.toString("utf8");
}

/** MySQL's latin1. */
const LATIN1 = new TextDecoder("windows-1252");

function address(cluster: ClusterAddress): MysqlAddress {
  const { host, port, user, password, tls } = cluster;
  const plain = { host, port, user, password };
  if (tls === null) return plain;
  return { ...plain, tls: tls.ca === null ? { verify: tls.verify } : { verify: tls.verify, ca: tls.ca } };
}
