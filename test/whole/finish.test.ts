import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MOST_STRAYS } from "../../cutover/strays.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { countRows, differences, ledgerProblems } from "./world/compare.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { LockWaits } from "./world/lock-waits.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const STRAY_KEY = 900_001;
const BULK = 1_200;
const PATIENT = { timeout: 60_000, interval: 50 };

describeWithMysql("dray finish: the source's copy goes, and no neighbour is touched", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let installation: ReturnType<World["installation"]>;
  let atProbe: Partial<Record<ProbeName, () => Promise<void>>>;

  const open = () =>
    LocalDriver.open({
      config: world.config(installation),
      manifest: world.manifest(),
      probe: (name) => atProbe[name]?.(),
    });

  beforeEach(async () => {
    atProbe = {};
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 150, workers: 3 });
    installation = world.installation();
    driver = await open();
  });
  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  async function moved(): Promise<void> {
    await driver.start(TENANT);
    await phase(driver, "streaming");
    world.heldAtTarget.add(TENANT);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    world.ledger.switchHome(TENANT, "b");
    world.heldAtTarget.delete(TENANT);
    await compared(driver);
  }

  /** So many rows at once, as of an UPDATE of everything. */
  const bulk = (rows: number) =>
    world.admin.a.query(
      `INSERT INTO ${world.schema}.orders SELECT ${columnsWith("id", `${STRAY_KEY} + n.k`)}
         FROM (SELECT * FROM ${world.schema}.orders WHERE tenant_id = 'acme' LIMIT 1) AS o
         JOIN (SELECT ROW_NUMBER() OVER () AS k FROM information_schema.COLUMNS LIMIT ${rows}) AS n`,
    );
  const stray = (id: number) =>
    world.admin.a.query(
      `INSERT INTO ${world.schema}.orders SELECT ${columnsWith("id", String(id))} FROM ${world.schema}.orders
       WHERE tenant_id = 'acme' LIMIT 1`,
    );
  let orders: readonly string[] = [];
  const columnsWith = (name: string, value: string) =>
    orders.map((column) => (column === name ? value : `\`${column}\``)).join(", ");

  async function readColumns(): Promise<void> {
    const [rows] = await world.admin.a.query<RowDataPacket[]>(
      "SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = 'orders' ORDER BY ORDINAL_POSITION",
      [world.schema],
    );
    orders = rows.map(({ name }) => String(name));
  }

  /** Rows that Drayage keeps of the move at a side, by its tables. */
  async function kept(side: Side): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    const where = { mark: "scope LIKE 'it.%'", applied: "lane LIKE 'it.%'", watermark: "lane LIKE 'it.%'" };
    for (const [table, condition] of Object.entries({ ...where, lane: "lane LIKE 'it.%'", applier: "closed = 0" })) {
      const [rows] = await world.admin[side].query<RowDataPacket[]>(
        `SELECT COUNT(*) AS n FROM \`${installation.draySchema}\`.\`${table}\` WHERE ${condition}`,
      );
      counts[table] = Number(rows[0]?.["n"]);
    }
    return counts;
  }

  /** Of the move in the data folder: rows of the log and of the control store, and files. */
  function keptHere(): Record<string, number> {
    const { dataDir } = installation;
    const rows = (file: string, sql: string) => {
      const db = new DatabaseSync(join(dataDir, file), { readOnly: true });
      try {
        return Number(db.prepare(sql).get()?.["n"]);
      } finally {
        db.close();
      }
    };
    const files = (folder: string) =>
      existsSync(join(dataDir, folder))
        ? readdirSync(join(dataDir, folder), { recursive: true }).filter((name) => String(name).includes("it.")).length
        : 0;
    return {
      lanes: rows("control.db", "SELECT COUNT(*) AS n FROM lane WHERE move = 'it'"),
      logLanes: rows("log.sqlite", "SELECT COUNT(*) AS n FROM lane"),
      logEntries: rows("log.sqlite", "SELECT COUNT(*) AS n FROM entry"),
      chunks: files("chunks"),
      verified: files("verify"),
    };
  }

  test("under traffic: rows that appeared behind the fence are left and named, all else of the tenant is gone", async () => {
    const traffic = world.traffic({ seed: 7, workers: 3, pauseMs: 10 });
    traffic.start();
    await moved();
    await readColumns();
    await stray(STRAY_KEY);

    expect(await driver.finish()).toMatchObject({
      outcome: "refused",
      gate: expect.arrayContaining([expect.objectContaining({ name: "retention", verdict: "no" })]),
    });
    await expect(driver.finish({ now: true, tenant: "ACME" })).rejects.toMatchObject({ code: "REQUEST_INVALID" });
    const dry = await driver.finish({ now: true, tenant: TENANT, dryRun: true });
    expect(dry.gate.filter(({ verdict }) => verdict !== "yes" && verdict !== "accepted")).toEqual([]);
    expect(dry).toMatchObject({ outcome: "would-run" });
    expect(Object.keys(dry.rows ?? {}).every((table) => table.startsWith(`${world.schema}.`))).toBe(true);
    expect((await driver.status()).phase).toBe("watching");

    // Another one comes while rows are removed.
    let isLate = false;
    atProbe["cleanup.after-batch"] = async () => {
      if (isLate) return;
      isLate = true;
      await stray(STRAY_KEY + 1);
    };
    const before = keptHere();
    for (const what of ["lanes", "logLanes", "logEntries", "verified"]) expect(before[what], what).toBeGreaterThan(0);
    const waits = new LockWaits(world.schema);
    await waits.start(a);
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "begun" });
    const { finish, alarms } = await phase(driver, "finished");
    const { long, samples, sighted } = await waits.stop();
    await traffic.stop();

    expect(alarms).toEqual([]);
    expect(finish?.left).toEqual([STRAY_KEY, STRAY_KEY + 1].map((id) => expect.stringContaining(`id=${id}`)));
    const [rows] = await world.admin.a.query<RowDataPacket[]>(
      `SELECT id FROM ${world.schema}.orders WHERE tenant_id = 'acme' COLLATE utf8mb4_bin ORDER BY id`,
    );
    expect(rows.map(({ id }) => Number(id))).toEqual([STRAY_KEY, STRAY_KEY + 1]);
    expect(await countRows(world, "a", TENANT)).toBe(2);
    // Neighbours wrote throughout, and the tenant wrote at its new home.
    expect(await ledgerProblems(world, "b")).toEqual([]);
    expect(await ledgerProblems(world, "a", [TENANT])).toEqual([]);
    expect(long).toEqual([]);
    expect(samples).toBeGreaterThan(10);
    expect(sighted).toBeGreaterThan(0.5);
    for (const side of ["a", "b"] as const)
      expect(await kept(side)).toEqual({ mark: 0, applied: 0, watermark: 0, lane: 0, applier: 0 });
    expect(keptHere()).toEqual({ lanes: 0, logLanes: 0, logEntries: 0, chunks: 0, verified: 0 });
    const committed = (await world.outcomes(installation.draySchema)).a.filter((row) => row.endsWith("COMMITTED"));
    expect(committed).toHaveLength(1);
    expect((await driver.dray.service.journal("it", 0)).at(-1)).toMatchObject({ event: "finished", to: "finished" });

    await driver.close();
    driver = await open();
    expect(await driver.status()).toMatchObject({ phase: "finished", alarms: [], lanes: [] });
  });

  test("sides that differ are not finished, and nothing is removed", async () => {
    await moved();
    const before = await countRows(world, "a", TENANT);
    await world.admin.a.query(
      `DELETE FROM ${world.schema}.orders WHERE tenant_id = 'acme' COLLATE utf8mb4_bin ORDER BY id LIMIT 1`,
    );
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "begun" });
    const { finish } = await phase(driver, "watching");
    expect(finish).toMatchObject({ stage: "refused", reason: expect.stringContaining("1 rows differ") });
    expect(await countRows(world, "a", TENANT)).toBe(before - 1);
    await driver.dray.service.verify("it", { table: null, repair: true }, { by: "test", role: "admin" });
    for (;;) {
      const { differences: open } = await compared(driver);
      if (open.length === 0) break;
      await sleep(50);
    }
    expect(await differences(world, TENANT)).toEqual([]);
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "begun" });
    // The row that was put back was written behind the fence, and is named.
    expect((await phase(driver, "finished")).finish?.left).toHaveLength(1);
  });

  test("more strays than are kept by name come while rows are removed: each is left, and counted", async () => {
    await moved();
    await readColumns();
    let isLate = false;
    atProbe["cleanup.after-batch"] = async () => {
      if (isLate) return;
      isLate = true;
      await bulk(BULK);
    };
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "begun" });
    const { finish } = await phase(driver, "finished");
    expect(isLate).toBe(true);
    expect(await countRows(world, "a", TENANT)).toBe(BULK);
    expect(finish?.rowsLeft).toEqual({ [`${world.schema}.orders`]: BULK });
    expect(finish?.left).toHaveLength(MOST_STRAYS);
  });

  test("where a process does not know every stray, it removes nothing, and says why", async () => {
    await moved();
    await readColumns();
    const isWritten = Promise.withResolvers<void>();
    atProbe["finish.after-close"] = async () => {
      await bulk(BULK);
      isWritten.resolve();
      await new Promise(() => {});
    };
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "begun" });
    await isWritten.promise;
    await expect.poll(async () => (await driver.status()).alarms, PATIENT).toMatchObject([{ code: "STRAY_WRITE" }]);
    const before = await countRows(world, "a", TENANT);
    await driver.close();
    atProbe = {};
    driver = await open();
    await expect.poll(async () => (await driver.status()).finish?.reason, PATIENT).toContain("STRAYS_UNKNOWN");
    expect(await driver.status()).toMatchObject({ phase: "finishing", finish: { stage: "removing" } });
    expect(await countRows(world, "a", TENANT)).toBe(before);
    await driver.act("close");
    expect(await driver.status()).toMatchObject({ phase: "closed", alarms: [] });
    expect(await countRows(world, "a", TENANT)).toBe(before);
  });

  test("a store that no lane compares is not finished, whatever a person answers for", async () => {
    await moved();
    await driver.close();
    const control = new DatabaseSync(join(installation.dataDir, "control.db"));
    expect(control.prepare("DELETE FROM lane WHERE lane LIKE 'it.%.r%'").run().changes).toBe(1);
    control.close();
    driver = await open();
    const before = await countRows(world, "a", TENANT);
    const { outcome, gate } = await driver.finish({ now: true, tenant: TENANT, acceptUnverified: true });
    expect(outcome).toBe("refused");
    expect(gate.find(({ name }) => name === "lanes back")).toMatchObject({ verdict: "no", value: "no lane for db" });
    expect(await countRows(world, "a", TENANT)).toBe(before);
  });

  test("without routing that reads back nothing is finished", async () => {
    await moved();
    world.proxy.decide = ({ action }) => (action === "read" ? { kind: "status", status: 500 } : { kind: "pass" });
    const { outcome, gate } = await driver.finish({ now: true, tenant: TENANT });
    expect(outcome).toBe("refused");
    expect(gate.find(({ name }) => name === "routing")).toMatchObject({ verdict: "unknown" });
  });
});
