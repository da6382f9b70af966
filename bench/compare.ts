import { connect, type ServerAddress } from "../demo/mysql.ts";
import { COLUMNS, readOne, TABLES } from "./schema.ts";

/** A run whose two sides differ counts for nothing. */
export class SidesDiffer extends Error {}

/** Of one table by SQL over every column: rows, and two sums that the order of rows does not change. */
type Digest = { readonly rows: string; readonly sum: string; readonly mix: string };

/** Throws SidesDiffer naming the table. `tenant` null: the whole tables. Returns the rows compared. */
export async function compareSides(options: {
  readonly what: string;
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  readonly tenant: number | null;
}): Promise<number> {
  const { what, source, target, tenant } = options;
  const [here, there] = await Promise.all([digests(source, tenant), digests(target, tenant)]);
  let rows = 0;
  for (const table of TABLES) {
    const [a, b] = [here[table], there[table]];
    rows += Number(a?.rows);
    if (JSON.stringify(a) === JSON.stringify(b)) continue;
    throw new SidesDiffer(`${what}: ${table} differs: source ${JSON.stringify(a)}, target ${JSON.stringify(b)}`);
  }
  if (rows === 0) throw new SidesDiffer(`${what}: there is nothing to compare`);
  return rows;
}

async function digests(address: ServerAddress, tenant: number | null): Promise<Readonly<Record<string, Digest>>> {
  const connection = await connect(address);
  try {
    const found: Record<string, Digest> = {};
    for (const table of TABLES) {
      const [rows, sum, mix] = await readOne(connection, digestSql(table, tenant));
      found[table] = { rows: rows ?? "", sum: sum ?? "", mix: mix ?? "" };
    }
    return found;
  } finally {
    await connection.end();
  }
}

/** NULL and an empty value must not look alike, nor two values that meet at a separator: each goes with its length. */
function digestSql(table: string, tenant: number | null): string {
  const parts = COLUMNS.map((column) => `IFNULL(CONCAT(LENGTH(${column}), ':', ${column}), 'n')`);
  const row = `CONCAT(${parts.join(", ")})`;
  const where = tenant === null ? "" : ` WHERE tenant_id = ${tenant}`;
  return `SELECT COUNT(*), SUM(CRC32(${row})), SUM(CRC32(REVERSE(${row}))) FROM ${table}${where}`;
}
