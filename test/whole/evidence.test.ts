import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openServer, type RunningServer } from "../../console/open-server.ts";
import type { Evidence } from "../../cutover/move-service.ts";
import type { ServerConfig } from "../../cutover/server-settings.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { runDray } from "../setup/command-line.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "./world/driver.ts";
import { World } from "./world/world.ts";

/** As a page must not take it: neither as markup nor as the beginning of anything. */
const TENANT = `<script>x('&"')`;
const VALUE = `planted-value-${randomBytes(6).toString("hex")}`;
const PASSWORD = `planted-Password-${randomBytes(6).toString("hex")}`;

type Parts = Evidence["parts"];

describeWithMysql("evidence: a folder that tells of a move afterwards", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let server: RunningServer;
  let folder: string;
  let config: ServerConfig;
  let cutAt: string | null = null;
  const probe: Probe = async (name) => {
    if (name !== cutAt) return;
    cutAt = null;
    throw new Error("cut short");
  };
  const user = `dray_${randomBytes(4).toString("hex")}`;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "dray-evidence-"));
    const homes = { [TENANT]: "a", acme: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 100, workers: 2 });
    for (const side of ["a", "b"] as const) {
      await world.admin[side].query(`CREATE USER ${user} IDENTIFIED BY '${PASSWORD}'`);
      await world.admin[side].query(`GRANT ALL ON *.* TO ${user} WITH GRANT OPTION`);
    }
    const whole = world.config(world.installation());
    const known = { user, password: PASSWORD };
    const clusters = Object.fromEntries(
      Object.entries(whole.clusters).map(([name, cluster]) => [name, { ...cluster, ...known }]),
    );
    config = { ...whole, clusters };
    cutAt = null;
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe });
    const dataDir = join(folder, "dray-data");
    server = await openServer({
      config: { ...config, dataDir, listen: { kind: "unix", path: join(dataDir, "dray.sock") } },
      logger: pino({ level: "silent" }),
      version: "1.2.3",
      open: async () => ({ service: driver.dray.service, close: async () => {} }),
    });
  });
  afterEach(async () => {
    await server?.close();
    await driver?.close();
    for (const side of ["a", "b"] as const) await world.admin[side].query(`DROP USER IF EXISTS ${user}`);
    await world?.close();
    rmSync(folder, { recursive: true });
  });

  const dray = (...args: readonly string[]) => runDray(folder, args);
  const textOf = (out: string, file: string) => readFileSync(join(out, file), "utf8");
  const part = <Name extends keyof Parts>(out: string, _: Name, file: string) =>
    JSON.parse(textOf(out, file)) as Parts[Name];

  /** As `sha256sum -c` does: the files that are not what the sums say. */
  function wrongFiles(out: string): string[] {
    const sums = textOf(out, "SHA256SUMS").trimEnd().split("\n");
    const listed = sums.map((line) => /^([0-9a-f]{64}) {2}(\S+)$/.exec(line)?.slice(1) ?? []);
    expect(listed.map(([, file]) => file)).toEqual(readdirSync(out).filter((file) => file !== "SHA256SUMS"));
    return listed.flatMap(([sum, file = ""]) => {
      const found = createHash("sha256")
        .update(readFileSync(join(out, file)))
        .digest("hex");
      return found === sum ? [] : [file];
    });
  }

  async function plant(side: "a" | "b", mark: string): Promise<void> {
    const sql = `UPDATE ${world.schema}.orders SET note = ? WHERE tenant_id = ? ORDER BY id LIMIT 1`;
    const [done] = await world.admin[side].query(sql, [`${VALUE}${mark}`, TENANT]);
    expect(done).toMatchObject({ affectedRows: 1 });
  }

  test("a move there, back and there again, a stray and a difference, then closed: all of it, and no row's value", async () => {
    await driver.start(TENANT);
    await phase(driver, "streaming");
    await plant("a", "-1");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    await plant("b", "-2");
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "rolled-back");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    // Behind S2, where the tenant has left: a stray, and for the way back a row that differs.
    await plant("a", "-3");
    for (let waited = 0; waited < 10_000; waited += 50) {
      if ((await driver.status()).alarms.length > 0) break;
      await sleep(50);
    }
    await driver.verify();
    expect((await compared(driver)).differences).toHaveLength(1);

    const out = join(folder, "open");
    const done = await dray("evidence", "it", "--out", out, "--json");
    expect(done).toMatchObject({ code: 0, stderr: "" });
    const told = JSON.parse(done.stdout);
    expect(told.files.map((each: { file: string }) => each.file).sort()).toEqual([
      ...["cutovers.json", "evidence.html", "fence-proof.json", "journal.json", "manifest.json", "people.json"],
      ...["preflight.json", "tables.json", "verification.json", "versions.json"],
    ]);
    expect(wrongFiles(out)).toEqual([]);
    expect(statSync(out).mode & 0o777).toBe(0o700);
    for (const file of readdirSync(out)) expect(statSync(join(out, file)).mode & 0o777, file).toBe(0o600);

    const cutovers = part(out, "cutovers", "cutovers.json");
    const way = { outcome: "committed", askedBy: "test", repeats: 0, decidedIn: "home", acceptedUnverified: [] };
    expect(cutovers).toMatchObject([
      { ...way, direction: "forward" },
      { ...way, direction: "reverse" },
      { ...way, direction: "forward" },
    ]);
    for (const { steps, pauseMs, adapterMs } of cutovers) {
      expect(steps.map(({ step }) => step)).toEqual([
        ...["fence", "quiesce", "drain", "verify", "pin", "drain-again", "prepare", "confirm", "commit", "route"],
      ]);
      for (const { predictedMs, actualMs, how } of steps) {
        expect([typeof predictedMs, typeof actualMs, typeof how]).toEqual(["number", "number", "string"]);
      }
      expect(pauseMs).toBeGreaterThan(0);
      expect(adapterMs).toBeGreaterThan(0);
    }

    const { cutovers: proven, strays, openAlarms } = part(out, "fenceProof", "fence-proof.json");
    expect(proven.map(({ generation }) => generation)).toEqual(cutovers.map(({ generation }) => generation));
    for (const { proof, leaks } of proven) {
      expect(leaks).toEqual([]);
      expect(proof.known).toHaveLength(1);
      for (const { s1, s2, lastChange } of proof.known ?? []) expect([lastChange < s1, s1 < s2]).toEqual([true, true]);
    }
    const orders = `${world.schema}.orders`;
    expect(strays).toMatchObject([
      { facts: { changes: 1, keys: [expect.stringMatching(`^${orders} id=`)], transaction: expect.any(String) } },
    ]);
    expect(openAlarms).toMatchObject([{ code: "STRAY_WRITE" }]);

    const tables = part(out, "tables", "tables.json");
    expect(tables.counted).toHaveLength(3);
    for (const { tables: each } of tables.counted) expect(each.map(({ fits }) => fits)).toEqual(Array(5).fill("yes"));
    const [first] = tables.compared;
    expect(first?.tables.find(({ table }) => table === orders)).toMatchObject({
      ...{ covered: true, rowsCompared: 100, dirtyKeys: 0, differences: 0 },
      digests: { source: expect.stringMatching(/^[0-9a-f]{32}$/) },
    });
    for (const { digests } of first?.tables ?? []) expect(digests?.source).toBe(digests?.target);
    const now = tables.compared.find(({ when }) => when === "now")?.tables.find(({ table }) => table === orders);
    expect(now).toMatchObject({ differences: 1 });
    expect(now?.digests?.source).not.toBe(now?.digests?.target);

    const { lanes, differences, asked } = part(out, "verification", "verification.json");
    expect(lanes.known).toMatchObject([{ covered: true, seq: expect.any(Number), position: expect.any(String) }]);
    expect(differences.known).toMatchObject([{ table: orders, kind: "differing", columns: ["note"], values: null }]);
    expect(asked).toMatchObject([{ event: "verify", by: "test" }]);

    const { found, gates } = part(out, "preflight", "preflight.json");
    expect(found.known?.by).toBe("test");
    expect(found.known?.findings).toContainEqual(expect.objectContaining({ id: "rollback", severity: "info" }));
    expect(gates.map(({ direction }) => direction)).toEqual(["forward", "reverse", "forward"]);
    expect(gates[0]?.conditions.map(({ name }) => name)).toContain("predicted pause");

    const journal = part(out, "journal", "journal.json");
    expect(journal.map(({ seq }) => seq)).toEqual(journal.map((_, i) => i + 1));
    const did = part(out, "people", "people.json").did.map(({ event, by }) => `${event} ${by}`);
    expect(did).toEqual(expect.arrayContaining(["create test", "attempt test", "attempt-back test", "verify test"]));
    expect(part(out, "versions", "versions.json")).toMatchObject({
      ...{ evidence: 1, log: "embedded", node: process.version },
      servers: [
        { cluster: "a", side: "from", server: { known: { version: expect.any(String), uuid: expect.any(String) } } },
        { cluster: "b", side: "to", server: { known: { version: expect.any(String) } } },
      ],
    });
    expect(part(out, "manifest", "manifest.json")).toMatchObject({ tenant: TENANT, lives: { side: "to" } });

    await driver.act("close");
    const closed = join(folder, "closed");
    expect(await dray("evidence", "it", "--out", closed)).toMatchObject({ code: 0 });
    expect(wrongFiles(closed)).toEqual([]);
    expect(part(closed, "cutovers", "cutovers.json")).toEqual(cutovers);
    expect(part(closed, "fenceProof", "fence-proof.json")).toMatchObject({ cutovers: proven, strays, openAlarms: [] });
    expect(part(closed, "verification", "verification.json").lanes).toEqual({
      known: null,
      why: expect.stringContaining("closed"),
    });
    const kept = part(closed, "tables", "tables.json").compared.at(-1);
    expect(kept?.when).toContain("before the lanes went");
    expect(kept?.tables).toHaveLength(5);

    for (const each of [out, closed]) {
      for (const file of readdirSync(each)) {
        const text = textOf(each, file);
        for (const secret of [VALUE, PASSWORD]) expect(text.includes(secret), `${file} holds ${secret}`).toBe(false);
      }
      const page = textOf(each, "evidence.html");
      expect(page).not.toMatch(/<script|https?:|src=|@import|url\(/i);
      expect(page).toContain("&lt;script&gt;x(&#39;&amp;&quot;&#39;)");
    }
    const journalFile = join(out, "journal.json");
    writeFileSync(journalFile, textOf(out, "journal.json").replace("attempt", "attemqt"));
    expect(wrongFiles(out)).toEqual(["journal.json"]);
  });

  test("a cutover that another process brought to its end: its proof is kept, and no pause is made up", async () => {
    cutAt = "cutover.after-route";
    await driver.start("acme");
    await phase(driver, "streaming");
    await expect(cutoverOnceOpen(driver)).rejects.toThrow("cut short");
    await phase(driver, "watching");
    const out = join(folder, "taken-over");
    expect(await dray("evidence", "it", "--out", out)).toMatchObject({ code: 0 });
    const [cutover] = part(out, "cutovers", "cutovers.json");
    expect(cutover).toMatchObject({ outcome: "committed", pauseMs: null, adapterMs: null });
    expect(cutover?.steps).toContainEqual({
      ...{ step: "fence", actualMs: null },
      ...{ predictedMs: expect.any(Number), how: expect.any(String) },
    });
    const [proven] = part(out, "fenceProof", "fence-proof.json").cutovers;
    expect(proven?.proof.known).toMatchObject([{ s1: expect.any(Number), s2: expect.any(Number) }]);
  });

  test("a finished move: what was removed at the source, and what appeared behind the fence and was left", async () => {
    await driver.start("acme");
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    const orders = `${world.schema}.orders`;
    const [, columns] = await world.admin.a.query(`SELECT * FROM ${orders} LIMIT 0`);
    const names = (columns as readonly { readonly name: string }[]).map(({ name }) => `\`${name}\``);
    const values = names.map((name) => (name === "`id`" ? "900001" : name === "`note`" ? `'${VALUE}'` : name));
    await world.admin.a.query(
      `INSERT INTO ${orders} (${names.join(", ")}) SELECT ${values.join(", ")} FROM ${orders} WHERE tenant_id = 'acme' LIMIT 1`,
    );
    await compared(driver);
    expect(await driver.finish({ now: true, tenant: "acme" })).toMatchObject({ outcome: "begun" });
    await phase(driver, "finished");
    const out = join(folder, "finished");
    expect(await dray("evidence", "it", "--out", out)).toMatchObject({ code: 0 });
    expect(wrongFiles(out)).toEqual([]);
    const { finished, compared: kept } = part(out, "tables", "tables.json");
    expect(finished).toMatchObject({ by: "test", leftRows: [`${orders} id=900001`] });
    expect(finished?.tables.find(({ table }) => table === orders)).toEqual({ table: orders, removed: 100, left: 1 });
    expect(finished?.tables).toHaveLength(5);
    expect(kept.at(-1)?.when).toContain("before the lanes went (finishing)");
    expect(part(out, "manifest", "manifest.json")).toMatchObject({ phase: "finished", lives: { side: "to" } });
    expect(part(out, "cutovers", "cutovers.json")).toMatchObject([{ outcome: "committed" }]);
    expect(part(out, "fenceProof", "fence-proof.json").openAlarms).toEqual([]);
    expect(part(out, "people", "people.json").did).toContainEqual(expect.objectContaining({ event: "finish" }));
    const page = textOf(out, "evidence.html");
    expect(page).toContain("Removed at the source");
    expect(page).toContain(`${orders} id=900001`);
    for (const file of readdirSync(out)) expect(textOf(out, file).includes(VALUE), file).toBe(false);
  });

  test("a move that has hardly begun has its folder too, and one that holds anything is left alone", async () => {
    await driver.start("acme");
    const out = join(folder, "taken");
    mkdirSync(out);
    expect(await dray("evidence", "it", "--out", out)).toMatchObject({ code: 0 });
    expect(wrongFiles(out)).toEqual([]);
    expect(part(out, "cutovers", "cutovers.json")).toEqual([]);
    expect(await dray("evidence", "it", "--out", out)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("is not empty: name another folder with --out"),
    });
    expect(await dray("evidence", "it", "--out", join(folder, "no", "such"))).toMatchObject({ code: 2 });
    expect(await dray("evidence", "nobody", "--out", join(folder, "none"))).toMatchObject({ code: 2 });
    expect(readdirSync(folder).sort()).toEqual(["dray-data", "taken"]);
    await driver.act("abort");
    expect(await dray("evidence", "it", "--out", join(folder, "aborted"))).toMatchObject({ code: 0 });
    // A server that is gone takes nothing with it but what only it could say.
    await driver.close();
    const { a: gone } = config.clusters;
    if (gone === undefined) throw new Error("no cluster a");
    const without = { ...config, clusters: { ...config.clusters, a: { ...gone, host: "127.0.0.1", port: 9 } } };
    driver = await LocalDriver.open({ config: without, manifest: world.manifest() });
    const { parts } = await driver.dray.service.evidence("it", AbortSignal.timeout(60_000));
    const [from, to] = parts.versions.servers.map(({ server: found }) => found);
    expect([from, to]).toEqual([
      { known: null, why: expect.stringContaining("a") },
      { known: expect.anything(), why: null },
    ]);
    expect(parts.journal.at(-1)?.event).toBe("aborted");
  });
});
