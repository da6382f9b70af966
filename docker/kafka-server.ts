import { randomBytes, randomInt } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "./cache.ts";
import { lastLines, runCommand } from "./command.ts";
import { Container } from "./container.ts";
import { freePort, onFreePorts } from "./free-port.ts";
import type { Guard } from "./guard.ts";
import { kafkaAnswers } from "./kafka-answers.ts";
import type { KafkaJars } from "./kafka-jars.ts";
import { type Runner, ServerProcess, type StopMode } from "./server-process.ts";
import { ServerUnavailable } from "./server-unavailable.ts";

export type KafkaServer = {
  readonly brokers: readonly string[];
  readonly version: string;
  /** False where it was given by the environment: it is never stopped, paused or restarted. */
  readonly owned: boolean;
  readonly pid: number | null;
  stop(how?: StopMode): Promise<void>;
  start(): Promise<void>;
  pause(): void;
  resume(): void;
};

export const KAFKA_IMAGE = "apache/kafka:4.1.0";

/** One process that is broker and controller; everything else is Kafka's default, but for a replication factor of 1. */
function settings(listeners: string, advertised: string, controller: string): Record<string, string> {
  return {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": `1@${controller}`,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    listeners,
    "advertised.listeners": advertised,
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    // A killed broker that comes back is let in only once its old session has ended: 9 s by default.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "message.max.bytes": String(10 * 1024 * 1024),
  };
}

/** `clusterId`: 16 bytes in base64url. It may begin with a "-", as one in 64 does. */
export type KafkaOptions = { readonly clusterId?: string };

type ProcessOptions = { readonly jars: KafkaJars; readonly guard: Guard; readonly log: Log } & KafkaOptions;

export function startKafkaProcess(options: ProcessOptions): Promise<KafkaServer> {
  // Kafka's jars come without a logger: that it ended at once is all one gets to know.
  return onFreePorts(
    () => startOnce(options),
    (error) => /ended while starting/.test(String(error)),
  );
}

async function startOnce({ jars, guard, log, clusterId }: ProcessOptions): Promise<KafkaServer> {
  const folder = join(guard.folder, `kafka-${randomInt(2 ** 32).toString(36)}`);
  mkdirSync(folder);
  const [port, controllerPort] = [await freePort(), await freePort()];
  const broker = `127.0.0.1:${port}`;
  const controller = `127.0.0.1:${controllerPort}`;
  const all = {
    ...settings(`PLAINTEXT://${broker},CONTROLLER://${controller}`, `PLAINTEXT://${broker}`, controller),
    "log.dirs": join(folder, "data"),
  };
  const file = join(folder, "kraft.properties");
  writeFileSync(
    file,
    Object.entries(all)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(""),
  );
  const java = ["-Xmx512m", "-XX:+UseSerialGC", "-cp", jars.classPath];
  const id = clusterId ?? randomBytes(16).toString("base64url");
  const formatted = await runCommand({
    command: jars.java,
    // With "=", as its parser would take an id that begins with "-" for the next option.
    args: [...java, "kafka.tools.StorageTool", "format", `--cluster-id=${id}`, "-c", file],
  });
  if (formatted.code !== 0) throw new Error(`Kafka's storage cannot be formatted: ${lastLines(formatted.output, 3)}`);
  const runner = new ServerProcess({
    name: "kafka",
    command: jars.java,
    args: [...java, "kafka.Kafka", file],
    logFile: join(folder, "log"),
    guard,
    answers: () => kafkaAnswers([broker]),
  });
  await runner.start();
  log(`kafka: Kafka ${jars.version} on ${broker}`);
  return running([broker], jars.version, runner);
}

export async function startKafkaContainer(
  options: { readonly engine: string; readonly guard: Guard; readonly log: Log } & KafkaOptions,
): Promise<KafkaServer> {
  const port = await freePort();
  const broker = `127.0.0.1:${port}`;
  const all = settings("PLAINTEXT://:9092,CONTROLLER://:9093", `PLAINTEXT://${broker}`, "localhost:9093");
  const runner = new Container({
    engine: options.engine,
    guard: options.guard,
    name: "kafka",
    image: KAFKA_IMAGE,
    port: { inside: 9092, outside: port },
    environment: {
      ...Object.fromEntries(
        Object.entries(all).map(([name, value]) => [`KAFKA_${name.toUpperCase().replaceAll(".", "_")}`, value]),
      ),
      ...(options.clusterId === undefined ? {} : { CLUSTER_ID: options.clusterId }),
    },
    args: [],
    answers: () => kafkaAnswers([broker]),
    // The image may have to be pulled first.
    startTimeoutMs: 600_000,
  });
  await runner.start();
  options.log(`kafka: ${KAFKA_IMAGE} in a container on ${broker}`);
  return running([broker], KAFKA_IMAGE.slice("apache/kafka:".length), runner);
}

export async function givenKafka(list: string): Promise<KafkaServer> {
  const brokers = list.split(",").map((broker) => broker.trim());
  if (!(await kafkaAnswers(brokers))) {
    throw new ServerUnavailable(`DRAY_TEST_KAFKA_BROKERS: ${list} does not answer; correct or unset it`);
  }
  const refuse = (): never => {
    throw new Error("Kafka was given by DRAY_TEST_KAFKA_BROKERS: it is not ours to stop, start or pause");
  };
  return {
    brokers,
    version: "given",
    owned: false,
    pid: null,
    stop: async () => refuse(),
    start: async () => refuse(),
    pause: refuse,
    resume: refuse,
  };
}

function running(brokers: readonly string[], version: string, runner: Runner): KafkaServer {
  return {
    brokers,
    version,
    owned: true,
    get pid() {
      return runner.pid;
    },
    stop: (how) => runner.stop(how),
    start: () => runner.start(),
    pause: () => runner.pause(),
    resume: () => runner.resume(),
  };
}
