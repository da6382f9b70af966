import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { cached, lock } from "../../docker/cache.ts";
import { containerEngine } from "../../docker/container.ts";
import { KAFKA_IMAGE } from "../../docker/kafka-server.ts";
import { mysqlOnPath, mysqlVersion } from "../../docker/mysql-binaries.ts";
import { MYSQL_IMAGE } from "../../docker/mysql-container.ts";
import { type MysqlServer, mysqlFlags } from "../../docker/mysql-server.ts";
import { identify, isAlive } from "../../docker/process-identity.ts";
import { openServers, type Servers, ServerUnavailable } from "../../docker/servers.ts";
import { describeWithKafka, describeWithMysql, describeWithOwnServers } from "../setup/shared-servers.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-servers-test-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

function executable(name: string, body: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folder, name), 0o755);
}

async function ask(
  server: Pick<MysqlServer, "host" | "port" | "user" | "password">,
  sql: string,
): Promise<RowDataPacket[]> {
  const { host, port, user, password } = server;
  const connection = await createConnection({ host, port, user, password, multipleStatements: true });
  try {
    return (await connection.query<RowDataPacket[]>(sql))[0];
  } finally {
    connection.destroy();
  }
}

describe("what counts as a server", () => {
  test("MariaDB's mysqld and an old MySQL are not MySQL 8.0 or later", () => {
    expect(mysqlVersion("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)")).toBeNull();
    expect(mysqlVersion("mysqld  Ver 5.7.44 for Linux on x86_64")).toBeNull();
    expect(mysqlVersion("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))")).toBe("9.7.4");
  });

  test("a mysqld on the PATH is asked for its version before it counts", async () => {
    const lines: string[] = [];
    executable("mysqld", "echo 'mysqld  Ver 10.11.6-MariaDB for debian-linux-gnu'");
    vi.stubEnv("PATH", `${folder}:/usr/bin:/bin`);
    expect(await mysqlOnPath((line) => lines.push(line))).toBeNull();
    expect(lines.join()).toContain("MariaDB");
    executable("mysqld", "echo 'mysqld  Ver 8.4.3 for Linux on x86_64'");
    expect(await mysqlOnPath(() => {})).toMatchObject({ version: "8.4.3", origin: join(folder, "mysqld") });
    rmSync(join(folder, "mysqld"));
  });

  test("a container client without its engine does not count", async () => {
    executable("docker", "exit 1");
    vi.stubEnv("PATH", folder);
    expect(await containerEngine()).toBeNull();
    executable("docker", "exit 0");
    expect(await containerEngine()).toBe(join(folder, "docker"));
    rmSync(join(folder, "docker"));
  });

  test("a given URL at which nothing answers is refused in one line that names it", async () => {
    vi.stubEnv("DRAY_TEST_MYSQL_URL_A", "mysql://root:secret@127.0.0.1:9");
    vi.stubEnv("DRAY_TEST_KAFKA_BROKERS", "127.0.0.1:9");
    await using servers = await openServers();
    const refused = await servers.mysql({ name: "mysql-a" }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ServerUnavailable);
    expect(String(refused)).toMatch(/DRAY_TEST_MYSQL_URL_A: 127\.0\.0\.1:9 /);
    expect(String(refused)).not.toMatch(/secret|\n/);
    await expect(servers.kafka()).rejects.toThrow(/DRAY_TEST_KAFKA_BROKERS/);
  });

  test("where nothing can be had, one line names the ways to provide it", async () => {
    vi.stubEnv("PATH", folder);
    vi.stubEnv("DRAY_CACHE", join(folder, "empty-cache"));
    await using servers = await openServers();
    const mysql = await servers.mysql({ name: "any" }).catch((error: unknown) => error);
    const kafka = await servers.kafka().catch((error: unknown) => error);
    for (const [error, variable] of [
      [mysql, "DRAY_TEST_MYSQL_URL_A"],
      [kafka, "DRAY_TEST_KAFKA_BROKERS"],
    ]) {
      expect(error).toBeInstanceOf(ServerUnavailable);
      expect(String(error)).toMatch(/container engine/);
      expect(String(error)).toContain(variable);
      expect(String(error)).not.toContain("\n");
    }
  });
});

describe("the cache", () => {
  test("two runs at once build an item once, and a failed build leaves nothing", async () => {
    vi.stubEnv("DRAY_CACHE", join(folder, "cache"));
    let builds = 0;
    const build = async (target: string) => {
      builds += 1;
      await new Promise((resolve) => setTimeout(resolve, 300));
      writeFileSync(join(target, "whole"), "");
    };
    const item = { name: "item", build, log: () => {} };
    const [one, two] = await Promise.all([cached(item), cached(item)]);
    expect(one).toBe(two);
    expect(builds).toBe(1);
    expect(existsSync(join(one, "whole"))).toBe(true);
    const fails = { name: "other", build: async () => Promise.reject(new Error("no network")), log: () => {} };
    await expect(cached(fails)).rejects.toThrow("no network");
    expect(existsSync(join(folder, "cache", "other"))).toBe(false);
    expect(await cached({ ...fails, build })).toBe(join(folder, "cache", "other"));
  });

  test("the lock of a process that is gone is broken, that of a living one is not", async () => {
    const path = join(folder, "a.lock");
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)"], { stdio: "ignore" });
    writeFileSync(path, JSON.stringify(identify(child.pid ?? 0)));
    let taken = false;
    const taking = lock(path, () => {}).then((release) => {
      taken = true;
      return release;
    });
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(taken).toBe(false);
    child.kill("SIGKILL");
    (await taking)();
    expect(existsSync(path)).toBe(false);
  });
});

