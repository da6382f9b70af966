import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import pino from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { main } from "../../cli/main.ts";
import { openServer, type RunningServer } from "../../console/open-server.ts";
import { readServerConfig } from "../../console/server-config.ts";
import { openDray } from "../../cutover/dray.ts";
import type { PreflightReport } from "../../cutover/move-service.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const EXIT_USAGE = 2;
const EXIT_REFUSED = 3;
const SECRETS = { EU1: "hunter2", LOCKED: "swordfish", ROUTER: "opensesame" };
const ANY_SECRET = new RegExp(Object.values(SECRETS).join("|"));

/* Wrong input is refused by the commands before anything starts: all of it at once, each with its place and remedy. */
describeWithMysql("wrong input", ({ a, b }) => {
  const schema = `refused_${randomBytes(4).toString("hex")}`;
  const folder = mkdtempSync(join(tmpdir(), "dray-refused-"));
  const manifestFile = join(folder, "shop.yaml");
  const admins: Connection[] = [];
  let server: RunningServer | null = null;

  beforeAll(async () => {
    for (const { host, port, user, password } of [a, b]) {
      const admin = await createConnection({ host, port, user, password, multipleStatements: true });
      admins.push(admin);
      await admin.query(`CREATE USER ${schema}@'%' IDENTIFIED BY '${SECRETS.EU1}';
        GRANT SELECT ON ${schema}.* TO ${schema}@'%'`);
    }
    await admins[0]?.query(`CREATE SCHEMA ${schema};
      CREATE TABLE ${schema}.accounts (id INT PRIMARY KEY);
      CREATE TABLE ${schema}.users (id INT PRIMARY KEY, account_id INT NOT NULL, KEY (account_id, id));
      CREATE TABLE ${schema}.visits (account_id INT NOT NULL, page INT, KEY (account_id))`);
    const config = configText({ password: `\${env:EU1}` });
    const read = readServerConfig({ ...config, env: SECRETS, dataDir: join(folder, "data") });
    if (read.config === null) throw new Error(JSON.stringify(read.findings));
    const { config: ready } = read;
    const logger = pino({ level: "silent" });
    server = await openServer({ config: ready, logger, version: "0", open: () => openDray(ready, { logger }) });
  });
  afterAll(async () => {
    await server?.close();
    for (const admin of admins) {
      await admin.query(`DROP SCHEMA IF EXISTS ${schema}; DROP USER IF EXISTS ${schema}@'%'`);
      await admin.end();
    }
    rmSync(folder, { recursive: true, force: true });
  });

  /** eu1: an account that may only read; locked: a wrong password; gone: a port where nobody listens. */
  function configText(parts: { readonly password: string; readonly more?: string }) {
    const at = `kind: mysql, host: ${a.host}, dray_schema: ${schema}_dray`;
    const text = `clusters:
  eu1: {${at}, port: ${a.port}, user: ${schema}, password: "${parts.password}"}
  locked: {${at}, port: ${a.port}, user: ${schema}, password: "\${env:LOCKED}"}
  gone: {${at}, port: 1, user: ${schema}, password: "\${env:EU1}"}
  eu2: {${at}, port: ${b.port}, user: ${schema}, password: "\${env:EU1}"}
adapters:
  router: {kind: http, url: "http://127.0.0.1:9/", token: "\${env:ROUTER}"}
allowed_hosts: [127.0.0.1]
${parts.more ?? ""}`;
    return { text, file: join(folder, "dray.yaml") };
  }

  function manifestText(visits: string): string {
    return `name: shop
stores:
  db: {kind: mysql, schemas: {${schema}: {tables: {accounts: {root: true}, users: {column: account_id}, ${visits}}}}}
fence: {steps: [{adapter: router}], grace_ms: 10}
routing: [{adapter: router}]
`;
  }

  async function dray(args: readonly string[], env: Record<string, string> = {}) {
    let out = "";
    const print = (line: string) => {
      out += `${line}\n`;
    };
    const terminal = { interactive: false, say: print, ask: async () => "" };
    const dataDir = args.includes("--data-dir") ? [] : ["--data-dir", join(folder, "data")];
    const code = await main([...args, ...dataDir], { env, terminal, print });
    return { code, out };
  }

  async function start(from: string, to: string, visits = "visits: {column: account_id}") {
    writeFileSync(manifestFile, manifestText(visits));
    const request = ["--manifest", manifestFile, "--tenant", "1", "--from", from, "--to", to];
    return { preflight: await dray(["preflight", ...request, "--json"]), start: await dray(["start", ...request]) };
  }

  /** No move, no schema of Drayage's: nothing has been begun. */
  async function expectNothingBegun(): Promise<void> {
    expect((await dray(["list", "--json"])).out).toBe("[]\n");
    for (const admin of admins) {
      const [rows] = await admin.query<RowDataPacket[]>("SHOW SCHEMAS LIKE ?", [`${schema}_dray%`]);
      expect(rows).toEqual([]);
    }
  }

  test("K5: a missing secret and unknown fields of the server's configuration, all at once, and no folder is made", async () => {
    const { text, file } = configText({ password: `\${env:NOT_SET}`, more: "hartbeat_ms: 3\nlog: {kind: embeded}\n" });
    writeFileSync(file, text);
    const dataDir = join(folder, "never");
    const refused = await dray(["serve", "--config", file, "--data-dir", dataDir], SECRETS);
    expect(refused.code).toBe(EXIT_REFUSED);
    expect(refused.out).toMatch(/dray\.yaml:2:\d+.*NOT_SET/);
    expect(refused.out).toMatch(/dray\.yaml:9:\d+.*hartbeat_ms/);
    expect(refused.out).toMatch(/dray\.yaml:10:\d+.*log/);
    expect(refused.out).not.toMatch(ANY_SECRET);
    expect(existsSync(dataDir)).toBe(false);
  });

  test("T2: unknown fields, an unknown adapter and an unclassified belonging of the manifest, all at once", async () => {
    const text = manifestText("visits: {colum: account_id}").replaceAll("adapter: router", "adapter: rooter");
    writeFileSync(manifestFile, `${text}cutovr: {}\n`);
    for (const command of ["preflight", "start"]) {
      const refused = await dray([
        command,
        "--manifest",
        manifestFile,
        "--tenant",
        "1",
        "--from",
        "eu1",
        "--to",
        "eu2",
      ]);
      expect(refused.code).toBe(EXIT_REFUSED);
      expect(refused.out).toMatch(/shop\.yaml:3:\d+.*visits.*none of the known forms/);
      expect(refused.out).toMatch(/shop\.yaml:6:\d+.*cutovr/);
    }
    writeFileSync(manifestFile, text.replace("colum:", "column:"));
    const named = await dray(["start", "--manifest", manifestFile, "--tenant", "1", "--from", "eu1", "--to", "eu2"]);
    expect([named.code, named.out]).toEqual([EXIT_REFUSED, expect.stringMatching(/shop\.yaml:4:\d+.*rooter/)]);
    await expectNothingBegun();
  });

  test("K5: a wrong password and a server that does not answer, both named at once, and neither secret is told", async () => {
    const { preflight, start: started } = await start("locked", "gone");
    const { passed, findings } = JSON.parse(preflight.out) as PreflightReport;
    expect([preflight.code, passed]).toEqual([EXIT_REFUSED, false]);
    expect(findings).toMatchObject([
      {
        id: "mysql.reach",
        severity: "error",
        subject: `source ${a.host}:${a.port}`,
        remedy: expect.stringMatching(/password/),
      },
      { id: "mysql.reach", severity: "error", subject: `target ${a.host}:1`, remedy: expect.stringMatching(/answer/) },
    ]);
    expect(started.code).toBe(EXIT_REFUSED);
    for (const place of [`source ${a.host}:${a.port}`, `target ${a.host}:1`]) expect(started.out).toContain(place);
    expect(preflight.out + started.out).not.toMatch(ANY_SECRET);
    await expectNothingBegun();
  });

  test("K5: missing grants, a table without primary key and a schema that is not there, each with its SQL or remedy", async () => {
    const { preflight, start: started } = await start("eu1", "eu2");
    const { findings } = JSON.parse(preflight.out) as PreflightReport;
    const errors = findings.filter(({ severity }) => severity === "error");
    for (const finding of errors) expect(finding.remedy).not.toBe("");
    const grants = (side: string) =>
      errors.flatMap(({ id, fixOn, fixSql }) =>
        id === "mysql.grant" && fixOn?.startsWith(side) ? (fixSql ?? []) : [],
      );
    expect(grants("source").join("\n")).toMatch(/^GRANT REPLICATION SLAVE, REPLICATION CLIENT/);
    expect(grants("target").join("\n")).toMatch(/^GRANT INSERT, UPDATE, DELETE, TRIGGER/m);
    const key = errors.find(({ fixSql }) => fixSql?.some((sql) => sql.includes("PRIMARY KEY")));
    expect(key).toMatchObject({ subject: expect.stringContaining(`${schema}.visits`) });
    expect(errors.some(({ id, subject }) => id === "mysql.schema" && subject.startsWith("target"))).toBe(true);
    expect([preflight.code, started.code]).toEqual([EXIT_REFUSED, EXIT_REFUSED]);
    await expectNothingBegun();
  });

  test("K5: a cluster that the configuration does not know is a wrong word on the command line", async () => {
    const { start: started } = await start("eu1", "eu7");
    expect([started.code, started.out]).toEqual([EXIT_USAGE, expect.stringMatching(/CLUSTER_UNKNOWN.*eu7/)]);
    await expectNothingBegun();
  });
});
