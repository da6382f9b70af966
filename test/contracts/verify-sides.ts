import { connectMysql, type MysqlSession, quoteIdentifier } from "../../connectors/mysql/client.ts";
import { MysqlConnector } from "../../connectors/mysql/connector.ts";
import { carriedColumns } from "../../connectors/mysql/table-spec.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { KeyBytes, LaneId } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { LaneSource } from "../../pipeline/source.ts";
import { DIGEST_BYTES, type RowDigests } from "../../pipeline/verify/row-digests.ts";
import type { LaneSink } from "../../sinks/sink.ts";
import type { SharedMysql } from "../setup/shared-servers.ts";
import { fingerprintSql } from "../whole/world/fingerprint.ts";
import { MysqlTarget, NONCE, soon } from "./mysql-target.ts";

export const VERIFIED_TENANT = "7";
const LANE = "verified.db.f1" as LaneId;
const WHOLE = { after: null, upTo: null } as const;
const DIGEST_KEY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");

/** By key text: what stands for the row. */
export type Seen = ReadonlyMap<string, string>;

/** One table of a tenant at a source and in a target, read by the source's connector and by the sink's read view. */
export class VerifySides {
  readonly source: MysqlSession;
  readonly target: MysqlTarget;
  readonly #connector: MysqlConnector;
  readonly #sink: LaneSink;
  readonly #name: string;
  #seq = 0;

  private constructor(options: {
    readonly source: MysqlSession;
    readonly target: MysqlTarget;
    readonly connector: MysqlConnector;
    readonly sink: LaneSink;
    readonly name: string;
  }) {
    this.source = options.source;
    this.target = options.target;
    this.#connector = options.connector;
    this.#sink = options.sink;
    this.#name = options.name;
  }

  /** `columns` has a column `tenant` and a primary key. */
  static async open(mysql: SharedMysql, columns: string): Promise<VerifySides> {
    const target = await MysqlTarget.open(mysql.b);
    const source = await connectMysql(mysql.a, { side: "source" });
    const name = "verified";
    await target.create(name, columns);
    await source.run(`CREATE SCHEMA ${quoteIdentifier(target.schema)} CHARACTER SET utf8mb4`);
    await source.run(`CREATE TABLE ${target.table(name)} (${columns}) ENGINE=InnoDB`);
    const connector = new MysqlConnector({
      address: mysql.a,
      draySchema: target.dray,
      installationId: "verify-sides",
      clock: systemClock,
    });
    const sink = await target.open(target.lane(VERIFIED_TENANT, LANE));
    const sides = new VerifySides({ source, target, connector, sink, name });
    await connector.attach(sides.#lane, null, 1, soon());
    return sides;
  }

  get table(): string {
    return this.target.table(this.#name);
  }

  async close(): Promise<void> {
    await this.#connector.close();
    await this.#sink.close();
    for (const schema of [this.target.schema, this.target.dray])
      await this.source.run(`DROP SCHEMA ${quoteIdentifier(schema)}`);
    await this.source.close();
    await this.target.close();
  }

  /** By LOAD DATA in the first pass, by guarded upserts in a later one. */
  async copy(pass: 0 | 1): Promise<void> {
    const rows = await this.#connector.readRange(this.#lane, { table: this.#id, ...WHOLE }, soon());
    const { body, rows: count } = rows.encode(new Set());
    const range = { table: this.#id, pass, ...WHOLE, announces: "end" } as const;
    const unit = { seq: ++this.#seq, nonce: NONCE, range, leftOut: [], body, rows: count };
    await this.#sink.applyChunk(unit, soon());
  }

  /** As changes of the stream are written: row by row, by parameters. */
  async applyAsChanges(): Promise<void> {
    await this.target.sql.run(`DELETE FROM ${this.table}`);
    const changes = (await this.#single()).map(({ key, row }) => ({
      table: this.#id,
      op: "insert" as const,
      key,
      row,
    }));
    const seq = ++this.#seq;
    await this.#sink.applyChanges({ seqs: { first: seq, last: seq, nonce: NONCE }, changes: [changes] }, soon());
  }

  async digestsAtSource(): Promise<Seen> {
    const rows = await this.#connector.readRange(this.#lane, { table: this.#id, ...WHOLE }, soon());
    return seen(await rows.digest(DIGEST_KEY));
  }

  async digestsAtTarget(): Promise<Seen> {
    const view = await this.#sink.openReadView(soon());
    try {
      return seen(await view.digestRange({ table: this.#id, ...WHOLE }, DIGEST_KEY, soon()));
    } finally {
      await view.close();
    }
  }

  /** All rows by their keys, as single keys are read at the source. */
  async rowsAtSource(): Promise<Seen> {
    const keys = (await this.#single()).map(({ key }) => key);
    const rows = await this.#connector.readKeys(this.#lane, this.#id, keys, soon());
    return new Map(rows.single().map(({ key, row }) => [keyText(key), Buffer.from(row).toString("hex")]));
  }

  /** The rows with the source's keys, as they are read in the target. */
  async rowsAtTarget(): Promise<Seen> {
    const keys = (await this.#single()).map(({ key }) => key);
    const view = await this.#sink.openReadView(soon());
    try {
      const rows = await view.readKeys(this.#id, keys, soon());
      return new Map([...rows].map(([key, row]) => [key, Buffer.from(row).toString("hex")]));
    } finally {
      await view.close();
    }
  }

  /** What MySQL says that the rows are, in the order of `id`. */
  async fingerprints(side: "source" | "target"): Promise<readonly string[]> {
    const parts = carriedColumns(this.target.spec(this.#name)).map(
      (column) => `COALESCE(${fingerprintSql(column)}, 'NULL')`,
    );
    const session = side === "source" ? this.source : this.target.sql;
    const rows = await session.query(
      `SELECT CONCAT_WS('|', ${parts.join(", ")}) AS f FROM ${this.table} AS t ORDER BY id`,
    );
    return rows.map((row) => row["f"] ?? "");
  }

  async #single(): Promise<readonly { readonly key: KeyBytes; readonly row: Uint8Array }[]> {
    return (await this.#connector.readRange(this.#lane, { table: this.#id, ...WHOLE }, soon())).single();
  }

  get #id(): string {
    return this.target.id(this.#name);
  }

  get #lane(): LaneSource {
    return { lane: LANE, move: "verified", tenant: VERIFIED_TENANT, tables: this.target.tables };
  }
}

function seen(digests: RowDigests): Seen {
  const found = new Map<string, string>();
  for (let i = 0; i < digests.rows; i++) {
    const digest = Buffer.from(digests.digestTextAt(i), "latin1");
    if (digest.length !== DIGEST_BYTES) throw new Error(`a digest of ${digest.length} bytes`);
    found.set(digests.keyTextAt(i), digest.toString("hex"));
  }
  return found;
}
