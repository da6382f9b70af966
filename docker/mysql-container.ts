import type { Log } from "./cache.ts";
import { Container } from "./container.ts";
import { freePort } from "./free-port.ts";
import type { Guard } from "./guard.ts";
import {
  type MysqlOptions,
  type MysqlServer,
  mysqlAnswers,
  mysqlFlags,
  newServerId,
  runningServer,
} from "./mysql-server.ts";

export const MYSQL_IMAGE = "mysql:9.7";

export async function startMysqlContainer(options: {
  readonly engine: string;
  readonly guard: Guard;
  readonly server: MysqlOptions;
  readonly log: Log;
}): Promise<MysqlServer> {
  const { engine, guard, server, log } = options;
  const address = { host: "127.0.0.1", port: await freePort(), user: "root", password: "" };
  const runner = new Container({
    engine,
    guard,
    name: server.name,
    image: MYSQL_IMAGE,
    port: { inside: 3306, outside: address.port },
    environment: { MYSQL_ALLOW_EMPTY_PASSWORD: "yes", MYSQL_ROOT_HOST: "%" },
    args: [...mysqlFlags({ serverId: newServerId(), gtid: server.gtid ?? true }), ...(server.flags ?? [])],
    answers: () => mysqlAnswers(address),
    // The image may have to be pulled first.
    startTimeoutMs: 600_000,
  });
  await runner.start();
  log(`${server.name}: ${MYSQL_IMAGE} in a container on 127.0.0.1:${address.port}`);
  return runningServer({
    name: server.name,
    address,
    runner,
    version: MYSQL_IMAGE.slice("mysql:".length),
    dataDir: null,
  });
}
