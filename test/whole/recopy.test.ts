import { afterEach, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
/** Odd, as the source gives them out. */
const CLASH = 900_000_001;

describeWithMysql("A8, W4: a lane that a foreign row in the target has stopped", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;

  async function stoppedByForeignRow(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    driver = await LocalDriver.open({ config: world.config(world.installation()), manifest: world.manifest() });
    await driver.start(TENANT);
    await phase(driver, "streaming");
    await insertOrder("b", "delta");
    await insertOrder("a", TENANT);
    const failed = await phase(driver, "failed");
    expect(JSON.stringify(failed.problem)).toContain(String(CLASH));
    expect(failed.alarms).toHaveLength(1);
  }

  async function insertOrder(side: "a" | "b", tenant: string): Promise<void> {
    await world.admin[side].query(
      `INSERT INTO ${world.schema}.orders (id, tenant_id, status, created, stamp) VALUES (?, ?, 'new', NOW(), 1)`,
      [CLASH, tenant],
    );
  }

  async function expectForeignRowUntouched(): Promise<void> {
    const [rows] = await world.admin.b.query(`SELECT tenant_id FROM ${world.schema}.orders WHERE id = ${CLASH}`);
    expect(rows).toEqual([{ tenant_id: "delta" }]);
  }

  async function removeForeignRow(): Promise<void> {
    await world.admin.b.query(`DELETE FROM ${world.schema}.orders WHERE id = ${CLASH} AND tenant_id = 'delta'`);
  }

  async function expectMoved(): Promise<void> {
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
    expect((await driver.status()).alarms).toEqual([]);
  }

  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  test("goes on by retry once the row is gone", async () => {
    await stoppedByForeignRow();
    await expectForeignRowUntouched();
    await removeForeignRow();
    await driver.act("retry");
    await expectMoved();
  });

  test("goes on by a recopy of the table", async () => {
    await stoppedByForeignRow();
    await removeForeignRow();
    await driver.recopy(`${world.schema}.orders`);
    await expectMoved();
  });

  test("goes on by a recopy of everything", async () => {
    await stoppedByForeignRow();
    await removeForeignRow();
    await driver.recopy(null);
    await expectMoved();
  });

  test("goes on by skip, and the gate stays closed until the table has been copied again", async () => {
    await stoppedByForeignRow();
    const seq = Number((await driver.status()).problem?.facts["seq"]);
    expect(seq).toBeGreaterThan(0);
    await driver.dray.service.skip("it", { lane: null, seq }, { by: "test", role: "admin" });
    await driver.act("retry");
    await phase(driver, "streaming");
    await removeForeignRow();
    const refused = await driver.cutover();
    expect(refused).toMatchObject({ outcome: "refused", reason: expect.stringContaining("nothing skipped") });
    await driver.recopy(`${world.schema}.orders`);
    await expectMoved();
  });
});
