import { afterEach, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { AddressSwitch } from "./world/address-switch.ts";
import { differences } from "./world/compare.ts";
import { compared, LocalDriver, phase } from "./world/driver.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 30_000 };

describeWithMysql("V3: a repair for which the source cannot be read", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let source: AddressSwitch;

  afterEach(async () => {
    await driver?.close();
    source?.close();
    await world?.close();
  });

  /** The move streams, and one row of orders differs. */
  async function withDifference(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    source = await AddressSwitch.to(a);
    const plain = world.config(world.installation());
    const from = { ...plain.clusters["a"], ...source.address } as (typeof plain.clusters)[string];
    const config = { ...plain, clusters: { ...plain.clusters, a: from } };
    driver = await LocalDriver.open({ config, manifest: world.manifest(), settings: { repairPatienceMs: 500 } });
    await driver.start(TENANT);
    await phase(driver, "streaming");
    await compared(driver);
    const own = `tenant_id = '${TENANT}' ORDER BY id LIMIT 1`;
    await world.admin.b.query(`UPDATE ${world.schema}.orders SET note = 'x' WHERE ${own}`);
    await driver.verify();
    expect((await compared(driver)).differences).toHaveLength(1);
  }

  test("its capture has stopped: refused by name, and the move is free for what helps", async () => {
    await withDifference();
    await world.admin.a.query(`ALTER TABLE ${world.schema}.handles COMMENT 'of somebody else'`);
    await expect.poll(async () => (await driver.status()).phase, PATIENT).toBe("failed");
    const table = `${world.schema}.orders`;
    await expect(driver.verify({ repair: true })).rejects.toMatchObject({
      code: "RECOPY_NEEDS_CAPTURE",
      facts: { table },
    });
    await driver.recopy(null);
    await phase(driver, "streaming");
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("it does not answer: told so in time, and asked for again once it does", async () => {
    await withDifference();
    source.leadTo(null);
    await expect(driver.verify({ repair: true })).rejects.toMatchObject({ code: "REPAIR_WAITS" });
    await driver.act("pause");
    source.leadTo(a);
    await driver.act("resume");
    await phase(driver, "streaming");
    const ask = () =>
      driver.verify({ repair: true }).then(
        () => "asked",
        (error: { readonly code?: string }) => error.code,
      );
    await expect.poll(ask, PATIENT).toBe("asked");
    expect((await compared(driver)).differences).toEqual([]);
    expect(await differences(world, TENANT)).toEqual([]);
  });
});
