import type { Connection } from "mysql2/promise";
import type { ServerAddress } from "../demo/mysql.ts";
import { RouterClient } from "../demo/router-client.ts";
import { settings, tell } from "./child.ts";
import { insertSql, openLoad, updateSql } from "./load.ts";
import { RowMaker } from "./rows.ts";
import { idOf, rowsOf, TABLES } from "./schema.ts";

/** Transactions of 5 rows at an even pace: 3 updated, 2 inserted; every eleventh about the second table. */
export interface SteadySettings {
  /** Where the tenant lives, and which side the router calls that. */
  readonly source: ServerAddress;
  readonly side: "source" | "target";
  readonly tenant: number;
  /** Tenants that share the rows in turns. */
  readonly tenants: number;
  readonly rows: number;
  readonly tps: number;
  readonly seed: number;
  /**
   * Asked before every transaction, as the demo's application asks it: once for all that ask at the same moment. Null:
   * nobody is asked. The load ends when its tenant has moved, so that both sides can be compared.
   */
  readonly routerUrl: string | null;
}

/** An answer of the router that is older must not be acted on. */
const GOOD_FOR_MS = 50;
const RETRY_MS = 5;
const TICK_MS = 5;
const CONNECTIONS = 32;
const ONE_IN = 11;

const options = settings<SteadySettings>();
const maker = new RowMaker(options);
const router = options.routerUrl === null ? null : new RouterClient({ url: options.routerUrl });
const all = await Promise.all(Array.from({ length: CONNECTIONS }, () => openLoad(options.source)));
const idle = [...all];
let started = 0;
let committed = 0;
let state: "running" | "ending" = "running";
const underWay = new Set<Promise<void>>();

process.once("SIGTERM", () => {
  state = "ending";
});
process.once("disconnect", () => process.exit(0));
const begin = performance.now();
await tell({ type: "ready" });
while (state === "running") {
  const due = Math.floor(((performance.now() - begin) / 1000) * options.tps);
  for (; started < due; started++) {
    // What the source cannot take now is left out, not made up for in a burst; the pace reached is told at the end.
    const connection = idle.pop();
    if (connection === undefined) continue;
    const one = transaction(connection).finally(() => underWay.delete(one));
    underWay.add(one);
  }
  await sleep(TICK_MS);
}
await Promise.all(underWay);
await tell({ type: "done", committed, seconds: (performance.now() - begin) / 1000 });
await Promise.all(all.map((connection) => connection.end()));
router?.close();
process.disconnect?.();

async function transaction(connection: Connection): Promise<void> {
  for (;;) {
    const asked = await where();
    if (asked === "moved") break;
    if (asked === "fenced") {
      await sleep(RETRY_MS);
      continue;
    }
    await connection.query(`BEGIN; ${rowsSql()}`);
    const isStale = performance.now() - asked.atMs > GOOD_FOR_MS;
    await connection.query(isStale ? "ROLLBACK" : "COMMIT");
    if (isStale) continue;
    committed++;
    break;
  }
  idle.push(connection);
}

function rowsSql(): string {
  const { tenant, tenants, rows } = options;
  const table = TABLES[started % ONE_IN === 0 ? 1 : 0];
  const share = Math.floor(rowsOf(table, rows) / tenants);
  const ids = new Set<number>();
  while (ids.size < 3) ids.add(idOf(maker.random.integer(share) * tenants + tenant - 1));
  // In the order of keys, so that two transactions never wait for each other in a circle.
  const updates = [...ids].sort((a, b) => a - b).map((id) => updateSql(maker, table, id));
  const inserts = [0, 1].map(() => insertSql(maker, table, { tenant, id: null }));
  return [...updates, ...inserts].join("; ");
}

async function where(): Promise<{ readonly atMs: number } | "fenced" | "moved"> {
  if (router === null) return { atMs: performance.now() };
  const { side, fenced, askedAtMs } = await router.where(String(options.tenant));
  if (side !== options.side) {
    state = "ending";
    return "moved";
  }
  return fenced ? "fenced" : { atMs: askedAtMs };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
