import { afterEach, expect, test } from "vitest";
import type { Alarm } from "../../cutover/control-store.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 30_000 };

describeWithMysql("C5: rows that are written at a side that the tenant has left", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  afterEach(async () => {
    onProbe = () => {};
    await driver?.close();
    await world?.close();
  });

  const strays = async (): Promise<readonly Alarm[]> =>
    (await driver.status()).alarms.filter(({ code }) => code === "STRAY_WRITE");

  /** The first row of orders, by an application that does not ask. */
  async function write(side: "a" | "b"): Promise<string> {
    const [rows] = await world.admin[side].query(
      `SELECT MIN(id) AS id FROM ${world.schema}.orders WHERE tenant_id = '${TENANT}'`,
    );
    const id = String((rows as { id: unknown }[])[0]?.id);
    await world.admin[side].query(`UPDATE ${world.schema}.orders SET qty = qty + 1 WHERE id = ${id}`);
    return `${world.schema}.orders id=${id}`;
  }

  test("are told with the cluster's name, and one lane that lets go what it held leaves what another has told", async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    const config = world.config(world.installation());
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
    await driver.start(TENANT);
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    await compared(driver);
    const stray = await write("a");
    const told = `a took a write of the tenant behind the fence: ${stray}`;
    await expect.poll(async () => (await strays())[0]?.message, PATIENT).toContain(told);
    let held = 1;
    onProbe = async (name) => {
      if (name !== "cutover.after-s2" || held-- <= 0) return;
      await world.admin.b.query(
        `INSERT INTO ${world.schema}.documents (code, tenant_id, stamp) VALUES ('held-1', '${TENANT}', 1)`,
      );
      await expect.poll(async () => (await strays())[0]?.message, PATIENT).toMatch(/^b took .*held-1/);
    };
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    const [carried] = await world.admin.a.query(`SELECT 1 FROM ${world.schema}.documents WHERE code = 'held-1'`);
    expect(carried).toHaveLength(1);
    expect((await strays()).map(({ message }) => message)).toEqual([expect.stringContaining(told)]);
    onProbe = () => {};
    const behind = await write("b");
    await expect
      .poll(async () => (await strays())[0]?.message, PATIENT)
      .toContain(`b took a write of the tenant behind the fence: ${behind}`);
  });
});