test("compose.yaml and servers.ts run the same images with the same flags", () => {
  const compose = parse(readFileSync(new URL("../../docker/compose.yaml", import.meta.url), "utf8"), { merge: true });
  for (const [name, id] of [
    ["mysql-a", 101],
    ["mysql-b", 102],
  ] as const) {
    expect(compose.services[name].image).toBe(MYSQL_IMAGE);
    expect(compose.services[name].command).toEqual(expect.arrayContaining(mysqlFlags({ serverId: id, gtid: true })));
  }
  expect(compose.services.kafka.image).toBe(KAFKA_IMAGE);
});

describeWithMysql("the shared MySQL servers", (mysql) => {
  test("are fit for a source, and never give the same key twice", async () => {
    const sql = `SELECT @@server_id id, @@gtid_mode gtid, @@log_bin log, @@binlog_format format, @@binlog_row_image image,
      @@binlog_row_metadata metadata, @@sync_binlog synced, @@innodb_flush_log_at_trx_commit flush, @@local_infile loads,
      @@auto_increment_increment step, @@auto_increment_offset start`;
    const [[a], [b]] = [await ask(mysql.a, sql), await ask(mysql.b, sql)];
    const fit = {
      gtid: "ON",
      log: 1,
      format: "ROW",
      image: "FULL",
      metadata: "FULL",
      synced: 1,
      flush: 1,
      loads: 1,
      step: 2,
    };
    expect(a).toMatchObject({ ...fit, start: 1 });
    expect(b).toMatchObject({ ...fit, start: 2 });
    expect(a?.["id"]).not.toBe(b?.["id"]);
  });
});

describeWithMysql("a server given by a URL", (mysql) => {
  test("is used, and is never taken down", async () => {
    const { host, port, user, password } = mysql.a;
    vi.stubEnv("DRAY_TEST_MYSQL_URL_A", `mysql://${user}${password === "" ? "" : `:${password}`}@${host}:${port}`);
    const servers = await openServers();
    const given = await servers.mysql({ name: "mysql-a" });
    expect(given).toMatchObject({ owned: false, host, port, pid: null, dataDir: null });
    await expect(given.stop()).rejects.toThrow(/not ours/);
    expect(() => given.pause()).toThrow(/not ours/);
    await servers.close();
    expect(await ask(given, "SELECT 1 one")).toEqual([{ one: 1 }]);
  });
});

describeWithKafka("the shared broker", (kafka) => {
  test("answers", () => expect(kafka.brokers).toHaveLength(1));
});

describeWithOwnServers("MySQL servers of our own", ["mysql"], () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await openServers();
  });
  afterAll(() => servers.close());

  test("keep what was committed over a stop and over a kill, on the same port", async () => {
    const server = await servers.mysql({ name: "own", flags: ["--innodb-buffer-pool-size=64M"] });
    const { port } = server;
    await ask(server, "CREATE SCHEMA s");
    await ask(server, "CREATE TABLE s.t (id INT PRIMARY KEY)");
    for (const [id, how] of [
      [1, "graceful"],
      [2, "kill"],
    ] as const) {
      await ask(server, `INSERT INTO s.t VALUES (${id})`);
      await server.stop(how);
      expect(server.pid).toBeNull();
      await expect(ask(server, "SELECT 1")).rejects.toThrow();
      await server.start();
      expect(server.port).toBe(port);
      expect(await ask(server, "SELECT COUNT(*) n FROM s.t")).toEqual([{ n: id }]);
    }
    expect(await ask(server, "SELECT @@innodb_buffer_pool_size size")).toEqual([{ size: 64 * 1024 * 1024 }]);
    const other = await servers.mysql({ name: "own" });
    expect(await ask(other, "SELECT @@server_uuid u")).not.toEqual(await ask(server, "SELECT @@server_uuid u"));
  });

  test("a flag that the server refuses is told with the server's words", async () => {
    await expect(servers.mysql({ name: "bad", flags: ["--no-such-flag=1"] })).rejects.toThrow(/no-such-flag/);
  });

  test.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)(
    "end with a parent that ends by %s, and so does their folder",
    async (signal) => {
      const child = spawn(process.execPath, [fileURLToPath(new URL("./servers-child.ts", import.meta.url))], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
      const held = JSON.parse(line) as { pid: number; dataDir: string };
      const server = identify(held.pid);
      if (server === null) throw new Error("the child's server does not run");
      child.kill(signal);
      await once(child, "exit");
      await expect.poll(() => isAlive(server), { timeout: 20_000 }).toBe(false);
      await expect.poll(() => existsSync(held.dataDir), { timeout: 20_000 }).toBe(false);
    },
  );

  test("a paused server answers nothing, and goes on when resumed", async () => {
    const server = await servers.mysql({ name: "paused" });
    server.pause();
    expect(spawnSync("ps", ["-o", "stat=", "-p", String(server.pid)], { encoding: "utf8" }).stdout).toMatch(/^T/);
    server.resume();
    expect(await ask(server, "SELECT 1 one")).toEqual([{ one: 1 }]);
  });
});

describeWithOwnServers("a broker of our own", ["kafka"], () => {
  test("starts with an id that reads like an option; comes back after a stop and after a kill", async () => {
    await using servers = await openServers();
    const kafka = await servers.kafka({ clusterId: "-AAAAAAAAAAAAAAAAAAAAA" });
    for (const how of ["graceful", "kill"] as const) {
      await kafka.stop(how);
      expect(kafka.pid).toBeNull();
      await kafka.start();
      expect(kafka.pid).not.toBeNull();
    }
  });
});
