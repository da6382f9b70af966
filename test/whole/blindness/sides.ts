import type { Connection, RowDataPacket } from "mysql2/promise";
import type { DifferenceReport } from "../../../cutover/move-service.ts";
import { fingerprintSql } from "../world/fingerprint.ts";
import type { Side } from "../world/ledger.ts";
import type { Random } from "../world/random.ts";
import { World } from "../world/world.ts";
import { BLIND_TABLES, type BlindTable } from "./tables.ts";

export const TENANT = "acme";
/** Each has rows of its own on one side, whose keys lie among the tenant's. */
const NEIGHBOURS = { a: "ACME", b: "delta" } as const;
const NEIGHBOUR_ROWS = 4;
const OWN = `CAST(t.tenant_id AS BINARY) = x'${Buffer.from(TENANT).toString("hex")}'`;

/** SETs of 64 labels have long names. */
export const shortType = (columnType: string) => columnType.slice(0, 40);

export type BlindColumn = { readonly name: string; readonly dataType: string; readonly columnType: string };
/** As a report names it. */
export type Differing = Pick<DifferenceReport, "table" | "key" | "kind"> & { readonly columns: readonly string[] };
type Row = { readonly key: string; readonly mark: number; readonly values: readonly string[] };

/** The world's servers with the tables of every type, filled; and what SQL alone says of them. */
export class BlindSides {
  readonly world: World;
  readonly #columns = new Map<string, readonly BlindColumn[]>();

  private constructor(world: World) {
    this.world = world;
  }

  static async create(servers: World["servers"]): Promise<BlindSides> {
    const homes = { [TENANT]: "a", [NEIGHBOURS.a]: "a", [NEIGHBOURS.b]: "b" } as const;
    const world = await World.create({ servers, kind: "text", homes, rows: 30, workers: 2 });
    const sides = new BlindSides(world);
    for (const side of ["a", "b"] as const) {
      // Not strict, so that a value beyond the end of its type is cut, and becomes a fault or none.
      await world.admin[side].query("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'");
      for (const table of BLIND_TABLES) await sides.#fill(table, side);
    }
    for (const table of BLIND_TABLES) sides.#columns.set(table.name, await sides.#readColumns(table));
    return sides;
  }

  manifest(): string {
    const column = { column: "tenant_id" };
    const world = { tenants: { root: true }, orders: column, handles: column, documents: column, lines: column };
    const tables = { ...world, ...Object.fromEntries(BLIND_TABLES.map(({ name }) => [name, column])) };
    return this.world.manifest({
      stores: { db: { kind: "mysql", schemas: { [this.world.schema]: { tables } } } },
      consents: ["ids-globally-unique"],
    });
  }

  /** Every type that is no key's, as faults are named by it. */
  valueTypes(): readonly string[] {
    const values = BLIND_TABLES.flatMap((table) =>
      this.columns(table).filter(({ name }) => /^(c\d|doc|num|word)$/.test(name)),
    );
    return [...new Set(values.map(({ columnType }) => shortType(columnType)))];
  }

  columns(table: BlindTable): readonly BlindColumn[] {
    return this.#columns.get(table.name) ?? [];
  }

  /** `{t}` is the table. */
  async run(side: Side, table: BlindTable, sql: string): Promise<number> {
    const [result] = await this.world.admin[side].query(sql.replaceAll("{t}", `${this.world.schema}.${table.name}`));
    return (result as { affectedRows?: number }).affectedRows ?? 0;
  }

