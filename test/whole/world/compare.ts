import type { Connection, RowDataPacket } from "mysql2/promise";
import { type RowRef, type RowState, rowId, type Side } from "./ledger.ts";
import { KEYS, quoted, tenantColumn, WORLD_TABLES, type WorldTable } from "./tables.ts";
import type { World } from "./world.ts";

type Columns = readonly { readonly name: string; readonly type: string }[];

/**
 * Rows of a tenant that differ between the two sides, by SQL alone: every column's bytes in hex, JSON by MySQL's own
 * `=`. Empty where nothing differs.
 */
export async function differences(world: World, tenant: string): Promise<string[]> {
  const found: string[] = [];
  for (const table of WORLD_TABLES) {
    const columns = await columnsOf(world.admin.a, world.schema, table);
    const [left, right] = [
      await rowsOf(world, "a", table, tenant, columns),
      await rowsOf(world, "b", table, tenant, columns),
    ];
    for (const [key, row] of left) {
      const other = right.get(key);
      if (other === undefined) found.push(`${table} ${key}: missing at b`);
      else if (!(await isEqual(world.admin.b, columns, row, other))) found.push(`${table} ${key}: ${show(row, other)}`);
    }
    for (const key of right.keys()) if (!left.has(key)) found.push(`${table} ${key}: only at b`);
  }
  return found;
}

/** Rows of a tenant at one side. */
export async function countRows(world: World, side: Side, tenant: string): Promise<number> {
  let count = 0;
  for (const table of WORLD_TABLES) {
    count += (await rowsOf(world, side, table, tenant, [{ name: "stamp", type: "bigint" }])).size;
  }
  return count;
}

/**
 * Where a side is not what the ledger says: an acknowledged write that is lost or was changed, a row that nobody wrote.
 * `frozen` tenants have left the side with their rows staying behind.
 */
export async function ledgerProblems(world: World, side: Side, frozen: readonly string[] = []): Promise<string[]> {
  const problems: string[] = [];
  const expected = new Map(world.ledger.at(side));
  for (const row of await readLedgerRows(world.admin[side], world.schema, side)) {
    const id = rowId(row);
    const wanted = expected.get(id);
    expected.delete(id);
    if (world.ledger.isUnsettled(row) || frozen.includes(row.tenant)) continue;
    if (wanted === undefined) problems.push(`${id} of ${row.tenant}: nobody wrote it`);
    else if (wanted.tenant !== row.tenant || wanted.stamp !== row.stamp) {
      problems.push(`${id}: ${row.tenant}/${row.stamp} instead of ${wanted.tenant}/${wanted.stamp}`);
    }
  }
  for (const [id, row] of expected) if (!frozen.includes(row.tenant)) problems.push(`${id} of ${row.tenant}: lost`);
  return problems;
}

export async function readLedgerRows(
  admin: Connection,
  schema: string,
  side: Side,
): Promise<(RowRef & Pick<RowState, "tenant" | "stamp">)[]> {
  const rows: (RowRef & Pick<RowState, "tenant" | "stamp">)[] = [];
  for (const table of WORLD_TABLES) {
    const [found] = await admin.query<RowDataPacket[]>(
      `SELECT CONCAT_WS('|', ${KEYS[table].join(", ")}) AS k, ${tenantColumn(table)} AS t, stamp
       FROM ${schema}.${quoted(table)}`,
    );
    for (const row of found) {
      rows.push({ side, table, key: String(row["k"]), tenant: String(row["t"]), stamp: Number(row["stamp"]) });
    }
  }
  return rows;
}

async function columnsOf(admin: Connection, schema: string, table: WorldTable): Promise<Columns> {
  const [rows] = await admin.query<RowDataPacket[]>(
    `SELECT COLUMN_NAME AS name, DATA_TYPE AS type FROM information_schema.COLUMNS
     WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
    [schema, table],
  );
  return rows.map((row) => ({ name: String(row["name"]), type: String(row["type"]) }));
}

async function rowsOf(world: World, side: Side, table: WorldTable, tenant: string, columns: Columns) {
  const list = columns.map(({ name, type }) =>
    /char|text|binary|blob/.test(type)
      ? `HEX(${name}) AS ${name}`
      : `${type === "json" ? `CAST(${name} AS CHAR)` : `HEX(CAST(${name} AS CHAR))`} AS ${name}`,
  );
  const [rows] = await world.admin[side].query<RowDataPacket[]>(
    `SELECT HEX(CONCAT_WS('|', ${KEYS[table].join(", ")})) AS row_key, ${list.join(", ")}
     FROM ${world.schema}.${quoted(table)} WHERE CAST(${tenantColumn(table)} AS CHAR) = CAST(? AS CHAR) COLLATE utf8mb4_bin`,
    [tenant],
  );
  return new Map(rows.map(({ row_key, ...row }) => [String(row_key), row as Record<string, string | null>]));
}

async function isEqual(
  admin: Connection,
  columns: Columns,
  left: Readonly<Record<string, string | null>>,
  right: Readonly<Record<string, string | null>>,
): Promise<boolean> {
  for (const { name, type } of columns) {
    const [one, two] = [left[name] ?? null, right[name] ?? null];
    if (one === two) continue;
    if (type !== "json" || one === null || two === null) return false;
    const [rows] = await admin.query<RowDataPacket[]>("SELECT CAST(? AS JSON) = CAST(? AS JSON) AS same", [one, two]);
    if (Number(rows[0]?.["same"]) !== 1) return false;
  }
  return true;
}

function show(left: Readonly<Record<string, string | null>>, right: Readonly<Record<string, string | null>>): string {
  const columns = Object.keys(left).filter((name) => left[name] !== right[name]);
  return columns.map((name) => `${name} ${left[name]?.slice(0, 60)} <> ${right[name]?.slice(0, 60)}`).join(", ");
}
