import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { expectMovedInTheEnd } from "./world/arrival.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { twoOwnServers } from "./world/own-servers.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";

/*
 * A server goes away in the middle of a move, gracefully or by SIGKILL, and comes back on the same data. Whatever was
 * under way is either done or not, and in the end every acknowledged write stands at exactly one home.
 */
describeWithOwnServers("A8, C1, M6: a MySQL server goes away and comes back", ["mysql"], () => {
  let all: Servers;
  let servers: Record<Side, MysqlServer>;
  let world: World;
  let driver: LocalDriver;
  let traffic: Traffic;
  let draySchema = "";
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  beforeAll(async () => {
    all = await openServers();
    servers = await twoOwnServers(all, "stopped");
  });
  afterAll(() => all?.close());

  async function begin(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers, kind: "text", homes, rows: 150, workers: 3 });
    const installation = world.installation();
    draySchema = installation.draySchema;
    onProbe = () => {};
    const config = world.config(installation);
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
    traffic = world.traffic({ seed: 7, workers: 3, pauseMs: 15 });
    traffic.start();
    await driver.start(TENANT);
  }

  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    await world?.close();
  });

  async function bounce(side: Side, how: "graceful" | "kill", downMs = 400): Promise<void> {
    await servers[side].stop(how);
    await sleep(downMs);
    await servers[side].start();
    await world.reconnect(side);
  }

  test.each([
    ["a", "graceful"],
    ["b", "kill"],
  ] as const)("server %s, %s, while it copies and again while it streams", async (side, how) => {
    await begin();
    await bounce(side, how);
    await phase(driver, "streaming");
    await sleep(200);
    await bounce(side, how === "kill" ? "graceful" : "kill");
    await expectMovedInTheEnd({ world, traffic, tenant: TENANT, driver, draySchema });
  });

  test.each<[Side, ProbeName]>([
    ["a", "cutover.after-s1"],
    ["b", "cutover.after-pin"],
    ["a", "cutover.before-commit"],
    ["b", "cutover.after-home-commit"],
  ])("server %s is killed at %s", async (side, place) => {
    await begin();
    await phase(driver, "streaming");
    world.heldAtTarget.add(TENANT);
    let bounced: Promise<void> | null = null;
    onProbe = async (name) => {
      if (name !== place || bounced !== null) return;
      await servers[side].stop("kill");
      bounced = (async () => {
        await sleep(600);
        await servers[side].start();
        await world.reconnect(side);
      })();
    };
    const first = await cutoverOnceOpen(driver);
    expect(bounced).not.toBeNull();
    await bounced;
    // Decided, one way or the other: never left open, never fenced for ever.
    expect(["committed", "aborted"]).toContain(first.outcome);
    if (place === "cutover.after-home-commit") expect(first.outcome).toBe("committed");
    await expectMovedInTheEnd({ world, traffic, tenant: TENANT, driver, draySchema });
  });
});
