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
});
