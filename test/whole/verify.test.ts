import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";

describeWithMysql("V1 to V3: source and target are compared while the tenant works on", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 150, workers: 2 });
    driver = await LocalDriver.open({ config: world.config(world.installation()), manifest: world.manifest() });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  });
  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  const plant = (sql: string) => world.admin.b.query(sql.replaceAll("W.", `${world.schema}.`));

  test("equal sides under traffic: everything is compared, nothing differs, dirty keys come and go", async () => {
    const traffic = world.traffic({ seed: 3, workers: 3, pauseMs: 10 });
    traffic.start();
    const first = await compared(driver);
    expect(first.differences).toEqual([]);
    for (let round = 0; round < 3; round++) {
      await driver.verify();
      expect((await compared(driver)).differences).toEqual([]);
    }
    await traffic.stop();
    for (let waited = 0; waited < 10_000; waited += 50) {
      if ((await driver.verification()).lanes.every(({ dirtyKeys }) => dirtyKeys === 0)) break;
      await sleep(50);
    }
    expect((await driver.status()).verification).toMatch(/^100% verified \(\d+ rows\), 0 dirty keys, 0 differences$/);
    const moved = await cutoverOnceOpen(driver);
    expect(moved).toMatchObject({ outcome: "committed" });
    // Single keys were compared on the way here, and how long that took is what the gate goes by.
    const judged = moved.gate.find(({ name }) => name.endsWith("verification"));
    expect(judged?.value).toMatch(/about \d+ ms under the fence$/);
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("a row that is missing, one that differs, one too many: named with key and columns, and repaired", async () => {
    await compared(driver);
    const own = "tenant_id = 'acme'";
    const [ids] = await world.admin.b.query(`SELECT id FROM ${world.schema}.orders WHERE ${own} ORDER BY id LIMIT 3`);
    const [missing, differing] = (ids as { id: string }[]).map(({ id }) => String(id));
    await plant(`DELETE FROM W.orders WHERE id = ${missing}`);
    await plant(`UPDATE W.orders SET amount = amount + 1, note = 'x' WHERE id = ${differing}`);
    await plant(
      `INSERT INTO W.orders (id, tenant_id, status, created, stamp) VALUES (900001, 'acme', 'new', NOW(), 1)`,
    );
    await driver.verify();
    const report = await compared(driver);
    expect(report.differences).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ key: `id=${missing}`, kind: "missing", columns: [] }),
        expect.objectContaining({ key: `id=${differing}`, kind: "differing", columns: ["amount", "note"] }),
        expect.objectContaining({ key: "id=900001", kind: "extra", columns: [] }),
      ]),
    );
    expect(report.differences).toHaveLength(3);
    const shown = await driver.verification(true);
    expect(shown.differences.find(({ kind }) => kind === "differing")?.values?.["note"]).toEqual({
      source: null,
      target: "x",
    });
    expect(await driver.cutover()).toMatchObject({
      outcome: "refused",
      reason: expect.stringContaining("verification"),
    });
    await driver.verify({ repair: true });
    expect((await compared(driver)).differences).toEqual([]);
    expect(await differences(world, TENANT)).toEqual([]);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
  });
});
