import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type KafkaServer, openServers, type Servers } from "../../docker/servers.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithOwnServers, sharedMysql } from "../setup/shared-servers.ts";
import { expectMovedInTheEnd } from "./world/arrival.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 60_000 };

/*
 * The broker that keeps the log goes away in the middle of a move, gracefully or by SIGKILL, and comes back on the same
 * data. The application never notices but behind a fence, and every acknowledged write stands at exactly one home.
 */
describeWithOwnServers("L4, M9, C1: the log's broker goes away and comes back", ["kafka"], () => {
  let all: Servers;
  let kafka: KafkaServer;
  let world: World;
  let driver: LocalDriver;
  let traffic: Traffic;
  let draySchema = "";
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  beforeAll(async () => {
    all = await openServers();
    kafka = await all.kafka();
  });
  afterAll(() => all?.close());

  async function begin(): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: await sharedMysql(), kind: "text", homes, rows: 150, workers: 3 });
    const installation = world.installation();
    draySchema = installation.draySchema;
    onProbe = () => {};
    const config = world.config(installation, {
      kind: "kafka",
      brokers: kafka.brokers,
      topicPrefix: `o${randomBytes(4).toString("hex")}`,
      replicationFactor: 1,
      tls: null,
      sasl: null,
    });
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
    traffic = world.traffic({ seed: 17, workers: 3, pauseMs: 15 });
    traffic.start();
    await driver.start(TENANT);
  }

  afterEach(async () => {
    await kafka?.start();
    await traffic?.stop().catch(() => {});
    await driver?.close();
    await world?.close();
  });

  async function bounce(how: "graceful" | "kill"): Promise<void> {
    await kafka.stop(how);
    // Nobody who writes to the database waits for the log.
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + 10);
    await kafka.start();
  }

  async function expectMovedWithoutAlarm(): Promise<void> {
    await expectMovedInTheEnd({ world, traffic, tenant: TENANT, driver, draySchema });
    expect((await driver.status()).alarms).toEqual([]);
  }

  test("killed while it copies, stopped while it streams", async () => {
    await begin();
    await bounce("kill");
    expect(await phase(driver, "streaming")).toMatchObject({ problem: null, alarms: [] });
    await bounce("graceful");
    await expectMovedWithoutAlarm();
  });

  // Before the proof, which needs the log, and behind it, where nothing does.
  test.each<[ProbeName, "graceful" | "kill"]>([
    ["cutover.after-s1", "kill"],
    ["cutover.before-commit", "graceful"],
  ])("at %s, %s", async (place, how) => {
    await begin();
    await phase(driver, "streaming");
    world.heldAtTarget.add(TENANT);
    let bounced: Promise<void> | null = null;
    onProbe = async (name) => {
      if (name !== place || bounced !== null) return;
      await kafka.stop(how);
      bounced = sleep(500).then(() => kafka.start());
    };
    const first = await cutoverOnceOpen(driver);
    expect(bounced).not.toBeNull();
    // Behind the proof the log is not needed any more: the commit does not wait for it.
    if (place === "cutover.before-commit") expect(first.outcome).toBe("committed");
    expect(["committed", "aborted"]).toContain(first.outcome);
    await bounced;
    await expectMovedWithoutAlarm();
  });

  test("a broker that stays away longer than the pause: the attempt is aborted, and the tenant writes at the source", async () => {
    await begin();
    await phase(driver, "streaming");
    onProbe = async (name) => {
      if (name === "cutover.after-fence") await kafka.stop("kill");
    };
    const failed = await cutoverOnceOpen(driver, { maxPauseMs: 2_000 });
    onProbe = () => {};
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("PAUSE_TOO_LONG") });
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + 20);
    await kafka.start();
    await expectMovedWithoutAlarm();
  });
});
