import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences, ledgerProblems } from "./world/compare.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";

describeWithMysql("C8: the tenant goes back with all that it wrote meanwhile, and forward again", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let installation: ReturnType<World["installation"]>;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 100, workers: 3 });
    installation = world.installation();
    driver = await LocalDriver.open({ config: world.config(installation), manifest: world.manifest() });
  });
  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  /** The tenant lives there now: both sides are one at that moment, and everybody works on. */
  async function switched(to: Side): Promise<void> {
    const held = to === "b" ? world.heldAtTarget : world.heldAtSource;
    held.add(TENANT);
    const result = to === "b" ? await cutoverOnceOpen(driver) : await rollbackOnceOpen(driver);
    expect(result).toMatchObject({ outcome: "committed" });
    expect(await world.homeOf(TENANT)).toMatchObject({ home: to, mayWrite: true });
    expect(await differences(world, TENANT)).toEqual([]);
    world.ledger.switchHome(TENANT, to);
    held.delete(TENANT);
    expect((await compared(driver)).differences).toEqual([]);
  }

  test("three times over, under traffic of everybody on both sides", async () => {
    const traffic = world.traffic({ seed: 5, workers: 3, pauseMs: 15 });
    traffic.start();
    await driver.start(TENANT);
    const { rollback } = await phase(driver, "streaming");
    expect(rollback).toBe("stream");
    for (let round = 0; round < 3; round++) {
      await switched("b");
      await phase(driver, "watching");
      await switched("a");
      await phase(driver, "rolled-back");
    }
    await switched("b");
    await traffic.stop();
    expect((await driver.status()).alarms).toEqual([]);
    expect(await ledgerProblems(world, "b")).toEqual([]);
    expect(await ledgerProblems(world, "a", [TENANT])).toEqual([]);
    // What the tenant wrote last at its new home is carried back too.
    expect((await compared(driver)).differences).toEqual([]);
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("C9: an id that clashes at the source stops its lane by name, until the clash is gone", async () => {
    await driver.start(TENANT);
    await phase(driver, "streaming");
    await switched("b");
    const code = "clash-of-ids";
    const insert = `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES (?, ?, 'x', 1)`;
    await world.admin.a.query(insert, [code, "ACME"]);
    await world.admin.b.query(insert, [code, TENANT]);
    const stopped = await until(async () => {
      const status = await driver.status();
      return status.rollback === "stream" ? null : status;
    });
    expect(stopped).toMatchObject({
      phase: "watching",
      rollback: expect.stringMatching(/^unavailable \(.*clash-of-ids/),
      problem: { code: "GUARD_FOREIGN_ROW" },
    });
    expect(await driver.rollback({ dryRun: true })).toMatchObject({ outcome: "refused" });
    const [rows] = await world.admin.a.query(`SELECT tenant_id FROM ${world.schema}.documents WHERE code = ?`, [code]);
    expect(rows).toEqual([{ tenant_id: "ACME" }]);

    await world.admin.a.query(`DELETE FROM ${world.schema}.documents WHERE code = ?`, [code]);
    await driver.act("retry");
    await until(async () => ((await driver.status()).rollback === "stream" ? true : null));
    expect((await driver.status()).alarms).toEqual([]);
    await switched("a");
    const [back] = await world.admin.a.query(`SELECT tenant_id FROM ${world.schema}.documents WHERE code = ?`, [code]);
    expect(back).toEqual([{ tenant_id: TENANT }]);
  });

  test("C8: a trigger at the source is told before anyone fences, and there is no way back then", async () => {
    const { schema } = world;
    const trigger = `CREATE TRIGGER ${schema}.note BEFORE INSERT ON ${schema}.orders FOR EACH ROW SET NEW.note = 'x'`;
    await world.admin.a.query(trigger);
    await driver.start(TENANT);
    expect((await phase(driver, "streaming")).rollback).toMatch(/^unavailable \(source [^ ]+ \S*orders.*trigger/i);
    const { gate } = await driver.cutover({ dryRun: true });
    expect(gate.find(({ name }) => name === "rollback")).toMatchObject({ verdict: "absent" });
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect((await phase(driver, "watching")).rollback).toMatch(/^unavailable/);
    // Gone since, so that nothing but the lanes is missing: nobody has carried back what the tenant wrote meanwhile.
    await world.admin.a.query(`DROP TRIGGER ${schema}.note`);
    const { outcome, gate: back } = await driver.rollback();
    expect(outcome).toBe("refused");
    expect(back.filter(({ verdict }) => verdict === "no")).toEqual([
      { name: "lanes", verdict: "no", value: expect.stringMatching(/^none for db: unavailable/), limit: null },
    ]);
    expect(await world.homeOf(TENANT)).toMatchObject({ home: "b", mayWrite: true });
    expect(await driver.finish({ now: true, tenant: TENANT })).toMatchObject({ outcome: "refused" });
  });
});

async function until<T>(ask: () => Promise<T | null>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    await sleep(20);
  }
}
