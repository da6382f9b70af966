import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { LogConfig } from "../../cutover/server-settings.ts";
import { describeWithMysql, sharedKafka } from "../setup/shared-servers.ts";
import { countRows, differences, ledgerProblems } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { LockWaits } from "./world/lock-waits.ts";
import { plannedRuns, Random, repeatable } from "./world/random.ts";
import type { TenantKind } from "./world/tables.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

/** 'acme', 'ACME' and 'Acme' are one under the columns' collation, and three to everybody who looks at bytes (T1). */
const TENANTS: Readonly<Record<TenantKind, { readonly moved: string; readonly homes: Record<string, Side> }>> = {
  text: { moved: "acme", homes: { acme: "a", ACME: "a", bravo: "a", Acme: "b", delta: "b" } },
  number: { moved: "7", homes: { "7": "a", "70": "a", "8": "a", "9": "b", "-7": "b" } },
};
const LARGE_ROWS = Number(process.env["LARGE"] ?? 200_000);

type Act = (run: Run) => Promise<void>;
type Run = { readonly world: World; readonly driver: LocalDriver; readonly random: Random; readonly traffic: Traffic };

/** What an operator may do to a move while it copies and streams. */
const ACTS: readonly Act[] = [
  async ({ random }) => await sleep(random.below(400)),
  async ({ driver, world, random }) => {
    await driver.recopy(`${world.schema}.${random.pick(["orders", "handles", "documents", "lines", "tenants"])}`);
  },
  async ({ driver }) => await driver.recopy(null),
  async ({ driver, random }) => {
    await driver.act("pause");
    await sleep(random.below(300));
    await driver.act("resume");
  },
];

async function oneMove(options: {
  readonly servers: { readonly a: Parameters<LockWaits["start"]>[0]; readonly b: Parameters<LockWaits["start"]>[0] };
  readonly seed: number;
  readonly log: LogConfig;
  readonly largeRows: number;
}): Promise<void> {
  const { servers, seed, log, largeRows } = options;
  const random = new Random(seed);
  const kind = random.pick(["text", "number"] as const);
  const { moved, homes } = TENANTS[kind];
  const world = await World.create({ servers, kind, homes, rows: 150, workers: 5 });
  const driver = await LocalDriver.open({
    config: world.config(world.installation(), log),
    manifest: world.manifest(),
    // Many small ranges find more than few large ones, but not in a table of that size.
    settings: largeRows > 5_000 ? { chunkBudget: { rows: 5_000, bytes: 1024 * 1024 } } : {},
  });
  const traffic = world.traffic({ seed, workers: 5, pauseMs: 8 });
  const watches = { a: new LockWaits(world.schema), b: new LockWaits(world.schema) };
  try {
    await watches.a.start(servers.a);
    await watches.b.start(servers.b);
    traffic.start();
    await driver.start(moved);
    const large = largeRows > 0 ? traffic.large(moved, largeRows) : Promise.resolve();
    for (let acts = 2; acts > 0; acts--) await random.pick(ACTS)({ world, driver, random, traffic });
    await phase(driver, "streaming");
    for (let acts = 2; acts > 0; acts--) await random.pick(ACTS)({ world, driver, random, traffic });
    await large;
    await phase(driver, "streaming");
    world.heldAtTarget.add(moved);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });

    // The source is frozen and nobody writes the tenant at the target yet: both sides are one.
    expect(await world.homeOf(moved)).toEqual({ home: "b", mayWrite: true });
    expect(await differences(world, moved)).toEqual([]);
    expect(await countRows(world, "b", moved)).toBeGreaterThan(100 + largeRows / 2);

    // Life goes on there, under everybody's traffic, and still every acknowledged write of everybody stands.
    world.ledger.switchHome(moved, "b");
    world.heldAtTarget.delete(moved);
    await sleep(300);
    await traffic.stop();
    expect(await ledgerProblems(world, "a", [moved])).toEqual([]);
    expect(await ledgerProblems(world, "b")).toEqual([]);
    expect((await driver.status()).alarms).toEqual([]);
    const [atSource, atTarget] = [await watches.a.stop(), await watches.b.stop()];
    expect(atSource.samples + atTarget.samples).toBeGreaterThan(20);
    expect([...atSource.long, ...atTarget.long]).toEqual([]);
  } finally {
    await traffic.stop().catch(() => {});
    await Promise.all([watches.a.stop(), watches.b.stop()]);
    await driver.close();
    await world.close();
  }
}

describeWithMysql("the whole move, under random traffic of several tenants on both sides", (servers) => {
  const { seed, runs } = plannedRuns(2);

  describe.each(["embedded", "kafka"] as const)("%s log", (kind) => {
    async function logConfig(): Promise<LogConfig> {
      if (kind === "embedded") return { kind };
      const { brokers } = await sharedKafka();
      const topicPrefix = `w${Math.random().toString(36).slice(2, 10)}`;
      return { kind, brokers, topicPrefix, replicationFactor: 1, tls: null, sasl: null };
    }

    test.each(Array.from({ length: runs }, (_, i) => seed + i))(
      "W1, W3, W4, A3, T1: every row arrives, every neighbour's stays (SEED=%i)",
      async (each) => {
        const log = await logConfig();
        // One transaction larger than every buffer, once a log.
        const largeRows = each === seed ? LARGE_ROWS : 2_000;
        await repeatable(each, () => oneMove({ servers, seed: each, log, largeRows }));
      },
      600_000,
    );
  });
});
