import { randomBytes } from "node:crypto";
import { Kafka, logLevel } from "kafkajs";
import type { MysqlServer, Servers } from "../docker/servers.ts";
import { type Account, createAccounts, dropAccounts, newAccounts } from "./accounts.ts";
import { connect, type ServerAddress } from "./mysql.ts";
import { ID_OFFSET, ID_STEP, SCHEMA, SIDES, type Side, serverFlags } from "./schema.ts";

/** The two servers of the demo, and the log's broker where it has one. */
export interface Hosts {
  /** The administrator's: for seeding and checking. */
  readonly addresses: Readonly<Record<Side, ServerAddress>>;
  readonly forApplication: Readonly<Record<Side, ServerAddress>>;
  readonly forProduct: Readonly<Record<Side, ServerAddress>>;
  /** Where the product keeps what is its own on both servers. */
  readonly productSchema: string;
  readonly log:
    | { readonly kind: "embedded" }
    | { readonly kind: "kafka"; readonly brokers: readonly string[]; readonly topicPrefix: string };
  /** Drops schemas, accounts and topics on servers that go on without the demo. */
  clean(): Promise<void>;
}

const NAMES: Readonly<Record<Side, string>> = { source: "mysql-a", target: "mysql-b" };

/** Servers of somebody else are used in schemas with random names, and refused where their settings do not fit. */
export async function openHosts(options: {
  readonly servers: Servers;
  readonly log: "embedded" | "kafka";
  readonly say: (text: string) => void;
}): Promise<Hosts> {
  const { servers } = options;
  const start = (side: Side) => servers.mysql({ name: NAMES[side], flags: serverFlags(side) });
  const [source, target, broker] = await Promise.all([
    start("source"),
    start("target"),
    options.log === "kafka" ? servers.kafka() : null,
  ]);
  const given = { source, target };
  const isOurs = source.owned && target.owned;
  const suffix = isOurs ? "" : `_${randomBytes(4).toString("hex")}`;
  const schema = `${SCHEMA}${suffix}`;
  const productSchema = `dray${suffix}`;
  const addresses = { source: address(source, schema), target: address(target, schema) };
  for (const side of SIDES) if (!given[side].owned) await refuseUnfit(addresses[side], side);
  const accounts = newAccounts(suffix);
  const log =
    broker === null
      ? ({ kind: "embedded" } as const)
      : ({
          kind: "kafka",
          brokers: broker.brokers,
          topicPrefix: `dray-demo-${randomBytes(4).toString("hex")}`,
        } as const);
  for (const side of SIDES) {
    await createAccounts({ server: addresses[side], side, productSchema, ways: "there and back", ...accounts });
  }
  return {
    addresses,
    forApplication: withAccount(addresses, accounts.application),
    forProduct: withAccount(addresses, accounts.product),
    productSchema,
    log,
    async clean() {
      for (const side of SIDES) {
        if (given[side].owned) continue;
        const connection = await connect(addresses[side], { inSchema: "not yet" });
        for (const name of [schema, productSchema]) await connection.query(`DROP DATABASE IF EXISTS \`${name}\``);
        await connection.end();
        await dropAccounts(addresses[side], [accounts.application, accounts.product]);
      }
      if (log.kind === "kafka" && broker?.owned === false) await dropTopics(log);
    },
  };
}

function withAccount(addresses: Hosts["addresses"], account: Account): Hosts["addresses"] {
  return { source: { ...addresses.source, ...account }, target: { ...addresses.target, ...account } };
}

function address({ host, port, user, password }: MysqlServer, schema: string): ServerAddress {
  return { host, port, user, password, schema };
}

async function dropTopics(options: { readonly brokers: readonly string[]; readonly topicPrefix: string }) {
  const kafka = new Kafka({ clientId: "dray-demo", brokers: [...options.brokers], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  try {
    const topics = (await admin.listTopics()).filter((name) => name.startsWith(options.topicPrefix));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  } finally {
    await admin.disconnect();
  }
}

async function refuseUnfit(server: ServerAddress, side: Side): Promise<void> {
  const wanted = { auto_increment_increment: ID_STEP, auto_increment_offset: ID_OFFSET[side], local_infile: 1 };
  const connection = await connect(server, { inSchema: "not yet" });
  try {
    const names = Object.keys(wanted);
    const [rows] = await connection.query(`SELECT ${names.map((name) => `@@GLOBAL.${name}`).join(", ")}`);
    const found = (rows as unknown as string[][])[0] ?? [];
    const wrong = Object.values(wanted).some((value, index) => String(value) !== found[index]);
    if (!wrong) return;
    const sql = Object.entries(wanted).map(([name, value]) => `${name} = ${value}`);
    throw new Error(`${side} ${server.host}:${server.port}: the demo needs SET GLOBAL ${sql.join(", ")}`);
  } finally {
    await connection.end();
  }
}
