import { randomBytes } from "node:crypto";
import { createAccounts, newAccounts } from "../demo/accounts.ts";
import { connect, type ServerAddress } from "../demo/mysql.ts";
import type { Side } from "../demo/schema.ts";
import type { MysqlServer, Servers } from "../docker/servers.ts";
import type { BenchOptions, Durability } from "./options.ts";
import { ID_STEP, PRODUCT_SCHEMA, readOne, SCHEMA } from "./schema.ts";

/** Servers of the bench's own: settings and loads like these are nothing for a server of somebody else. */
export interface Hosts {
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  /** With an account that has what preflight asks for, and no more. */
  readonly forProduct: { readonly source: ServerAddress; readonly target: ServerAddress };
  readonly log:
    | { readonly kind: "embedded" }
    | { readonly kind: "kafka"; readonly brokers: readonly string[]; readonly topicPrefix: string };
  readonly versions: readonly string[];
  /** MySQL's own replication, as a third server; started at the first call. */
  replica(): Promise<ServerAddress>;
}

const OFFSETS = { source: 1, target: 2, replica: 1 } as const;

export async function openHosts(options: { readonly servers: Servers; readonly bench: BenchOptions }): Promise<Hosts> {
  const { servers, bench } = options;
  const start = (role: keyof typeof OFFSETS) =>
    servers.mysql({ name: `bench-${role}`, flags: flags(bench.durability, OFFSETS[role]) });
  const [source, target, broker] = await Promise.all([
    start("source"),
    start("target"),
    bench.log === "kafka" ? servers.kafka() : null,
  ]);
  const { application, product } = newAccounts("");
  for (const [side, server] of Object.entries({ source, target })) {
    const where = {
      server: address(server),
      side: side as Side,
      productSchema: PRODUCT_SCHEMA,
      ways: "there and back" as const,
    };
    await createAccounts({ ...where, application, product });
  }
  let replica: Promise<ServerAddress> | null = null;
  const versions = [`MySQL ${source.version}`, ...(broker === null ? [] : [`Kafka ${broker.version}`])];
  return {
    source: address(source),
    target: address(target),
    forProduct: { source: { ...address(source), ...product }, target: { ...address(target), ...product } },
    versions: [...versions, `Node ${process.versions.node}`],
    log:
      broker === null
        ? { kind: "embedded" }
        : { kind: "kafka", brokers: broker.brokers, topicPrefix: `dray-bench-${randomBytes(4).toString("hex")}` },
    replica() {
      replica ??= start("replica").then((server) => follow(address(server), address(source)));
      return replica;
    },
  };
}

function durable(durability: Durability): Readonly<Record<string, number>> {
  return durability === "durable"
    ? { sync_binlog: 1, innodb_flush_log_at_trx_commit: 1 }
    : { sync_binlog: 0, innodb_flush_log_at_trx_commit: 2 };
}

function flags(durability: Durability, offset: number): string[] {
  return [
    ...Object.entries(durable(durability)).map(([name, value]) => `--${name.replaceAll("_", "-")}=${value}`),
    "--innodb-buffer-pool-size=1G",
    "--innodb-redo-log-capacity=2G",
    `--auto-increment-increment=${ID_STEP}`,
    `--auto-increment-offset=${offset}`,
    "--max-allowed-packet=64M",
  ];
}

function address({ host, port, user, password }: MysqlServer): ServerAddress {
  return { host, port, user, password, schema: SCHEMA };
}

/** MySQL's own replication with 4 workers and its default settings. */
async function follow(replica: ServerAddress, source: ServerAddress): Promise<ServerAddress> {
  const connection = await connect(replica, { inSchema: "not yet" });
  await connection.query("SET GLOBAL replica_parallel_workers = 4");
  await connection.query(
    `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '${source.host}', SOURCE_PORT = ${source.port}, ` +
      `SOURCE_USER = '${source.user}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1`,
  );
  await connection.end();
  return replica;
}

/** Resolves once START REPLICA has returned. */
export async function startReplica(replica: ServerAddress): Promise<void> {
  const connection = await connect(replica, { inSchema: "not yet" });
  await connection.query("START REPLICA");
  await connection.end();
}

export async function stopReplica(replica: ServerAddress): Promise<void> {
  const connection = await connect(replica, { inSchema: "not yet" });
  await connection.query("STOP REPLICA");
  await connection.end();
}

/** Resolves once the replica has everything that the source has executed by now. */
export async function catchUp(replica: ServerAddress, source: ServerAddress): Promise<void> {
  const [from, to] = await Promise.all([source, replica].map((server) => connect(server, { inSchema: "not yet" })));
  if (from === undefined || to === undefined) throw new Error("there are two servers");
  try {
    const [executed] = await readOne(from, "SELECT @@GLOBAL.gtid_executed");
    const [outcome] = await readOne(to, `SELECT WAIT_FOR_EXECUTED_GTID_SET('${executed}', 600)`);
    if (outcome === "0") return;
    const [problem] = await readOne(
      to,
      "SELECT GROUP_CONCAT(LAST_ERROR_MESSAGE) FROM performance_schema.replication_applier_status_by_worker",
    );
    throw new Error(`the replica does not catch up: ${problem}`);
  } finally {
    await Promise.all([from.end(), to.end()]);
  }
}
