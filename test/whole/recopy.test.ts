import { afterEach, expect, test } from "vitest";
import type { Probe } from "../../pipeline/probe.ts";
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

  test("W4: a key that changed its case meanwhile, and again under the new copy, meets no stale row of its own", async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    const { schema, admin } = world;
    const rename = (from: string, to: string) =>
      admin.a.query(`UPDATE ${schema}.documents SET code = ? WHERE code = ? AND tenant_id = ?`, [to, from, TENANT]);
    let isSecondCopy = false;
    const probe: Probe = async (name, facts) => {
      if (name !== "capture.after-chunk-read" || !isSecondCopy || facts?.["table"] !== `${schema}.documents`) return;
      isSecondCopy = false;
      // In the log before the chunk that leaves it out.
      await rename("CASE-1", "case-1");
    };
    const config = world.config(world.installation());
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe });
    const insert = `INSERT INTO ${schema}.documents (code, tenant_id, body, stamp) VALUES ('Case-1', ?, 'b', 1)`;
    await admin.a.query(insert, [TENANT]);
    await driver.start(TENANT);
    await phase(driver, "streaming");
    // What happens behind the DDL is in no log.
    const ddl = `ALTER TABLE ${schema}.documents ADD COLUMN extra INT NULL`;
    await admin.a.query(ddl);
    await phase(driver, "failed");
    await rename("Case-1", "CASE-1");
    await admin.b.query(ddl);
    isSecondCopy = true;
    await driver.recopy(null);
    await expectMoved();
    const [rows] = await admin.b.query(`SELECT code FROM ${schema}.documents WHERE code = 'case-1'`);
    expect(rows).toEqual([{ code: "case-1" }]);
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
