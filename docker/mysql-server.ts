import { randomInt } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import type { Log } from "./cache.ts";
import { freePort, onFreePorts } from "./free-port.ts";
import type { Guard } from "./guard.ts";
import type { MysqlBinaries } from "./mysql-binaries.ts";
import { newDataFolder, runAs } from "./mysql-data.ts";
import { type Runner, ServerProcess, type StopMode } from "./server-process.ts";
import { ServerUnavailable } from "./server-unavailable.ts";

export type MysqlServer = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** May create users and schemas. */
  readonly user: string;
  readonly password: string;
  readonly version: string;
  /** False where it was given by a URL in the environment: it is never stopped, paused or restarted. */
  readonly owned: boolean;
  readonly pid: number | null;
  readonly dataDir: string | null;
  url(): string;
  stop(how?: StopMode): Promise<void>;
  /** On the same data and port. Resolves once it answers. */
  start(): Promise<void>;
  pause(): void;
  resume(): void;
};

export type MysqlOptions = {
  readonly name: string;
  /** Further mysqld flags; they win over the ones given by default. */
  readonly flags?: readonly string[];
  readonly gtid?: boolean;
};

export type MysqlAddress = Pick<MysqlServer, "host" | "port" | "user" | "password">;

/** What a source needs. Durability is left as the server has it (M6 asks for it), memory is kept small. */
export function mysqlFlags(options: { readonly serverId: number; readonly gtid: boolean }): string[] {
  return [
    `--server-id=${options.serverId}`,
    ...(options.gtid ? ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"] : []),
    "--log-bin=binlog",
    "--binlog-row-metadata=FULL",
    "--local-infile=1",
    "--mysqlx=OFF",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=256M",
    "--innodb-redo-log-capacity=512M",
  ];
}

/** Unique among all servers that runs on one machine may have at once, as far as chance goes. */
export function newServerId(): number {
  return randomInt(100_000, 2 ** 31);
}

export async function startMysqlProcess(options: {
  readonly binaries: MysqlBinaries;
  readonly guard: Guard;
  readonly server: MysqlOptions;
  readonly log: Log;
}): Promise<MysqlServer> {
  const { binaries, guard, server, log } = options;
  const folder = join(guard.folder, `${server.name}-${randomInt(2 ** 32).toString(36)}`);
  const dataDir = join(folder, "data");
  mkdirSync(folder);
  await newDataFolder({ binaries, flags: server.flags ?? [], target: dataDir, log });
  const serverId = newServerId();
  return await onFreePorts(async () => {
    const address = { host: "127.0.0.1", port: await freePort(), user: "root", password: "" };
    const runner = new ServerProcess({
      name: server.name,
      command: binaries.mysqld.command,
      args: [
        ...binaries.mysqld.args,
        ...runAs(),
        `--datadir=${dataDir}`,
        `--port=${address.port}`,
        "--bind-address=127.0.0.1",
        `--socket=${join(folder, "s")}`,
        `--pid-file=${join(folder, "pid")}`,
        "--secure-file-priv=NULL",
        ...mysqlFlags({ serverId, gtid: server.gtid ?? true }),
        ...(server.flags ?? []),
      ],
      logFile: join(folder, "log"),
      guard,
      answers: () => mysqlAnswers(address),
    });
    await runner.start();
    log(`${server.name}: MySQL ${binaries.version} on 127.0.0.1:${address.port}`);
    return runningServer({ name: server.name, address, runner, version: binaries.version, dataDir });
  }, isPortTaken);
}

function isPortTaken(error: unknown): boolean {
  return /Bind on TCP|another mysqld server running on port/.test(String(error));
}

export function runningServer(options: {
  readonly name: string;
  readonly address: MysqlAddress;
  readonly runner: Runner;
  readonly version: string;
  readonly dataDir: string | null;
}): MysqlServer {
  const { name, address, runner, version, dataDir } = options;
  return {
    ...address,
    name,
    version,
    owned: true,
    dataDir,
    get pid() {
      return runner.pid;
    },
    url: () => mysqlUrl(address),
    stop: (how) => runner.stop(how),
    start: () => runner.start(),
    pause: () => runner.pause(),
    resume: () => runner.resume(),
  };
}

/** A server that somebody else runs: used as it is, and never taken down. */
export async function givenMysql(options: {
  readonly name: string;
  readonly url: string;
  readonly variable: string;
}): Promise<MysqlServer> {
  const { name, variable } = options;
  const url = new URL(options.url);
  const address = {
    host: url.hostname,
    port: Number(url.port === "" ? 3306 : url.port),
    user: decodeURIComponent(url.username === "" ? "root" : url.username),
    password: decodeURIComponent(url.password),
  };
  const version = await askVersion(address).catch((error: Error) => {
    throw new ServerUnavailable(
      `${variable}: ${address.host}:${address.port} does not answer (${error.message}); correct or unset it`,
      error,
    );
  });
  if (/mariadb/i.test(version) || Number.parseInt(version, 10) < 8) {
    throw new ServerUnavailable(
      `${variable}: ${address.host}:${address.port} is ${version}, not MySQL 8.0 or later; correct or unset it`,
    );
  }
  const refuse = (): never => {
    throw new Error(`${name} was given by ${variable}: it is not ours to stop, start or pause`);
  };
  return {
    ...address,
    name,
    version: version.replace(/-.*/, ""),
    owned: false,
    pid: null,
    dataDir: null,
    url: () => mysqlUrl(address),
    stop: async () => refuse(),
    start: async () => refuse(),
    pause: refuse,
    resume: refuse,
  };
}

export async function mysqlAnswers(address: MysqlAddress): Promise<boolean> {
  try {
    await askVersion(address);
    return true;
  } catch {
    return false;
  }
}

async function askVersion(address: MysqlAddress): Promise<string> {
  const connection = await createConnection({ ...address, connectTimeout: 5_000 });
  try {
    const [rows] = await connection.query<RowDataPacket[]>("SELECT VERSION() AS version");
    return String(rows[0]?.["version"]);
  } finally {
    connection.destroy();
  }
}

function mysqlUrl({ host, port, user, password }: MysqlAddress): string {
  const secret = password === "" ? "" : `:${encodeURIComponent(password)}`;
  return `mysql://${encodeURIComponent(user)}${secret}@${host}:${port}`;
}
