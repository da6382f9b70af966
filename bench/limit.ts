import { Readable } from "node:stream";
import { type Connection, createConnection } from "mysql2/promise";
import type { ServerAddress } from "../demo/mysql.ts";
import { settings, tell } from "./child.ts";
import { COLUMNS, READ_LIST, readOne, TABLES, type TableName } from "./schema.ts";

/**
 * How fast a copy can be in TypeScript on mysql2, by hand and for this one table: rows passed as bytes, ranges of the
 * primary key by arithmetic, no log, no guard, no progress, nothing that survives a crash. A process of its own.
 */
export interface LimitSettings {
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  readonly tenant: number;
  /** So many readers and as many writers. */
  readonly streams: number;
  readonly chunkRows: number;
  readonly idStep: number;
}

export type LimitDone = { readonly seconds: number; readonly cpuSeconds: number; readonly peakMegabytes: number };

type Range = { readonly table: TableName; readonly from: number; readonly to: number };
type Chunk = { readonly table: TableName; readonly text: Buffer };

const { source, target, tenant, streams, chunkRows, idStep } = settings<LimitSettings>();
const open = ({ host, port, user, password, schema }: ServerAddress): Promise<Connection> =>
  createConnection({ host, port, user, password, database: schema, charset: "utf8mb4", timezone: "Z" });
const connections = (address: ServerAddress) => Promise.all(Array.from({ length: streams }, () => open(address)));
const [readers, writers] = await Promise.all([connections(source), connections(target)]);
for (const connection of [...readers, ...writers]) {
  await connection.query("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', foreign_key_checks = 0");
}

const begin = performance.now();
const ranges: Range[] = [];
for (const table of TABLES) {
  const [first] = readers;
  if (first === undefined) throw new Error("there is no reader");
  const ends = await readOne(first, `SELECT MIN(id), MAX(id) FROM ${table} WHERE tenant_id = ${tenant}`);
  const [min, max] = Object.values(ends).map(Number);
  if (min === undefined || max === undefined) continue;
  for (let from = min; from <= max; from += chunkRows * idStep)
    ranges.push({ table, from, to: from + chunkRows * idStep });
}

/** Read and not yet written; readers wait while there are as many as writers, so that memory stays bounded. */
const ready: Chunk[] = [];
let reading = readers.length;
let wake = Promise.withResolvers<void>();
const changed = () => {
  wake.resolve();
  wake = Promise.withResolvers<void>();
};

await Promise.all([...readers.map(read), ...writers.map(write)]);
const seconds = (performance.now() - begin) / 1000;
const { user, system } = process.cpuUsage();
await tell({
  type: "done",
  seconds,
  cpuSeconds: (user + system) / 1e6,
  peakMegabytes: process.resourceUsage().maxRSS / 1024,
});
await Promise.all([...readers, ...writers].map((connection) => connection.end()));
process.disconnect?.();

async function read(connection: Connection): Promise<void> {
  for (let range = ranges.shift(); range !== undefined; range = ranges.shift()) {
    const { table, from, to } = range;
    const [rows] = await connection.query({
      sql: `SELECT ${READ_LIST} FROM ${table} WHERE id >= ${from} AND id < ${to} AND tenant_id = ${tenant}`,
      rowsAsArray: true,
      typeCast: (field) => field.buffer(),
    });
    const chunk = { table, text: loadText(rows as unknown as (Buffer | null)[][]) };
    while (ready.length >= writers.length) await wake.promise;
    ready.push(chunk);
    changed();
  }
  reading--;
  changed();
}

async function write(connection: Connection): Promise<void> {
  for (;;) {
    const chunk = ready.shift();
    if (chunk === undefined) {
      if (reading === 0) return;
      await wake.promise;
      continue;
    }
    changed();
    const { table, text } = chunk;
    await connection.query({
      sql: `LOAD DATA LOCAL INFILE 'rows' INTO TABLE ${table} CHARACTER SET utf8mb4 (${COLUMNS.join(", ")})`,
      infileStreamFactory: () => Readable.from([text]),
    });
  }
}

function loadText(rows: readonly (Buffer | null)[][]): Buffer {
  let out = Buffer.allocUnsafeSlow(Math.max(4096, rows.length * 320));
  let at = 0;
  for (const row of rows) {
    for (let i = 0; i < row.length; i++) {
      const value = row[i] ?? null;
      const need = value === null ? 3 : 2 * value.length + 1;
      if (at + need > out.length) out = Buffer.concat([out.subarray(0, at), Buffer.allocUnsafe(out.length + need)]);
      if (value === null) {
        out[at++] = 0x5c;
        out[at++] = 0x4e;
      } else {
        for (let j = 0; j < value.length; j++) {
          const byte = value[j] as number;
          if (byte === 0x09 || byte === 0x0a || byte === 0x5c) out[at++] = 0x5c;
          out[at++] = byte;
        }
      }
      out[at++] = i === row.length - 1 ? 0x0a : 0x09;
    }
  }
  return out.subarray(0, at);
}
