import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "../demo/mysql.ts";
import { type Found, REQUIRED } from "./bench-run.ts";
import { startChild } from "./child.ts";
import { compareSides } from "./compare.ts";
import { median } from "./figures.ts";
import { startReplica, stopReplica } from "./hosts.ts";
import { type BacklogSettings, insertedFrom } from "./load.ts";
import { sleep } from "./product.ts";
import { readOne, TABLES, type TableName } from "./schema.ts";
import { type Streaming, TENANT } from "./streaming.ts";

const CONNECTIONS = 4;
const POLL_MS = 5;
const GIVE_UP_MS = 1_800_000;

/**
 * A backlog in the source's binary log, made while `dray serve` and the replica are stopped, and then drained by one
 * after the other. The lane streams before and after, and a pass of verification is due while it drains.
 */
export async function measureDrain(streaming: Streaming): Promise<Found> {
  const { run, product, replica } = streaming;
  const { options, hosts, say } = run;
  const ours: number[] = [];
  const native: number[] = [];
  const cpuSeconds: number[] = [];
  for (let round = 0; round < options.repeat; round++) {
    await product.stop();
    say(`drain: making ${options.events.toLocaleString("en")} events`);
    const backlog = await makeBacklog(streaming, round);
    const inTurns = [
      async () => {
        const drained = await drainOurs(streaming, backlog);
        ours.push(backlog.events / drained.seconds);
        cpuSeconds.push((drained.cpuSeconds * 1e6) / backlog.events);
        say(`drain: dray ${Math.round(backlog.events / drained.seconds).toLocaleString("en")} events/s`);
      },
      async () => {
        const seconds = await drainNative(streaming, backlog);
        native.push(backlog.events / seconds);
        say(`drain: replica ${Math.round(backlog.events / seconds).toLocaleString("en")} events/s`);
      },
    ];
    for (const turn of round % 2 === 0 ? inTurns : inTurns.toReversed()) await turn();
    await compareSides({ what: "drain by dray", ...hosts, tenant: null });
    await compareSides({ what: "drain by the replica", source: hosts.source, target: replica, tenant: null });
  }
  const line = {
    name: "drain of a backlog",
    ours: median(ours),
    unit: "events/s",
    beside: { name: "MySQL's replica, 4 workers", value: median(native) },
    required: { atLeast: REQUIRED[options.log].drain },
  };
  const cpu = {
    name: "drain, CPU of our processes a million events",
    ours: median(cpuSeconds),
    unit: "s",
    beside: null,
    required: null,
  };
  return { lines: [line, cpu], details: { ours, replica: native, cpuSecondsPerMillion: cpuSeconds } };
}

type Backlog = {
  readonly round: number;
  readonly events: number;
  readonly inserted: Readonly<Record<TableName, number>>;
};

async function makeBacklog({ run }: Streaming, round: number): Promise<Backlog> {
  const { options, hosts } = run;
  const { rows, events, seed } = options;
  const settings: BacklogSettings = {
    source: hosts.source,
    tenant: TENANT,
    rows,
    events,
    connections: CONNECTIONS,
    seed: seed + 1_000 * (round + 1),
    round,
  };
  const made = await startChild("./load.ts", settings).message<{
    transactions: number;
    inserted: Record<TableName, number>;
  }>("done");
  return { round, events: made.transactions * 10, inserted: made.inserted };
}

async function drainOurs({ run, product, move }: Streaming, backlog: Backlog) {
  const watch = await ArrivalWatch.open(run.hosts.target, backlog);
  try {
    await product.start();
    for (;;) {
      const [lane] = (await product.api.status(move)).lanes;
      if (lane?.capture === "shared" || lane?.capture === "detached") break;
      await sleep(POLL_MS);
    }
    // As it is in a move's life: everything is to be compared once more, which must not hold the stream up.
    await product.api.post(`/v1/moves/${move}/verify`, {});
    const begin = performance.now();
    const before = product.usage().cpuSeconds;
    await watch.arrived();
    return { seconds: (performance.now() - begin) / 1000, cpuSeconds: product.usage().cpuSeconds - before };
  } finally {
    await watch.close();
  }
}

async function drainNative({ replica }: Streaming, backlog: Backlog): Promise<number> {
  const watch = await ArrivalWatch.open(replica, backlog);
  try {
    await startReplica(replica);
    const begin = performance.now();
    await watch.arrived();
    const seconds = (performance.now() - begin) / 1000;
    await stopReplica(replica);
    return seconds;
  } finally {
    await watch.close();
  }
}

/** Every transaction of the backlog inserts rows, so that all have arrived when all of these rows are visible. */
class ArrivalWatch {
  readonly #connection: Connection;
  readonly #backlog: Backlog;
  private constructor(connection: Connection, backlog: Backlog) {
    this.#connection = connection;
    this.#backlog = backlog;
  }
  static async open(address: ServerAddress, backlog: Backlog): Promise<ArrivalWatch> {
    return new ArrivalWatch(await connect(address), backlog);
  }

  /** Looks at the last row first, which costs next to nothing, and counts only once that is there. */
  async arrived(): Promise<void> {
    const { round, inserted } = this.#backlog;
    const first = insertedFrom(round);
    const until = performance.now() + GIVE_UP_MS;
    for (const table of TABLES) {
      const last = first + 2 * (inserted[table] - 1);
      for (const sql of [
        `SELECT COUNT(*) = 1 FROM ${table} WHERE id = ${last}`,
        `SELECT COUNT(*) = ${inserted[table]} FROM ${table} WHERE id BETWEEN ${first} AND ${last}`,
      ]) {
        while ((await readOne(this.#connection, sql))[0] !== "1") {
          if (performance.now() > until) throw new Error(`drain: the backlog of ${table} does not arrive`);
          await sleep(POLL_MS);
        }
      }
    }
  }

  close(): Promise<void> {
    return this.#connection.end();
  }
}
