import { setTimeout as sleep } from "node:timers/promises";
import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import type { Address } from "./traffic.ts";

/** As long as this a neighbour may notice. */
const LIMIT_MS = 100;
/** A sampler that was itself held up by a busy machine says nothing of what happened meanwhile. */
const BLIND_MS = 60;

/** Lock waits of the application behind a connection of Drayage: a row lock, or a table's definition. */
const WAITS = `
  SELECT CONCAT('row ', w.REQUESTING_ENGINE_LOCK_ID, ' ', w.REQUESTING_THREAD_ID) AS wait_id, MAX(b.role) AS role
    FROM performance_schema.data_lock_waits w
    JOIN {ours} b ON b.thread_id = w.BLOCKING_THREAD_ID
    JOIN {theirs} r ON r.thread_id = w.REQUESTING_THREAD_ID
   GROUP BY wait_id
  UNION ALL
  SELECT CONCAT('table ', p.OBJECT_INSTANCE_BEGIN, ' ', p.OWNER_THREAD_ID), MAX(b.role)
    FROM performance_schema.metadata_locks p
    JOIN performance_schema.metadata_locks g ON g.LOCK_STATUS = 'GRANTED' AND g.OBJECT_TYPE = p.OBJECT_TYPE
     AND g.OBJECT_SCHEMA <=> p.OBJECT_SCHEMA AND g.OBJECT_NAME <=> p.OBJECT_NAME
    JOIN {ours} b ON b.thread_id = g.OWNER_THREAD_ID
    JOIN {theirs} r ON r.thread_id = p.OWNER_THREAD_ID
   WHERE p.LOCK_STATUS = 'PENDING' GROUP BY p.OBJECT_INSTANCE_BEGIN, p.OWNER_THREAD_ID`;

function threads(condition: string): string {
  return `(SELECT t.THREAD_ID AS thread_id, MIN(CONCAT(a.ATTR_NAME, '=', a.ATTR_VALUE)) AS role
             FROM performance_schema.threads t
             JOIN performance_schema.session_account_connect_attrs a ON a.PROCESSLIST_ID = t.PROCESSLIST_ID
            WHERE ${condition} GROUP BY t.THREAD_ID)`;
}

export type Watched = {
  /** Waits over the limit, by what they waited for. */
  readonly long: readonly string[];
  /** How often was looked, soon enough after the time before. */
  readonly samples: number;
  /** The share of the time, from 0 to 1, in which a long wait could not have been missed. */
  readonly sighted: number;
};

/** Watches one server until stopped. */
export class LockWaits {
  readonly #sql: string;
  readonly #seen = new Map<string, { readonly sinceMs: number; lastMs: number; readonly role: string }>();
  readonly #long = new Set<string>();
  #samples = 0;
  #sightedMs = 0;
  #blindMs = 0;
  #stopping = false;
  #running: Promise<void> = Promise.resolve();

  constructor(schema: string) {
    this.#sql = WAITS.replaceAll("{ours}", threads("a.ATTR_NAME IN ('dray_lane', 'dray_role')")).replaceAll(
      "{theirs}",
      threads(`a.ATTR_NAME = 'world' AND a.ATTR_VALUE = '${schema}'`),
    );
  }

  async start({ host, port, user, password }: Address): Promise<void> {
    const connection = await createConnection({ host, port, user, password });
    this.#running = this.#run(connection).finally(() => connection.destroy());
  }

  /** Whoever expects no long wait must expect that it was looked for. */
  async stop(): Promise<Watched> {
    this.#stopping = true;
    await this.#running;
    const wholeMs = this.#sightedMs + this.#blindMs;
    return { long: [...this.#long], samples: this.#samples, sighted: wholeMs === 0 ? 0 : this.#sightedMs / wholeMs };
  }

  async #run(connection: Connection): Promise<void> {
    let beforeMs = performance.now();
    while (!this.#stopping) {
      const [rows] = await connection.query<RowDataPacket[]>(this.#sql);
      const nowMs = performance.now();
      const wasBlind = nowMs - beforeMs > BLIND_MS;
      if (wasBlind) this.#blindMs += nowMs - beforeMs;
      else {
        this.#sightedMs += nowMs - beforeMs;
        this.#samples++;
      }
      beforeMs = nowMs;
      const now = new Set(rows.map((row) => String(row["wait_id"])));
      for (const id of [...this.#seen.keys()]) if (wasBlind || !now.has(id)) this.#seen.delete(id);
      for (const row of rows) {
        const id = String(row["wait_id"]);
        const role = String(row["role"]);
        const seen = this.#seen.get(id) ?? { sinceMs: nowMs, lastMs: nowMs, role };
        this.#seen.set(id, { ...seen, lastMs: nowMs });
        if (nowMs - seen.sinceMs > LIMIT_MS) this.#long.add(`${id} behind ${role}`);
      }
      await sleep(15);
    }
  }
}
