import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "./mysql.ts";

const POLL_MS = 2;

/**
 * Sabotage between the second sentinel and the commit point, by SQL alone: the outcome table at the source is locked for
 * reading, so that the INSERT of the outcome waits; while it waits the stray write is made, then the lock is let go.
 * Begin before the cutover; `write` is called once, when the product stands at its commit point. The lock comes down behind
 * the fence, as before it the product asks that table this and that.
 */
export async function writeBeforeCommit<T>(options: {
  readonly source: ServerAddress;
  /** The schema that the product keeps its marks and outcomes in, on the source. */
  readonly productSchema: string;
  /** Resolves when the tenant is fenced. */
  readonly fenced: (signal: AbortSignal) => Promise<void>;
  readonly write: () => Promise<T>;
  readonly signal: AbortSignal;
}): Promise<T> {
  const { source, productSchema, signal } = options;
  const holder = await connect(source, { inSchema: "not yet" });
  const watcher = await connect(source, { inSchema: "not yet" });
  try {
    await options.fenced(signal);
    await holder.query(`LOCK TABLES \`${productSchema}\`.cutover READ`);
    while (!(await isWaitedFor(watcher, productSchema))) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return await options.write();
  } finally {
    holder.destroy(); // lets the lock go
    watcher.destroy();
  }
}

async function isWaitedFor(connection: Connection, schema: string): Promise<boolean> {
  const [rows] = await connection.query(
    `SELECT COUNT(*) FROM performance_schema.metadata_locks l
       JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id
      WHERE l.object_type = 'TABLE' AND l.object_schema = ? AND l.object_name = 'cutover' AND l.lock_status = 'PENDING'
        AND t.processlist_info LIKE 'INSERT%'`,
    [schema],
  );
  return Number((rows as unknown as string[][])[0]?.[0]) > 0;
}
