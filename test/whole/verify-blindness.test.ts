import { afterAll, beforeAll, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { expectSame, shuffled, untilSame } from "./blindness/judge.ts";
import { kindsOfFaults, type Planted, Planter } from "./blindness/planter.ts";
import { BlindSides, TENANT } from "./blindness/sides.ts";
import { compared, LocalDriver, phase } from "./world/driver.ts";
import { plannedRuns, Random, repeatable } from "./world/random.ts";

const PLANTED_AT_LEAST = 1_000;
const BATCH = 250;

/*
 * Single faults, each one change of one row of the target, are planted by plain SQL in tables of every accepted type and
 * of every kind of key. What a pass reports is exactly what MySQL itself says that differs; the product's own repair makes
 * the sides equal again.
 */
describeWithMysql("V1, V3: no fault in the target is missed, and nothing else is reported", ({ a, b }) => {
  const { seed } = plannedRuns(1);
  let sides: BlindSides;
  let driver: LocalDriver;

  beforeAll(async () => {
    sides = await BlindSides.create({ a, b });
    const { world } = sides;
    driver = await LocalDriver.open({ config: world.config(world.installation()), manifest: sides.manifest() });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  });
  afterAll(async () => {
    await driver?.close();
    await sides?.world.close();
  });

  test(`of ${PLANTED_AT_LEAST} and more, planted in batches beside live traffic (SEED=${seed})`, async () => {
    await repeatable(seed, async () => {
      const random = new Random(seed);
      // Values that came by the stream are compared too, not only those of the first copy.
      await sides.rewriteSome(random);
      await untilSame(sides, driver);
      const neighbours = await sides.neighbours();
      const traffic = sides.world.traffic({ seed, workers: 2, pauseMs: 40 });
      traffic.start();
      const planter = new Planter(sides, random);
      const kinds = shuffled(kindsOfFaults(sides), random);
      const counted = new Set<string>();
      let rows = 0;
      for (let next = 0; rows < PLANTED_AT_LEAST || next < kinds.length; ) {
        await planter.begin();
        const batch: Planted[] = [];
        for (let tries = 0; batch.length < BATCH && tries < 3 * BATCH; tries++) {
          const planted = await (kinds[next++ % kinds.length] as (typeof kinds)[number]).plant(planter);
          if (planted !== null) batch.push(planted);
        }
        const differing = await sides.differences();
        expect(differing, "each fault is on rows of its own").toHaveLength(
          batch.reduce((sum, each) => sum + each.rows, 0),
        );
        for (const { what } of batch) counted.add(what);
        rows += batch.length;
        await driver.verify();
        const report = await compared(driver);
        expectSame(report.differences, differing);
        for (const { table, undo } of batch) if (undo !== null) await sides.run("b", table, undo);
        await driver.verify({ repair: true });
        await untilSame(sides, driver);
      }
      await traffic.stop();
      process.stderr.write(`${rows} faults of ${counted.size} kinds planted (SEED=${seed})\n`);
      expect(rows).toBeGreaterThanOrEqual(PLANTED_AT_LEAST);
      for (const type of sides.valueTypes()) {
        expect(
          [...counted].filter((what) => what.startsWith(`${type}: `)).length,
          `kinds of faults in ${type}`,
        ).toBeGreaterThan(1);
      }
      expect(await sides.neighbours()).toBe(neighbours);
    });
  }, 900_000);
});
