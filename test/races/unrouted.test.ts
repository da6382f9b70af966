import { afterEach, expect, test } from "vitest";
import type { MoveStatus } from "../../cutover/move-service.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import type { Fate } from "../whole/world/adapter-proxy.ts";
import { AddressSwitch } from "../whole/world/address-switch.ts";
import { differences } from "../whole/world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const PASS: Fate = { kind: "pass" };
const BROKEN: Fate = { kind: "status", status: 500 };
const TENANT = "acme";
const PATIENT = { timeout: 30_000 };
const CLASH = "clash-of-ids";

/*
 * COMMITTED stands and no route has answered: the tenant is fenced until a person has seen to the routing. Whatever else
 * goes wrong meanwhile, that stays the way on.
 */
describeWithMysql("C1, C2: an attempt that is committed and not routed", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let home: AddressSwitch;

  afterEach(async () => {
    await driver?.close();
    home?.close();
    await world?.close();
  });

  async function streamingMove(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    home = await AddressSwitch.to(a);
    const plain = world.config(world.installation());
    const from = { ...plain.clusters["a"], ...home.address } as (typeof plain.clusters)[string];
    const config = { ...plain, clusters: { ...plain.clusters, a: from } };
    driver = await LocalDriver.open({ config, manifest: world.manifest(), settings: { routePatienceMs: 500 } });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  }

  const refuseRoutes = () => {
    world.proxy.decide = ({ action }) => (action === "route" ? BROKEN : PASS);
  };

  /** A row of the tenant whose key is somebody else's at the other side: the lane that carries it there stops. */
  async function clash(from: "a" | "b", to: "a" | "b"): Promise<void> {
    const insert = `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES (?, ?, 'x', 1)`;
    await world.admin[to].query(insert, [CLASH, "ACME"]);
    await world.admin[from].query(insert, [CLASH, TENANT]);
    await expect.poll(codes, PATIENT).toContain("GUARD_FOREIGN_ROW");
  }

  async function codes(): Promise<readonly string[]> {
    return (await driver.status()).alarms.map(({ code }) => code);
  }

  /** Nothing but the routing is a way on. */
  async function expectOnlyRouting(): Promise<MoveStatus> {
    for (const refused of [
      () => driver.recopy(null),
      () => driver.recopy(`${world.schema}.documents`),
      () => driver.dray.service.skip("it", { lane: null, seq: 1 }, { by: "test", role: "admin" }),
    ]) {
      await expect(refused()).rejects.toMatchObject({
        code: "ROUTING_OPEN",
        facts: { generation: expect.any(Number) },
      });
    }
    const status = await driver.status();
    expect(status).toMatchObject({ phase: "failed", problem: { code: "ROUTE_AMBIGUOUS" } });
    return status;
  }

  test("a lane that stops meanwhile is told beside it: retry makes the routing calls, and then the lane is the problem", async () => {
    await streamingMove();
    refuseRoutes();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "needs-person" });
    await clash("b", "a");
    await expectOnlyRouting();
    await driver.act("retry");
    await expectOnlyRouting();
    world.proxy.decide = () => PASS;
    await driver.act("retry");
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    const routed = await driver.status();
    expect(routed).toMatchObject({ phase: "watching", problem: { code: "GUARD_FOREIGN_ROW" } });
    expect(await codes()).toEqual(["GUARD_FOREIGN_ROW"]);
    await world.admin.a.query(`DELETE FROM ${world.schema}.documents WHERE code = ? AND tenant_id = 'ACME'`, [CLASH]);
    await driver.act("retry");
    expect(await codes()).toEqual([]);
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("on the way back it is not aborted either, and the lane that stopped asks for a person once it is routed", async () => {
    await streamingMove();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    refuseRoutes();
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "needs-person" });
    await clash("a", "b");
    await expectOnlyRouting();
    await expect(driver.act("abort")).rejects.toMatchObject({ code: "ROUTING_OPEN" });
    // What is suggested is possible: the tenant lives where it came from.
    expect((await driver.status()).next).toContain("dray resolve it --owner from");
    await expect(driver.resolve("to")).rejects.toMatchObject({ code: "ALREADY_COMMITTED" });
    world.proxy.decide = () => PASS;
    await driver.act("retry");
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    expect(await driver.status()).toMatchObject({ phase: "failed", problem: { code: "GUARD_FOREIGN_ROW" } });
    await world.admin.b.query(`DELETE FROM ${world.schema}.documents WHERE code = ? AND tenant_id = 'ACME'`, [CLASH]);
    await driver.act("retry");
    await phase(driver, "streaming");
    expect(await codes()).toEqual([]);
  });

  test("C2: routing that is made again and cannot read the home is a person's to resolve", async () => {
    await streamingMove();
    refuseRoutes();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "needs-person" });
    home.leadTo(null);
    const retried = driver.act("retry");
    retried.catch(() => {});
    await expect.poll(codes, PATIENT).toContain("CUTOVER_HELD");
    world.proxy.decide = () => PASS;
    await driver.resolve("to");
    await expect(retried).rejects.toMatchObject({ code: "RESOLVED_BY_A_PERSON" });
    expect(await driver.status()).toMatchObject({ phase: "watching", problem: null, alarms: [] });
  });
});
