import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "../whole/world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 30_000 };
/** So long a lane in standby that has stopped rests before another one takes its place, and a bit more. */
const RESTS_MS = 1_500;

/* The gate has seen the way back, and then it is lost: nothing commits without it, and nobody is told that it is there. */
describeWithMysql("C8: a lane in standby that stops while the move is switched", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  afterEach(async () => {
    onProbe = () => {};
    await driver?.close();
    await world?.close();
  });

  async function streamingMove(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    const config = world.config(world.installation());
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  }

  /** Once, at the place: a DDL stops the lane that stands by there, for good (M8). */
  function stopStandby(place: ProbeName, side: "a" | "b"): void {
    onProbe = async (name) => {
      if (name !== place) return;
      onProbe = () => {};
      const [lane] = (await driver.status()).lanes.filter(({ role }) => role === "standby");
      await world.admin[side].query(`ALTER TABLE ${world.schema}.handles COMMENT 'of somebody else'`);
      const isStopped = async () => {
        const now = (await driver.status()).lanes.find((each) => each.lane === lane?.lane);
        return now === undefined || now.capture === "stopped";
      };
      await expect.poll(isStopped, PATIENT).toBe(true);
      await sleep(RESTS_MS);
    };
  }

  test("before its mark: the attempt is aborted, naming the lane and why; on the way back as well", async () => {
    await streamingMove();
    stopStandby("cutover.after-verify", "b");
    const lost = await cutoverOnceOpen(driver);
    expect(lost).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("WAY_BACK_LOST") });
    expect(lost.reason).toMatch(/lane=it\.db\.r\d+ .*DDL/);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    stopStandby("cutover.after-verify", "a");
    const kept = await rollbackOnceOpen(driver);
    expect(kept).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("WAY_BACK_LOST") });
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    await phase(driver, "watching");
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("behind its mark: it stays, and is the move's problem once it is to carry", async () => {
    await streamingMove();
    stopStandby("cutover.before-commit", "b");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    const status = await phase(driver, "watching");
    expect(status.lanes.map(({ role, capture }) => `${role} ${capture}`)).toContain("active stopped");
    expect(status.rollback).toMatch(/^unavailable \(.*DDL/);
    expect(status.problem?.code).toBe(status.lanes.find(({ role }) => role === "active")?.problem?.code);
    expect(status.alarms.map(({ code }) => code)).toEqual([status.problem?.code]);
    expect((await driver.rollback()).outcome).toBe("refused");
    await driver.recopy(null);
    await expect.poll(async () => (await driver.status()).rollback, PATIENT).toBe("stream");
    expect(await driver.status()).toMatchObject({ problem: null, alarms: [] });
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });
});
