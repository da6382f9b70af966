import type { Log } from "./cache.ts";
import { containerEngine } from "./container.ts";
import { Guard } from "./guard.ts";
import { type KafkaJars, kafkaFromPackages, kafkaOnPath } from "./kafka-jars.ts";
import {
  givenKafka,
  type KafkaOptions,
  type KafkaServer,
  startKafkaContainer,
  startKafkaProcess,
} from "./kafka-server.ts";
import { type MysqlBinaries, mysqlFromPackages, mysqlOnPath, type Program } from "./mysql-binaries.ts";
import { startMysqlContainer } from "./mysql-container.ts";
import { givenMysql, type MysqlOptions, type MysqlServer, startMysqlProcess } from "./mysql-server.ts";

export type { KafkaServer } from "./kafka-server.ts";
export type { MysqlOptions, MysqlServer } from "./mysql-server.ts";
export { ServerUnavailable } from "./server-unavailable.ts";

/**
 * Real servers for demo, tests and bench. Each is taken from the first of these that has it: a URL in the environment,
 * programs on the PATH, a container engine, package registries. What it starts is stopped with `close()`, and also when
 * this process ends in any other way.
 */
export interface Servers extends AsyncDisposable {
  mysql(options: MysqlOptions): Promise<MysqlServer>;
  /** A broker of its own at each call, but for one given by DRAY_TEST_KAFKA_BROKERS. */
  kafka(options?: KafkaOptions): Promise<KafkaServer>;
  /** Has everything at hand that `mysql` or `kafka` starts from, downloaded if need be; starts nothing. */
  prepare(kind: "mysql" | "kafka"): Promise<void>;
  /**
   * For processes of the caller that must not outlive it either: run them with `environment()`, then hand over their
   * pid. They are killed with the servers when this process dies; `close()` leaves them to the caller.
   */
  guard(): Pick<Guard, "environment" | "process">;
  /** MySQL's own client programs, as they are run here. */
  mysqlTool(name: "mysql" | "mysqldump"): Promise<Program>;
  close(): Promise<void>;
}

export async function openServers(options: { readonly log?: Log } = {}): Promise<Servers> {
  return new LocalServers(options.log ?? (() => {}));
}

class LocalServers implements Servers {
  readonly #log: Log;
  readonly #stops: (() => Promise<void>)[] = [];
  #guard: Guard | null = null;
  #engine: Promise<string | null> | null = null;
  #mysql: Promise<MysqlBinaries | null> | null = null;
  #kafka: Promise<KafkaJars | null> | null = null;
  #closing: Promise<void> | null = null;

  constructor(log: Log) {
    this.#log = log;
  }

  async mysql(server: MysqlOptions): Promise<MysqlServer> {
    const variable = mysqlVariable(server.name);
    const url = variable === null ? undefined : process.env[variable];
    if (variable !== null && url !== undefined && url !== "")
      return await givenMysql({ name: server.name, url, variable });
    const guard = this.#openGuard();
    const binaries = await this.#mysqlBinaries();
    const started =
      binaries === null
        ? await startMysqlContainer({ engine: await this.#needEngine(), guard, server, log: this.#log })
        : await startMysqlProcess({ binaries, guard, server, log: this.#log });
    this.#stops.push(() => started.stop("kill"));
    return started;
  }

  async kafka(options: KafkaOptions = {}): Promise<KafkaServer> {
    const given = process.env["DRAY_TEST_KAFKA_BROKERS"];
    if (given !== undefined && given !== "") return await givenKafka(given);
    const guard = this.#openGuard();
    const jars = await this.#kafkaJars();
    const started =
      jars === null
        ? await startKafkaContainer({ ...options, engine: await this.#needEngine(), guard, log: this.#log })
        : await startKafkaProcess({ ...options, jars, guard, log: this.#log });
    this.#stops.push(() => started.stop("kill"));
    return started;
  }

  async prepare(kind: "mysql" | "kafka"): Promise<void> {
    await (kind === "mysql" ? this.#mysqlBinaries() : this.#kafkaJars());
  }

  guard(): Pick<Guard, "environment" | "process"> {
    return this.#openGuard();
  }

  async mysqlTool(name: "mysql" | "mysqldump"): Promise<Program> {
    return (await this.#mysqlBinaries())?.tool(name) ?? (await mysqlFromPackages(this.#log)).tool(name);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    // The data goes away with the servers, so there is nothing to stop gracefully for.
    await Promise.all(this.#stops.map((stop) => stop()));
    await this.#guard?.close();
  }

  #openGuard(): Guard {
    if (this.#closing !== null) throw new Error("these servers were closed");
    this.#guard ??= new Guard();
    return this.#guard;
  }

  /** Null means that a container engine has it. */
  #mysqlBinaries(): Promise<MysqlBinaries | null> {
    this.#mysql ??= (async () => {
      const found = await mysqlOnPath(this.#log);
      if (found !== null) return found;
      return (await this.#findEngine()) === null ? await mysqlFromPackages(this.#log) : null;
    })();
    return this.#mysql;
  }

  /** Null means that a container engine has it. */
  #kafkaJars(): Promise<KafkaJars | null> {
    this.#kafka ??= (async () => {
      const found = await kafkaOnPath(this.#log);
      if (found !== null) return found;
      return (await this.#findEngine()) === null ? await kafkaFromPackages(this.#log) : null;
    })();
    return this.#kafka;
  }

  #findEngine(): Promise<string | null> {
    this.#engine ??= containerEngine();
    return this.#engine;
  }

  async #needEngine(): Promise<string> {
    const engine = await this.#findEngine();
    if (engine === null) throw new Error("the container engine went away");
    return engine;
  }
}

/** "mysql-a" may be given by DRAY_TEST_MYSQL_URL_A; a name without such an ending is always a server of our own. */
function mysqlVariable(name: string): string | null {
  const letter = /^mysql-([a-z])$/.exec(name)?.[1];
  return letter === undefined ? null : `DRAY_TEST_MYSQL_URL_${letter.toUpperCase()}`;
}