  /** The tenant's rows as a side has them, by `mark`, in key order. */
  async marks(side: Side, table: BlindTable): Promise<readonly number[]> {
    return [...(await this.#rows(side, table)).values()].map(({ mark }) => mark);
  }

  /** A part of the source's rows takes other hard values, or other keys, by the stream. */
  async rewriteSome(random: Random): Promise<void> {
    for (const table of BLIND_TABLES) {
      for (let n = 0; n < table.rows; n += 1 + random.below(4)) {
        const other = table.row(random.below(table.rows), TENANT);
        const values = Object.entries(other).filter(([name]) => !table.keys.includes(name) && name !== "word");
        const sql = values.map(([name, value]) => `\`${name}\` = ${value}`).join(", ");
        if (random.chance(0.2)) {
          // Gone and back, with other values.
          await this.run("a", table, `DELETE FROM {t} WHERE mark = ${n}`);
          const back = {
            ...table.row(n, TENANT),
            ...Object.fromEntries(values),
            tenant_id: `'${TENANT}'`,
            mark: String(n),
          };
          await this.run(
            "a",
            table,
            `INSERT INTO {t} (${Object.keys(back).join(", ")}) VALUES (${Object.values(back).join(", ")})`,
          );
        } else await this.run("a", table, `UPDATE {t} SET ${sql} WHERE mark = ${n}`);
      }
    }
  }

  /** Each of the tenant's rows is changed and changed back at the source, in one transaction a table: its key is dirty. */
  async touchAll(): Promise<void> {
    const { a } = this.world.admin;
    for (const table of BLIND_TABLES) {
      await a.query("START TRANSACTION");
      for (const way of ["+", "-"])
        await this.run("a", table, `UPDATE {t} AS t SET t.mark = t.mark ${way} 1000000000 WHERE ${OWN}`);
      await a.query("COMMIT");
    }
  }

  /** What MySQL says that one row is, to the byte; '' where there is none. */
  async fingerprint(side: Side, table: BlindTable, mark: number): Promise<string> {
    const rows = await this.#rows(side, table, `t.mark = ${mark}`);
    return [...rows.values()].map(({ values }) => values.join("|")).join();
  }

  /** Rows that a neighbour has always had in the target. */
  async neighbourMarks(table: BlindTable): Promise<readonly number[]> {
    return [
      ...(await this.#rows("b", table, `t.tenant_id = '${NEIGHBOURS.b}' AND t.mark >= ${table.rows}`)).values(),
    ].map(({ mark }) => mark);
  }

  /** What MySQL says that differs between the sides, row by row. */
  async differences(): Promise<readonly Differing[]> {
    const found: Differing[] = [];
    for (const table of BLIND_TABLES) {
      const [source, target] = await Promise.all([this.#rows("a", table), this.#rows("b", table)]);
      const id = `${this.world.schema}.${table.name}`;
      const columns = this.columns(table);
      for (const [key, row] of source) {
        const there = target.get(key);
        if (there === undefined) found.push({ table: id, key: row.key, kind: "missing", columns: [] });
        else {
          const differing = columns.filter((_, i) => row.values[i] !== there.values[i]).map(({ name }) => name);
          if (differing.length > 0) found.push({ table: id, key: row.key, kind: "differing", columns: differing });
        }
      }
      for (const [key, row] of target)
        if (!source.has(key)) found.push({ table: id, key: row.key, kind: "extra", columns: [] });
    }
    return found;
  }

  /** The rows of everybody else in the target, which nothing may ever touch. */
  async neighbours(): Promise<string> {
    const all: string[] = [];
    for (const table of BLIND_TABLES)
      all.push(...[...(await this.#rows("b", table, `NOT (${OWN})`)).values()].map((row) => JSON.stringify(row)));
    return all.sort().join("\n");
  }

  async #rows(side: Side, table: BlindTable, which = OWN): Promise<ReadonlyMap<string, Row>> {
    const columns = this.columns(table);
    const short = (sql: string) => `IF(LENGTH(${sql}) > 64, SHA2(${sql}, 256), ${sql})`;
    const values = columns.map(
      (column, i) => `COALESCE(CONCAT('=', ${short(fingerprintSql(column))}), 'NULL') AS v${i}`,
    );
    const keys = table.keys.map((name, i) => `${labelSql(columns.find((column) => column.name === name))} AS k${i}`);
    const [rows] = await this.world.admin[side].query<RowDataPacket[]>(
      `SELECT t.mark, ${[...values, ...keys].join(", ")} FROM ${this.world.schema}.${table.name} AS t WHERE ${which}
       ORDER BY ${table.keys.map((name) => `t.\`${name}\``).join(", ")}`,
    );
    return new Map(
      rows.map((row) => {
        const label = table.keys.map((name, i) => `${name}=${labelOf(row[`k${i}`] as Buffer)}`).join(" ");
        const keyed = table.keys
          .map((name) => row[`v${columns.findIndex((column) => column.name === name)}`])
          .join("|");
        return [keyed, { key: label, mark: Number(row["mark"]), values: columns.map((_, i) => String(row[`v${i}`])) }];
      }),
    );
  }

  async #fill(table: BlindTable, side: Side): Promise<void> {
    await this.run(side, table, `CREATE TABLE {t} ${table.ddl} CHARACTER SET utf8mb4`);
    const count = side === "a" ? table.rows + NEIGHBOUR_ROWS : NEIGHBOUR_ROWS;
    const last = table.rows + 2 * NEIGHBOUR_ROWS;
    for (let i = 0; i < count; i++) {
      // Neighbours have every so many-th key, so that they stand among the tenant's rows.
      const n = side === "a" ? i : table.rows + NEIGHBOUR_ROWS + i;
      const own = side === "a" && i < table.rows;
      const tenant = own ? TENANT : NEIGHBOURS[side];
      const row = { ...table.row(n % Math.max(1, last), tenant), tenant_id: `'${tenant}'`, mark: String(n) };
      await this.run(
        side,
        table,
        `INSERT INTO {t} (${Object.keys(row).join(", ")}) VALUES (${Object.values(row).join(", ")})`,
      );
    }
  }

  async #readColumns({ name }: BlindTable): Promise<readonly BlindColumn[]> {
    const [rows] = await (this.world.admin.a as Connection).query<RowDataPacket[]>(
      `SELECT COLUMN_NAME AS name, DATA_TYPE AS dataType, COLUMN_TYPE AS columnType FROM information_schema.COLUMNS
       WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
      [this.world.schema, name],
    );
    return rows.map((row) => ({
      name: String(row["name"]),
      dataType: String(row["dataType"]),
      columnType: String(row["columnType"]),
    }));
  }
}

/** A key's column as a person reads it: numbers without padding, labels by number, text as text, bytes as they are. */
function labelSql(column: BlindColumn | undefined): string {
  if (column === undefined) throw new Error("no such key column");
  const name = `t.\`${column.name}\``;
  if (column.dataType === "binary" || column.dataType === "varbinary")
    return `CONCAT(_binary '0x', LOWER(HEX(${name})))`;
  if (column.columnType.includes("zerofill")) return `CAST(CAST(${name} AS UNSIGNED) AS CHAR)`;
  if (/char|text/.test(column.dataType)) return `CONVERT(${name} USING utf8mb4)`;
  return fingerprintSql(column);
}

function labelOf(value: Buffer | string): string {
  return Buffer.isBuffer(value) ? value.toString("utf8") : value;
}
