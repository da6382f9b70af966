import { createHash } from "node:crypto";
import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "../demo/mysql.ts";
import { settings, tell } from "./child.ts";
import { READ_LIST, TABLES, type TableName } from "./schema.ts";

/**
 * What comparing costs whoever else is on the machine, by hand: ranges of both sides read by key as bytes, a SHA-256 a
 * row, so many rows a second, and nothing else. No position in a log, no views, nothing kept: what it finds beside
 * changes means nothing. A process of its own; compares until SIGTERM.
 */
export interface CompareLimitSettings {
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  readonly tenant: number;
  readonly rowsPerSecond: number;
  readonly rangeRows: number;
}

export type CompareLimitDone = { readonly rows: number; readonly seconds: number };

const { source, target, tenant, rowsPerSecond, rangeRows } = settings<CompareLimitSettings>();
const sides = await Promise.all([connect(source), connect(target)]);

let isWanted = true;
process.once("SIGTERM", () => {
  isWanted = false;
});
const begin = performance.now();
let rows = 0;
while (isWanted) {
  for (const table of TABLES) {
    for (let after: string | null = "0"; after !== null && isWanted; ) after = await compareFrom(table, after);
  }
}
const done: CompareLimitDone = { rows, seconds: (performance.now() - begin) / 1000 };
await tell({ type: "done", ...done });
await Promise.all(sides.map((side) => side.end()));
process.disconnect?.();

/** The last id of the range behind `after`; null at the table's end. */
async function compareFrom(table: TableName, after: string): Promise<string | null> {
  const [first, second] = await Promise.all(sides.map((side) => digestsBehind(side, table, after)));
  if (first === undefined || second === undefined) throw new Error("there are two sides");
  for (const [id, digest] of first.byId) second.byId.get(id)?.equals(digest);
  rows += first.byId.size;
  const isDueMs = begin + (rows / rowsPerSecond) * 1000;
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, isDueMs - performance.now())));
  return first.byId.size < rangeRows ? null : first.last;
}

async function digestsBehind(side: Connection, table: TableName, after: string) {
  const [read] = await side.query({
    sql: `SELECT ${READ_LIST} FROM ${table} WHERE tenant_id = ${tenant} AND id > ${after} ORDER BY id LIMIT ${rangeRows}`,
    rowsAsArray: true,
    typeCast: (field) => field.buffer(),
  });
  const byId = new Map<string, Buffer>();
  let last = after;
  for (const row of read as unknown as (Buffer | null)[][]) {
    const hash = createHash("sha256");
    for (const value of row) {
      hash.update(String(value?.length ?? -1));
      if (value !== null) hash.update(value);
    }
    last = String(row[0]);
    byId.set(last, hash.digest());
  }
  return { byId, last };
}
