import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { ChildDied, ChildDriver } from "../crash/child-driver.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { countRows, differences, ledgerProblems } from "./world/compare.ts";
import { copyDataFolder } from "./world/copy-folder.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";

/* What this process remembers is older than what the databases and adapters know: the folder came from a backup. */
describeWithMysql("L7, C2: a data folder restored from an old copy", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver | null = null;
  let traffic: Traffic;
  let installation: { readonly dataDir: string; readonly draySchema: string };

  async function create(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 80, workers: 3 });
    installation = world.installation();
    traffic = world.traffic({ seed: 3, workers: 3, pauseMs: 8 });
  }

  async function open(): Promise<LocalDriver> {
    driver = await LocalDriver.open({ config: world.config(installation), manifest: world.manifest() });
    return driver;
  }

  async function copy(): Promise<string> {
    const to = join(world.folder, "old-copy");
    await copyDataFolder(installation.dataDir, to);
    return to;
  }

  /** Nobody has the folder open. */
  function restore(from: string, ...databases: readonly string[]): void {
    for (const name of databases) {
      for (const ending of ["", "-wal", "-shm"]) rmSync(join(installation.dataDir, name + ending), { force: true });
      cpSync(join(from, name), join(installation.dataDir, name));
    }
  }

  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    driver = null;
    await world?.close();
  });

  async function acknowledgedMore(count: number): Promise<void> {
    const from = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, { timeout: 60_000 }).toBeGreaterThan(from + count);
  }

  test.each([[["log.sqlite"]], [["control.db", "log.sqlite"]]])(
    "%j: the target is ahead of the log; nothing is skipped, everything is copied again",
    async (databases) => {
      await create();
      traffic.start();
      const first = await open();
      await first.start(TENANT);
      await phase(first, "streaming");
      const old = await copy();
      await acknowledgedMore(150);
      // The target has what the copy of the log does not.
      const seen = (await first.status()).lanes[0]?.tailSeq ?? 0;
      await expect.poll(async () => (await first.status()).lanes[0]?.watermark ?? 0).toBeGreaterThanOrEqual(seen);
      await first.close();
      restore(old, ...databases);
      const second = await open();
      const stopped = await phase(second, "failed");
      expect(stopped.problem?.code).toBe("LOG_TRUNCATED");
      expect(stopped.next.join("\n")).toContain("recopy");
      await acknowledgedMore(50);
      await second.recopy(null);
      await phase(second, "streaming");
      world.heldAtTarget.add(TENANT);
      expect(await cutoverOnceOpen(second)).toMatchObject({ outcome: "committed" });
      await expectArrived({ world, traffic, tenant: TENANT });
    },
  );

  test("a control store from before the commit point: COMMITTED means forward, and the tenant's new rows stay", async () => {
    await create();
    const first = await open();
    await first.start(TENANT);
    await phase(first, "streaming");
    const old = await copy();
    expect(await cutoverOnceOpen(first)).toMatchObject({ outcome: "committed" });
    world.ledger.switchHome(TENANT, "b");
    traffic.start();
    await acknowledgedMore(100);
    await first.close();
    restore(old, "control.db");
    const second = await open();
    await phase(second, "watching");
    await acknowledgedMore(50);
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    await traffic.stop();
    // The source's frozen rows went over nothing that was written at the new home.
    expect(await ledgerProblems(world, "b")).toEqual([]);
    const outcomes = await world.outcomes(installation.draySchema);
    expect(outcomes.a.filter((row) => row.endsWith("COMMITTED"))).toHaveLength(1);
  });

  test("a control store from before an attempt that died with its fence up: the tenant is not fenced for ever", async () => {
    await create();
    const config = world.config(installation);
    const manifest = world.manifest();
    const doomed = new ChildDriver({ config, manifest, dieAt: { place: "cutover.after-pin", hit: 1 } });
    await doomed.ready();
    await doomed.start(TENANT);
    await phase(doomed, "streaming");
    const old = await copy();
    await expect(cutoverOnceOpen(doomed)).rejects.toBeInstanceOf(ChildDied);
    expect(await doomed.diedAt()).toBe("cutover.after-pin");
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: false });
    restore(old, "control.db");
    const second = await open();
    await expect.poll(() => world.homeOf(TENANT), { timeout: 30_000 }).toEqual({ home: "a", mayWrite: true });
    await phase(second, "streaming");
    await sleep(50);
    expect((await world.outcomes(installation.draySchema)).a.at(-1)).toMatch(/ABORTED$/);
    expect(await cutoverOnceOpen(second)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
    expect(await countRows(world, "b", TENANT)).toBe(80 * 4 + 1);
  });
});
