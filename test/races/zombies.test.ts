import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { systemClock } from "../../pipeline/clock.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { Probe, ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { expectArrived } from "../whole/world/arrival.ts";
import { differences } from "../whole/world/compare.ts";
import { copyDataFolder } from "../whole/world/copy-folder.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const TENANT = "7";

/*
 * Two processes act on one move: somebody copied the data folder and started it elsewhere. Both believe that they are
 * the coordinator. Whoever inserts the outcome first is right, and the other one follows.
 */
describeWithMysql("C1: a zombie coordinator", ({ a, b }) => {
  let world: World;
  const drivers: LocalDriver[] = [];
  let installation: { readonly dataDir: string; readonly draySchema: string };

  async function open(dataDir: string, probe: Probe): Promise<LocalDriver> {
    const config = world.config({ ...installation, dataDir });
    const driver = await LocalDriver.open({ config, manifest: world.manifest(), probe });
    drivers.push(driver);
    return driver;
  }

  async function copy(): Promise<string> {
    const to = join(world.folder, "copy");
    await copyDataFolder(installation.dataDir, to);
    return to;
  }

  async function streamingMove(probe: Probe): Promise<LocalDriver> {
    const homes = { "7": "a", "70": "a", "9": "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "number", homes, rows: 60, workers: 2 });
    installation = world.installation();
    const driver = await open(installation.dataDir, probe);
    await driver.start(TENANT);
    await phase(driver, "streaming");
    return driver;
  }

  /** The first coordinator, held at a place of its cutover; its twin lives on a copy of that very moment. */
  async function twinsAt(place: ProbeName) {
    const reached = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const first = await streamingMove(async (name) => {
      if (name !== place) return;
      reached.resolve();
      await goOn.promise;
    });
    const running = cutoverOnceOpen(first);
    await reached.promise;
    return { first, running, twinFolder: await copy(), goOn: () => goOn.resolve() };
  }

  afterEach(async () => {
    for (const driver of drivers.splice(0)) await driver.close();
    await world?.close();
  });

  async function committed(): Promise<{ readonly a: string[]; readonly b: string[] }> {
    const rows = await world.outcomes(installation.draySchema);
    const only = (side: "a" | "b") => rows[side].filter((row) => row.endsWith("COMMITTED"));
    return { a: only("a"), b: only("b") };
  }

  test.each<ProbeName>(["cutover.after-fence", "cutover.after-s2", "cutover.before-commit"])(
    "awake while the first stands at %s: it aborts, and the first cannot commit any more",
    async (place) => {
      const { running, twinFolder, goOn } = await twinsAt(place);
      const twin = await open(twinFolder, () => {});
      await phase(twin, "streaming", "failed");
      expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
      goOn();
      expect(await running).toMatchObject({ outcome: "aborted" });
      expect(await committed()).toEqual({ a: [], b: [] });
      expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    },
  );

  test.each<ProbeName>(["cutover.after-home-commit", "cutover.after-target-commit"])(
    "awake while the first stands at %s: it goes forward, and so does the first",
    async (place) => {
      const { first, running, twinFolder, goOn } = await twinsAt(place);
      const twin = await open(twinFolder, () => {});
      await phase(twin, "watching");
      expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
      // The tenant lives there by now: what the first still does must not take that away.
      await world.admin.b.query(`UPDATE ${world.schema}.tenants SET plan = 'new home' WHERE id = ?`, [TENANT]);
      goOn();
      expect(await running).toMatchObject({ outcome: "committed" });
      await phase(first, "watching");
      expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
      const rows = await committed();
      expect(rows.a).toHaveLength(1);
      expect(rows.b).toEqual(rows.a);
      // Unless a lane back has carried it by now.
      for (const each of await differences(world, TENANT)) expect(each).toMatch(/^tenants .*: plan /);
    },
  );

  /** As an operator would: what failed is asked to go on, and copied again where its log is not the target's any more. */
  async function bringHome(driver: LocalDriver): Promise<void> {
    for (;;) {
      const { phase: now, problem } = await driver.status();
      if (now === "watching") return;
      if (now === "failed") await (problem?.code === "LOG_TRUNCATED" ? driver.recopy(null) : driver.act("retry"));
      if (now === "streaming") {
        await cutoverOnceOpen(driver).catch((error: unknown) => {
          if (!isDrayError(error, "ILLEGAL_STEP")) throw error; // it failed in between, and is seen to at the next turn
        });
      }
      await systemClock.sleep(20);
    }
  }

  test("A7, L7: while both stream, one whose log is not the target's stops; who is left goes on when asked", async () => {
    const first = await streamingMove(() => {});
    const twinFolder = await copy();
    const traffic = world.traffic({ seed: 1, workers: 2, pauseMs: 5 });
    traffic.start();
    await expect.poll(() => world.ledger.acknowledged, { timeout: 30_000 }).toBeGreaterThan(200);
    const twin = await open(twinFolder, () => {});
    // Either one took the target from the other, or found entries there that its own log never had.
    const phases = async () => [(await first.status()).phase, (await twin.status()).phase];
    await expect.poll(phases, { timeout: 60_000 }).toContain("failed");
    await twin.close();
    drivers.splice(drivers.indexOf(twin), 1);
    world.heldAtTarget.add(TENANT);
    await bringHome(first);
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("C2: both asked to cut over at once, one home in the end", async () => {
    const first = await streamingMove(() => {});
    const twin = await open(await copy(), () => {});
    const results = await Promise.allSettled([cutoverOnceOpen(first), cutoverOnceOpen(twin)]);
    const outcomes = results.map((result) => (result.status === "fulfilled" ? result.value.outcome : "failed"));
    const rows = await committed();
    const home = await world.homeOf(TENANT);
    if (outcomes.includes("committed")) {
      expect(rows.a).toHaveLength(1);
      expect(rows.b).toEqual(rows.a);
      expect(home).toEqual({ home: "b", mayWrite: true });
      expect(await differences(world, TENANT)).toEqual([]);
    } else {
      expect(rows).toEqual({ a: [], b: [] });
      expect(home).toEqual({ home: "a", mayWrite: true });
    }
  });
});
