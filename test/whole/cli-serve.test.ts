import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Connection, createConnection } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ReferenceServer } from "../../cutover/adapters/reference-server.ts";
import { systemClock } from "../../pipeline/clock.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const DRAY = resolve(import.meta.dirname, "../../bin/dray.js");
const PATIENT = { timeout: 60_000 };

describeWithMysql("dray serve and its clients, each a process of its own", (mysql) => {
  const schema = `cli_${randomBytes(5).toString("hex")}`;
  let admin: Connection;
  let folder: string;
  let reference: ReferenceServer;
  const children = new Set<ChildProcess>();

  beforeAll(async () => {
    const { host, port, user, password } = mysql.a;
    admin = await createConnection({ host, port, user, password, multipleStatements: true });
    await admin.query(`CREATE SCHEMA ${schema}; USE ${schema};
      CREATE TABLE accounts (id BIGINT PRIMARY KEY, name VARCHAR(40));
      CREATE TABLE users (id BIGINT PRIMARY KEY, account_id BIGINT NOT NULL, KEY (account_id, id),
        FOREIGN KEY (account_id) REFERENCES accounts (id));
      CREATE TABLE logins (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, FOREIGN KEY (user_id) REFERENCES users (id));
      CREATE TABLE countries (code CHAR(2) PRIMARY KEY);
      CREATE VIEW everybody AS SELECT id FROM users;
      CREATE USER ${schema}@'%' IDENTIFIED BY 'database-password';
      GRANT SELECT, SHOW VIEW ON ${schema}.* TO ${schema}@'%'`);
  });
  afterAll(async () => {
    await admin?.query(`DROP SCHEMA IF EXISTS ${schema}; DROP USER IF EXISTS ${schema}@'%'`);
    await admin?.end();
  });
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "dray-serve-"));
    const options = { token: "router-token", tenants: { nobody: "eu1" }, clock: systemClock };
    reference = await ReferenceServer.open({ ...options, journalFile: join(folder, "reference") });
    const cluster = { kind: "mysql", host: mysql.a.host, port: mysql.a.port, user: schema };
    const config = {
      clusters: { eu1: { ...cluster, password: `\${env:EU1}` } },
      adapters: { router: { kind: "http", url: reference.url, token: `\${env:ROUTER}` } },
      allowed_hosts: ["127.0.0.1"],
    };
    writeFileSync(join(folder, "dray.yaml"), JSON.stringify(config));
  });
  afterEach(async () => {
    for (const child of children) child.kill("SIGKILL");
    await reference.close();
    rmSync(folder, { recursive: true, force: true });
  });

  type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };
  function dray(...args: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
    const { DRAY_URL: _, DRAY_TOKEN: __, ...clean } = process.env;
    const env = { ...clean, EU1: "database-password", ROUTER: "router-token" };
    const child = spawn(process.execPath, [DRAY, ...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    children.add(child);
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      stdout += part;
    });
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      stderr += part;
    });
    const ended = new Promise<Ended>((done) => {
      child.once("close", (code) => {
        children.delete(child);
        done({ code, stdout, stderr });
      });
    });
    return { child, ended };
  }
  const ask = (...args: string[]) => dray(...args).ended;
  async function serve(...more: string[]): Promise<ReturnType<typeof dray>> {
    const server = dray("serve", "--json", ...more);
    const said = new Promise<string>((done) => server.child.stdout?.once("data", done));
    const first = await Promise.race([said, server.ended]);
    if (typeof first !== "string") throw new Error(`dray serve ended with ${first.code}: ${first.stderr}`);
    expect(JSON.parse(first)).toHaveProperty("address");
    return server;
  }

  test("K3, K5: it serves on a socket in its folder, refuses a second server, and is taken up again after SIGKILL", async () => {
    const first = await serve();
    expect(statSync(join(folder, "dray-data")).mode & 0o777).toBe(0o700);
    for (const name of ["dray.sock", "control.db", "control.db-wal", "log.sqlite"]) {
      expect([name, statSync(join(folder, "dray-data", name)).mode & 0o777]).toEqual([name, 0o600]);
    }
    expect((await ask("list", "--json")).stdout).toBe("[]\n");
    const second = await ask("serve", "--json");
    expect(second.code).toBe(1);
    expect(JSON.parse(second.stdout)).toMatchObject({ error: { code: "LOG_LOCKED" } });
    first.child.kill("SIGKILL");
    await first.ended;
    const again = await serve();
    expect((await ask("list")).code).toBe(0);
    again.child.kill("SIGTERM");
    const { code, stderr } = await again.ended;
    expect([code, stderr]).toEqual([0, expect.stringContaining("dray stops")]);
    expect(stderr).not.toMatch(/router-token|database-password/);
    const gone = await ask("list");
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining("Start `dray serve`")]);
  });

  test("T2: a manifest is written from the live schema, and refused while a table of it is unclassified", async () => {
    await serve();
    const init = await ask("manifest", "init", "--cluster", "eu1", "--schema", schema, "--out", "shop.yaml");
    expect([init.code, init.stderr]).toEqual([0, ""]);
    const file = join(folder, "shop.yaml");
    const text = readFileSync(file, "utf8");
    expect(text).toContain("          accounts: {root: true}\n");
    expect(text).toContain("          users: {column: account_id}\n");
    expect(text).toContain("          # DECIDE logins:");
    expect(text).not.toContain("everybody");
    const check = ["manifest", "check", "--manifest", "shop.yaml", "--cluster", "eu1"];
    const open = await ask(...check);
    expect([open.code, open.stdout]).toEqual([3, expect.stringContaining("`fence.grace_ms` is missing")]);
    writeFileSync(file, text.replace("# grace_ms", "grace_ms"));
    const undecided = await ask(...check);
    expect(undecided.code).toBe(3);
    expect(undecided.stdout).toContain(`table \`${schema}.logins\` is not classified`);
    expect(undecided.stdout).toContain(`table \`${schema}.countries\` is not classified`);
    const decided = text
      .replace("# grace_ms", "grace_ms")
      .replace(/# DECIDE logins:.*/, "logins: {ignore: rebuilt at the first login}")
      .replace(/# DECIDE countries:.*/, "countries: {reference: true}");
    writeFileSync(file, decided);
    const right = await ask(...check);
    expect([right.code, right.stdout]).toEqual([0, expect.stringContaining("shop.yaml is right")]);
    const nowhere = await ask("manifest", "init", "--cluster", "eu1", "--schema", "no_such_schema");
    expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining("no_such_schema")]);
    const unknown = await ask("manifest", "init", "--cluster", "eu7", "--schema", schema);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("CLUSTER_UNKNOWN")]);
  });

  test("C4: adapter test tries the promises of an adapter by its URL or its name, and no other host's", async () => {
    await serve();
    for (const adapter of [reference.url, "router"]) {
      const tested = await ask("adapter", "test", adapter, "--tenant", "nobody", "--to", "eu1", "--json");
      expect([tested.code, tested.stderr]).toEqual([0, ""]);
      expect(JSON.parse(tested.stdout)).toMatchObject({ passed: true });
    }
    const foreign = await ask("adapter", "test", "http://127.0.0.2:9999/", "--tenant", "nobody", "--to", "eu1");
    expect(foreign.code).toBe(2);
  });

  test("K5: on TCP the tokens lie in the folder, and the command line finds them", async () => {
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    const config = JSON.parse(readFileSync(join(folder, "dray.yaml"), "utf8")) as Record<string, unknown>;
    writeFileSync(join(folder, "dray.yaml"), JSON.stringify({ ...config, listen: { tcp: { port } } }));
    const server = await serve();
    expect(statSync(join(folder, "dray-data/tokens.json")).mode & 0o777).toBe(0o600);
    expect((await fetch(`http://127.0.0.1:${port}/v1/moves`)).status).toBe(401);
    const { read } = JSON.parse(readFileSync(join(folder, "dray-data/tokens.json"), "utf8")) as { read: string };
    const document = await fetch(`http://127.0.0.1:${port}/openapi.json`, {
      headers: { authorization: `Bearer ${read}` },
    });
    expect([document.status, (await document.json()) as object]).toEqual([
      200,
      expect.objectContaining({ openapi: "3.0.3" }),
    ]);
    server.child.kill("SIGTERM");
    await expect.poll(() => children.size, PATIENT).toBe(0);
  });
});
