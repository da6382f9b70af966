import { randomBytes } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import type { LogConfig, ServerConfig } from "../../cutover/server-settings.ts";
import { describeWithMysql, sharedKafka } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { countRows, differences, ledgerProblems } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";

/* A move that has ended leaves its name, with journal and generation, to the next one of its tenant. */
describeWithMysql("K1, C2: a name is used again once its move has ended", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let traffic: Traffic;
  let draySchema: string;
  let config: ServerConfig;

  async function begin(log: LogConfig = { kind: "embedded" }, writing?: readonly string[]): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 100, workers: 3 });
    const installation = world.installation();
    draySchema = installation.draySchema;
    config = world.config(installation, log);
    driver = await LocalDriver.open({ config, manifest: world.manifest() });
    traffic = world.traffic({ seed: 5, workers: 3, pauseMs: 10, ...(writing && { tenants: writing }) });
    traffic.start();
    await driver.start(TENANT);
  }

  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    await world?.close();
  });

  async function events(): Promise<readonly string[]> {
    return (await driver.dray.service.journal("it", 0)).map(({ event }) => event);
  }

  async function logConfig(kind: LogConfig["kind"]): Promise<LogConfig> {
    if (kind === "embedded") return { kind };
    const { brokers } = await sharedKafka();
    const topicPrefix = `s${randomBytes(4).toString("hex")}`;
    return { kind, brokers, topicPrefix, replicationFactor: 1, tls: null, sasl: null };
  }

  test("M, L7: moves of one name in two installations do not meet in one topic", async () => {
    const log = await logConfig("kafka");
    // Rows that change hands between tenants of two installations are not known to either (A8): these two exchange none.
    await begin(log, [TENANT, "delta"]);
    await phase(driver, "streaming");
    const other = await LocalDriver.open({
      config: world.config(world.installation(), log),
      manifest: world.manifest(),
    });
    try {
      await other.start("ACME");
      expect(await phase(other, "streaming")).toMatchObject({ problem: null, alarms: [] });
      world.heldAtTarget.add("ACME");
      expect(await cutoverOnceOpen(other)).toMatchObject({ outcome: "committed" });
    } finally {
      await other.close();
    }
    expect(await driver.status()).toMatchObject({ phase: "streaming", problem: null, alarms: [] });
    world.heldAtTarget.add(TENANT);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await traffic.stop();
    for (const tenant of [TENANT, "ACME"]) expect(await differences(world, tenant)).toEqual([]);
  });

  describe.each(["embedded", "kafka"] as const)("%s log", (kind) => {
    test("C1, C5: an attempt fails, the move is aborted, and the next one of that name ends well", async () => {
      await begin(await logConfig(kind));
      const first = await phase(driver, "streaming");
      world.proxy.decide = ({ action }) => (action === "pin" ? { kind: "status", status: 500 } : { kind: "pass" });
      expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "aborted" });
      world.proxy.decide = () => ({ kind: "pass" });
      await phase(driver, "streaming");
      await expect(driver.start(TENANT)).rejects.toMatchObject({ code: "MOVE_EXISTS", facts: { phase: "streaming" } });
      await driver.act("abort");
      const aborted = await phase(driver, "aborted");
      expect(aborted.next[0]).toBe("dray start … --name it");
      expect(await countRows(world, "b", TENANT)).toBe(0);
      await expect(driver.start("ACME")).rejects.toMatchObject({ code: "MOVE_EXISTS", facts: { tenant: TENANT } });
      const before = await events();

      await driver.start(TENANT);
      const second = await phase(driver, "streaming");
      expect(second).toMatchObject({ attempt: null, problem: null, alarms: [] });
      expect(second.generation).toBeGreaterThan(aborted.generation);
      expect(second.lanes.map(({ lane }) => lane)).not.toEqual(first.lanes.map(({ lane }) => lane));
      expect((await events()).slice(0, before.length + 1)).toEqual([...before, "start-again"]);
      world.heldAtTarget.add(TENANT);
      expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
      await expectArrived({ world, traffic, tenant: TENANT });
      const generation = (await driver.status()).attempt?.generation;
      const outcomes = await world.outcomes(draySchema);
      expect(outcomes.a.at(-1)).toBe(`${generation} COMMITTED`);
      expect(outcomes.a.slice(0, -1).every((row) => row.endsWith("ABORTED"))).toBe(true);
      expect(outcomes.b.filter((row) => row.endsWith("COMMITTED"))).toEqual([`${generation} COMMITTED`]);
    });
  });

  test("C1: a move that was closed does not stand in the way of the one that brings the tenant back", async () => {
    await begin();
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await traffic.stop();
    world.ledger.switchHome(TENANT, "b");
    await phase(driver, "watching");
    const there = await driver.status();
    const { sql } = await driver.dray.service.close("it", { by: "test", role: "admin" });
    // What the source kept is in the way until it is removed as `close` says.
    await expect(driver.start(TENANT, { from: "b", to: "a" })).rejects.toMatchObject({ code: "PREFLIGHT_REFUSED" });
    expect((await driver.status()).phase).toBe("closed");
    for (const statement of sql) await world.admin.a.query(statement);
    expect(await countRows(world, "a", TENANT)).toBe(0);

    traffic = world.traffic({ seed: 6, workers: 3, pauseMs: 10 });
    traffic.start();
    await driver.start(TENANT, { from: "b", to: "a" });
    await phase(driver, "streaming");
    // After a restart the COMMITTED of the first is not taken for one of the second (C2).
    await driver.close();
    driver = await LocalDriver.open({ config, manifest: world.manifest() });
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    const back = await driver.status();
    expect(back).toMatchObject({ phase: "watching", from: "b", to: "a", alarms: [] });
    expect(back.generation).toBeGreaterThan(there.generation);
    await traffic.stop();
    world.ledger.switchHome(TENANT, "a");
    expect(await ledgerProblems(world, "a")).toEqual([]);
    expect(await ledgerProblems(world, "b", [TENANT])).toEqual([]);
    expect((await events()).filter((event) => ["committed", "found"].includes(event))).toHaveLength(2);
  });
});
