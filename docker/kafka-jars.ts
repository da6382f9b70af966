import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { aptInstall } from "./apt.ts";
import { cached, type Log } from "./cache.ts";
import { lastLines, onPath, runCommand } from "./command.ts";
import { ServerUnavailable } from "./server-unavailable.ts";

export type KafkaJars = { readonly version: string; readonly java: string; readonly classPath: string };

const WAYS =
  "give DRAY_TEST_KAFKA_BROKERS, set KAFKA_HOME, start a container engine, or put Java 17 and Maven on the PATH";
const VERSION = "4.1.0";

/** An unpacked Kafka 4: the one KAFKA_HOME names, or the one whose start script is on the PATH. */
export async function kafkaOnPath(log: Log): Promise<KafkaJars | null> {
  const home = process.env["KAFKA_HOME"];
  const script = onPath("kafka-server-start.sh");
  const folder =
    home !== undefined && home !== "" ? home : script === null ? null : dirname(dirname(realpathSync(script)));
  if (folder === null) return null;
  const java = await javaOnPath();
  if (java === null || !existsSync(join(folder, "libs"))) {
    log(`Kafka in ${folder} is not used: ${java === null ? "no Java 17 on the PATH" : "it has no folder libs"}`);
    return null;
  }
  const found = await versionOf(java, `${folder}/libs/*`);
  if (found === null || Number.parseInt(found, 10) < 4) {
    log(`Kafka in ${folder} is not used: version ${found ?? "unknown"}, not 4 or later`);
    return null;
  }
  return { version: found, java, classPath: `${folder}/libs/*` };
}

/** Kafka's jars by Maven, kept in the cache. */
export async function kafkaFromPackages(log: Log): Promise<KafkaJars> {
  const folder = await cached({ name: `kafka-${VERSION}`, log, build: (target) => byMaven(target, log) });
  const java = (await javaOnPath()) ?? (await install("default-jre-headless", log, javaOnPath));
  const classPath = `${folder}/libs/*`;
  const version = await versionOf(java, classPath);
  if (version === null)
    throw new ServerUnavailable(`Kafka: the one in ${folder} does not run; remove that folder, or ${WAYS}`);
  return { version, java, classPath };
}

async function byMaven(target: string, log: Log): Promise<void> {
  const command = onPath("mvn") ?? (await install("maven", log, async () => onPath("mvn")));
  log(`Kafka ${VERSION}: downloading its jars by Maven, about 54 MB, once`);
  const pom = join(target, "pom.xml");
  const jar = (name: string) =>
    `<dependency><groupId>org.apache.kafka</groupId><artifactId>${name}</artifactId><version>${VERSION}</version></dependency>`;
  writeFileSync(
    pom,
    `<project><modelVersion>4.0.0</modelVersion><groupId>drayage</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>${jar("kafka_2.13")}${jar("kafka-tools")}</dependencies></project>`,
  );
  mkdirSync(join(target, "incoming"));
  let downloads = 0;
  const { code, output } = await runCommand({
    command,
    args: ["-B", "-f", pom, "dependency:copy-dependencies", `-DoutputDirectory=${join(target, "incoming")}`],
    onLine: (line) => {
      if (!/Downloaded from/.test(line)) return;
      downloads += 1;
      if (downloads % 40 === 0) log(`Kafka: ${downloads} files downloaded`);
    },
  });
  const jars = readdirSync(join(target, "incoming")).length;
  if (code !== 0 || jars === 0) {
    const errors = output.split("\n").filter((line) => line.startsWith("[ERROR]"));
    throw new ServerUnavailable(`Kafka: Maven failed (${(errors[0] ?? lastLines(output, 1)).slice(0, 300)}); ${WAYS}`);
  }
  renameSync(join(target, "incoming"), join(target, "libs"));
}

async function install(what: string, log: Log, find: () => Promise<string | null>): Promise<string> {
  const problem = await aptInstall([what], log);
  const found = await find();
  if (found !== null) return found;
  throw new ServerUnavailable(
    `Kafka: ${what} is missing and ${problem ?? "not on the PATH after its installation"}; ${WAYS}`,
  );
}

async function javaOnPath(): Promise<string | null> {
  const java = onPath("java");
  if (java === null) return null;
  const { output } = await runCommand({ command: java, args: ["-version"], timeoutMs: 20_000 });
  return Number(/version "(\d+)/.exec(output)?.[1] ?? 0) >= 17 ? java : null;
}

async function versionOf(java: string, classPath: string): Promise<string | null> {
  const { output } = await runCommand({
    command: java,
    args: ["-cp", classPath, "kafka.Kafka", "--version"],
    timeoutMs: 60_000,
  });
  return /^(\d+\.\d+\.\d+)/m.exec(output)?.[1] ?? null;
}
