import { setTimeout as sleep } from "node:timers/promises";
import { type Connection, createConnection } from "mysql2/promise";
import type { Effect, Ledger, Side } from "./ledger.ts";
import { largeTransaction, OPERATIONS, type Transaction } from "./operations.ts";
import { Random } from "./random.ts";

export type Address = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
};

export type TrafficOptions = {
  readonly servers: Readonly<Record<Side, Address>>;
  readonly schema: string;
  readonly ledger: Ledger;
  readonly seed: number;
  readonly firstStamp: number;
  /** Tenants by the side where they live now; a tenant not in it is not written. */
  readonly homeOf: (tenant: string) => Promise<{ readonly home: Side; readonly mayWrite: boolean }>;
  readonly tenants: readonly string[];
  readonly workers: number;
  /** Older answers of the router are not acted on: the transaction is rolled back. */
  readonly trustMs: number;
  readonly pauseMs: number;
  /** Tenants that are not written at b, so that what arrived there can be compared with what was left behind. */
  readonly heldAtTarget: Set<string>;
  /** The same at a, for a tenant that comes back. */
  readonly heldAtSource: Set<string>;
};

/** Errors of an application's own making, after which it rolls back and goes on. */
const EXPECTED: ReadonlySet<string> = new Set([
  "ER_DUP_ENTRY",
  "ER_LOCK_DEADLOCK",
  "ER_LOCK_WAIT_TIMEOUT",
  "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION",
  "ER_SCHEMA_READ_ONLY",
  // A transaction whose snapshot is older than an ALTER of the table that it comes to.
  "ER_TABLE_DEF_CHANGED",
]);

/** A multi-tenant application: many connections, several tenants, random transactions, and a ledger of what was acknowledged. */
export class Traffic {
  readonly #options: TrafficOptions;
  readonly #random: Random;
  readonly #connections = new Map<string, Connection>();
  readonly #failures: unknown[] = [];
  #stamp = 0;
  #stopping = false;
  #running: Promise<void>[] = [];
  #large: { readonly tenant: string; readonly rows: number; readonly done: () => void } | null = null;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#stamp = options.firstStamp;
  }

  start(): void {
    this.#stopping = false;
    this.#running = Array.from({ length: this.#options.workers }, (_, worker) => this.#work(worker));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
    for (const connection of this.#connections.values()) connection.destroy();
    this.#connections.clear();
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  /** Resolves once a transaction of so many rows has been acknowledged. */
  async large(tenant: string, rows: number): Promise<void> {
    await new Promise<void>((done) => {
      this.#large = { tenant, rows, done };
    });
  }

  async #work(worker: number): Promise<void> {
    const random = new Random(this.#random.below(2 ** 31));
    while (!this.#stopping) {
      try {
        await this.#transaction(worker, random);
      } catch (error) {
        // Servers stop and start in some tests; the ledger has set aside what became unknown.
        if (!isLost(error)) this.#failures.push(error);
        for (const side of ["a", "b"] as const) this.#drop(worker, side);
        await sleep(50);
      }
      await sleep(this.#options.pauseMs * random.next() * 2);
    }
  }

  async #transaction(worker: number, random: Random): Promise<void> {
    const { tenants, homeOf, heldAtTarget, heldAtSource, trustMs, ledger, schema } = this.#options;
    const isHeld = (home: Side, who: string) => (home === "b" ? heldAtTarget : heldAtSource).has(who);
    const large = worker === 0 ? this.#large : null;
    const tenant = large?.tenant ?? random.pick(tenants);
    const wanted = random.pick(tenants);
    const askedMs = performance.now();
    const [where, there] = await Promise.all([homeOf(tenant), homeOf(wanted)]);
    if (!where.mayWrite || isHeld(where.home, tenant)) return;
    const both = there.home === where.home && there.mayWrite && wanted !== tenant;
    const other = both && !isHeld(there.home, wanted) ? wanted : null;
    const connection = await this.#connection(worker, where.home);
    const tx: Transaction = {
      connection,
      schema,
      side: where.home,
      worker,
      tenant,
      other,
      ledger,
      random,
      nextStamp: () => ++this.#stamp,
    };
    let effects: Effect[] = [];
    try {
      await connection.query("START TRANSACTION");
      if (large) effects = await largeTransaction(tx, large.rows);
      else effects = await this.#operations(tx);
      // A fence may have come meanwhile. A large one may take its time: it is waited for as an old writer.
      const isStale = large === null && performance.now() - askedMs > trustMs;
      if (isStale || random.chance(0.1)) {
        await connection.query("ROLLBACK");
        return;
      }
    } catch (error) {
      if (!isExpected(error)) throw error;
      await connection.query("ROLLBACK");
      return;
    }
    try {
      await connection.query("COMMIT");
    } catch (error) {
      ledger.lose(effects);
      throw error;
    }
    ledger.commit(effects);
    if (large) {
      this.#large = null;
      large.done();
    }
  }

  async #operations(tx: Transaction): Promise<Effect[]> {
    const effects: Effect[] = [];
    const { random, connection } = tx;
    for (let left = 1 + random.below(4); left > 0; left--) {
      const operation = random.pick(OPERATIONS);
      if (!random.chance(0.15)) {
        await operation(tx, effects);
        continue;
      }
      await connection.query("SAVEPOINT here");
      const kept = effects.length;
      await operation(tx, effects);
      if (random.chance(0.5)) {
        await connection.query("ROLLBACK TO SAVEPOINT here");
        effects.length = kept;
      } else await connection.query("RELEASE SAVEPOINT here");
    }
    return effects;
  }

  async #connection(worker: number, side: Side): Promise<Connection> {
    const name = `${worker}${side}`;
    const known = this.#connections.get(name);
    if (known) return known;
    const { host, port, user, password } = this.#options.servers[side];
    const connectAttributes = { world: this.#options.schema };
    const connection = await createConnection({ host, port, user, password, connectAttributes, charset: "utf8mb4" });
    connection.on("error", () => this.#connections.delete(name));
    await connection.query("SET time_zone = '+00:00', innodb_lock_wait_timeout = 3");
    this.#connections.set(name, connection);
    return connection;
  }

  #drop(worker: number, side: Side): void {
    this.#connections.get(`${worker}${side}`)?.destroy();
    this.#connections.delete(`${worker}${side}`);
  }
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code ?? "");
}

function isExpected(error: unknown): boolean {
  return EXPECTED.has(codeOf(error));
}

function isLost(error: unknown): boolean {
  return (
    ["ECONNREFUSED", "ECONNRESET", "PROTOCOL_CONNECTION_LOST", "ER_SERVER_SHUTDOWN", "EPIPE", "ETIMEDOUT"].includes(
      codeOf(error),
    ) || /closed state|fetch failed/.test(String(error))
  );
}
