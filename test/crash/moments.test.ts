import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { countRows, differences } from "../whole/world/compare.ts";
import { cutoverOnceOpen, phase } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";
import { ChildDied, ChildDriver } from "./child-driver.ts";

const TENANT = "acme";
const ROWS = 60;

/* Moments that no place in the code stands for: what happens while nobody is there, and kills between two steps. */
describeWithMysql("C2, C5: the process of a move is killed, and the world goes on", ({ a, b }) => {
  let world: World;
  let installation: { readonly dataDir: string; readonly draySchema: string };
  const children: ChildDriver[] = [];

  async function create(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: ROWS, workers: 2 });
    installation = world.installation();
  }

  async function child(place: ProbeName | null = null): Promise<ChildDriver> {
    const dieAt = place === null ? null : { place, hit: 1 };
    const driver = new ChildDriver({ config: world.config(installation), manifest: world.manifest(), dieAt });
    children.push(driver);
    await driver.ready();
    return driver;
  }

  afterEach(async () => {
    for (const driver of children.splice(0)) await driver.kill();
    await world?.close();
  });

  test.each<ProbeName>(["cutover.after-home-commit", "cutover.after-route"])(
    "C5: a write at the source while nobody watches, behind %s, is an alarm and never goes to the target",
    async (place) => {
      await create();
      const doomed = await child(place);
      await doomed.start(TENANT);
      await phase(doomed, "streaming");
      await expect(cutoverOnceOpen(doomed)).rejects.toBeInstanceOf(ChildDied);
      expect(await doomed.diedAt()).toBe(place);
      await world.admin.a.query(
        `INSERT INTO ${world.schema}.documents (code, tenant_id, stamp) VALUES ('stray-1', 'acme', 1)`,
      );
      const survivor = await child();
      await phase(survivor, "watching");
      await expect
        .poll(async () => JSON.stringify((await survivor.status()).alarms), { timeout: 20_000 })
        .toContain("stray-1");
      expect(await differences(world, TENANT)).toEqual([expect.stringContaining("missing at b")]);
      expect(await countRows(world, "b", TENANT)).toBe(4 * ROWS + 1);
    },
  );

  test("K1: killed inside start, the move is taken up or can be aborted", async () => {
    await create();
    const seen = new Set<string>();
    for (let round = 0; round < 4; round++) {
      installation = world.installation();
      const doomed = await child();
      doomed.start(TENANT).catch(() => {});
      while ((await doomed.status().catch(() => null)) === null) await sleep(2);
      await sleep(round * 40);
      await doomed.kill();
      const survivor = await child();
      const { phase: now } = await survivor.status();
      seen.add(now);
      if (now === "planned" || now === "preflight") await survivor.act("abort");
      else {
        await phase(survivor, "streaming");
        await survivor.act("abort");
      }
      await phase(survivor, "aborted");
      expect(await countRows(world, "b", TENANT)).toBe(0);
      expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
      await survivor.kill();
    }
    expect(seen.size).toBeGreaterThan(0);
  });

  test("W4, K1: killed inside a recopy of everything, the next one copies it all, and an abort removes it all", async () => {
    await create();
    for (const delayMs of [0, 15, 30, 60, 120]) {
      installation = world.installation();
      const doomed = await child();
      await doomed.start(TENANT);
      await phase(doomed, "streaming");
      doomed.recopy(null).catch(() => {});
      await sleep(delayMs);
      await doomed.kill();
      const survivor = await child();
      await phase(survivor, "streaming");
      await world.admin.a.query(`UPDATE ${world.schema}.orders SET qty = qty + 1 WHERE tenant_id = 'acme'`);
      await survivor.act("abort");
      await phase(survivor, "aborted");
      expect(await countRows(world, "b", TENANT)).toBe(0);
      await survivor.kill();
    }
  });
});
