import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { GtidSet } from "../../connectors/mysql/gtid-set.ts";
import type { JournalEntry } from "../../cutover/control-store.ts";
import type { CutoverResult, GateCondition } from "../../cutover/move-service.ts";
import type { ServerConfig } from "../../cutover/server-settings.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { Probe, ProbeName } from "../../pipeline/probe.ts";
import { ChildDied, ChildDriver } from "../crash/child-driver.ts";
import { executedBy, Replica, uuidOf } from "../setup/replica.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { AddressSwitch } from "./world/address-switch.ts";
import { expectArrived } from "./world/arrival.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { twoOwnServers } from "./world/own-servers.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 60_000 };
const WATCH_MS = 100;

describeWithOwnServers("C6: the target has a replica that may take it over", ["mysql"], () => {
  let all: Servers;
  let servers: Record<Side, MysqlServer>;
  let world: World;
  let driver: LocalDriver;
  let traffic: Traffic;
  let replica: Replica;
  let plain: MysqlServer | null = null;
  let target: AddressSwitch;
  let config: ServerConfig;
  let replicas = 0;
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  beforeAll(async () => {
    all = await openServers();
    servers = await twoOwnServers(all, "candidates");
  });
  afterAll(() => all?.close());
  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    await world?.close();
    target?.close();
    replica?.close();
    await replica?.server.stop("kill");
    await plain?.stop("kill");
    plain = null;
  });

  /** The configuration's address of b leads to it by way of `target`; traffic goes there directly. */
  async function create(b: MysqlServer, candidates: ServerConfig["clusters"][string]["candidates"]): Promise<void> {
    target = await AddressSwitch.to(b);
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a: servers.a, b }, kind: "text", homes, rows: 100, workers: 3 });
    onProbe = () => {};
    config = world.config(world.installation());
    const cluster = { ...(config.clusters["b"] as ServerConfig["clusters"][string]), ...target.address, candidates };
    config = { ...config, clusters: { ...config.clusters, b: cluster } };
    traffic = world.traffic({ seed: 6, workers: 3, pauseMs: 15 });
    traffic.start();
  }

  async function createWithReplica(named: "named" | "not named"): Promise<void> {
    replica = await Replica.start(all, `candidates-replica-${++replicas}`, servers.b);
    const { host, port } = replica.server;
    await create(servers.b, named === "named" ? [{ host, port }] : []);
  }

  async function open(): Promise<void> {
    const probe: Probe = (name) => onProbe(name);
    driver = await LocalDriver.open({
      config,
      manifest: world.manifest(),
      probe,
      settings: { targetWatchMs: WATCH_MS },
    });
  }

  async function stream(): Promise<void> {
    await open();
    await driver.start(TENANT);
    await phase(driver, "streaming");
    world.heldAtTarget.add(TENANT);
  }

  /** Once, at the place. */
  function at(place: ProbeName, work: () => Promise<void>): void {
    let isDone = false;
    onProbe = async (name) => {
      if (name !== place || isDone) return;
      isDone = true;
      await work();
    };
  }

  const candidateName = () => `${replica.server.host}:${replica.server.port}`;
  const candidatesOf = ({ gate }: { readonly gate: readonly GateCondition[] }) =>
    gate.find(({ name }) => name === "b candidates");
  const journalled = async (event: string): Promise<JournalEntry[]> =>
    (await driver.dray.service.journal("it", 0)).filter((entry) => entry.event === event);
  const alarms = async () => (await driver.status()).alarms.map(({ code }) => code);

  async function expectAborted(failed: CutoverResult, why: string): Promise<void> {
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("TARGET_CANDIDATE_BEHIND") });
    expect(failed.reason).toContain(`candidate=${candidateName()} why=${why}`);
    expect(failed.steps.map(({ step }) => step).slice(-2)).toEqual(["confirm", "unfence"]);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    expect(await phase(driver, "streaming")).toMatchObject({ problem: null, alarms: [] });
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + 20);
  }

  test("the gate names a candidate that is behind; one that stops behind the fence ends the attempt, and once it has caught up the next one commits", async () => {
    await createWithReplica("named");
    await stream();
    await replica.delay(3_600);
    await expect
      .poll(async () => candidatesOf(await driver.cutover({ dryRun: true, maxLagSeconds: 1 })), PATIENT)
      .toMatchObject({ verdict: "no", value: expect.stringContaining(`${candidateName()} lacks`), limit: "1000 ms" });
    expect((await driver.cutover()).outcome).toBe("refused");
    await replica.delay(0);
    at("cutover.after-fence", () => replica.stopApplying());
    await expectAborted(await cutoverOnceOpen(driver, { maxPauseMs: 8_000 }), "it lacks transactions missing=");
    expect((await driver.cutover({ dryRun: true })).gate).toContainEqual({
      name: "b candidates",
      verdict: "no",
      value: `${candidateName()} executes nothing of what it receives: its replication is stopped`,
      limit: "2000 ms",
    });
    await replica.startApplying();
    const done = await cutoverOnceOpen(driver);
    expect(done).toMatchObject({ outcome: "committed", gate: expect.arrayContaining([candidatesOf(done)]) });
    expect(candidatesOf(done)).toMatchObject({ verdict: "yes" });
    const [committed] = await journalled("committed");
    const uuid = await uuidOf(world.admin.b);
    const targets = [{ store: "db", serverUuid: uuid, set: expect.stringContaining(uuid) }];
    expect(committed?.facts).toEqual({ generation: done.generation, targets });
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("a candidate that cannot be reached ends the attempt at once, by its name", async () => {
    await createWithReplica("named");
    await stream();
    at("cutover.after-pin", () => replica.server.stop("kill"));
    await expectAborted(await cutoverOnceOpen(driver, { maxPauseMs: 15_000 }), "it does not answer");
    const refused = await driver.cutover();
    expect(refused.outcome).toBe("refused");
    expect(candidatesOf(refused)).toMatchObject({
      verdict: "unknown",
      value: expect.stringContaining(candidateName()),
    });
  });

  test("a replica that lacks what was applied becomes the target between the last mark and the commit: nothing is committed", async () => {
    await createWithReplica("not named");
    await stream();
    onProbe = async (name) => {
      if (name === "cutover.after-fence") await replica.stopApplying();
      if (name === "cutover.after-s2") target.leadTo(replica.server);
    };
    const failed = await cutoverOnceOpen(driver);
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("TARGET_CHANGED") });
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    onProbe = () => {};
    target.leadTo(servers.b);
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("a replica that lacks what was acknowledged becomes the target: an alarm until it has it, over a restart too", async () => {
    await createWithReplica("not named");
    await stream();
    // It lacks what comes from here on, and no more: the lane back waits for commits that may be under way (M6).
    await replica.waitFor(await executedBy(world.admin.b));
    await replica.stopApplying();
    const done = await cutoverOnceOpen(driver);
    expect(done).toMatchObject({ outcome: "committed" });
    expect(candidatesOf(done)).toMatchObject({ verdict: "yes", value: "none named" });
    await expectArrived({ world, traffic, tenant: TENANT });
    const [was, now] = [await uuidOf(world.admin.b), await uuidOf(replica.admin)];
    await replica.promote();
    target.leadTo(replica.server);
    await expect.poll(alarms, PATIENT).toEqual(["TARGET_LOST_COMMITS"]);
    const { next, alarms: open1 } = await driver.status();
    const missing = GtidSet.parse(String(open1[0]?.facts["missing"]));
    expect(open1[0]?.facts).toEqual({ store: "db", was, now, missing: `${missing}`, count: `${missing.count()}` });
    expect(missing.count()).toBeGreaterThan(0n);
    expect(missing.intersection(GtidSet.parse(await executedBy(replica.admin))).isEmpty).toBe(true);
    expect(next).not.toContain("dray close it");
    await driver.close();
    await open();
    await expect.poll(async () => (await driver.status()).alarms[0]?.times, PATIENT).toBe(2);
    await sleep(3 * WATCH_MS);
    expect((await driver.status()).alarms[0]?.times).toBe(2);
    expect(await journalled("target-has-all")).toEqual([]);
    await replica.admin.query("START REPLICA");
    const told = async () => (await driver.status()).alarms.map(({ code, message }) => `${code}: ${message}`);
    await expect.poll(told, PATIENT).toEqual([]);
    expect((await journalled("target-has-all")).map(({ facts }) => facts)).toMatchObject([{ store: "db", was, now }]);
  });

  test("a replica that has everything becomes the target: a note in the journal, and it is what counts from then on", async () => {
    await createWithReplica("named");
    await stream();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectArrived({ world, traffic, tenant: TENANT });
    const [was, now] = [await uuidOf(world.admin.b), await uuidOf(replica.admin)];
    target.leadTo(null);
    await sleep(3 * WATCH_MS);
    expect(await driver.status()).toMatchObject({ phase: "watching", problem: null, alarms: [] });
    await replica.promote();
    target.leadTo(replica.server);
    await expect.poll(async () => (await journalled("target-has-all")).length, PATIENT).toBe(1);
    await driver.close();
    await open();
    await sleep(5 * WATCH_MS);
    expect((await journalled("target-has-all")).map(({ facts }) => facts)).toMatchObject([{ store: "db", was, now }]);
    expect(await phase(driver, "watching")).toMatchObject({ problem: null, alarms: [] });
    target.leadTo(servers.b);
    await expect.poll(async () => (await journalled("target-has-all")).length, PATIENT).toBe(2);
    await driver.act("close");
    expect(await driver.status()).toMatchObject({ phase: "closed", alarms: [] });
  });

  test("killed before the journal knew of the commit, the next process has the set from COMMITTED itself", async () => {
    await createWithReplica("named");
    const dieAt = { place: "cutover.after-home-commit", hit: 1 } as const;
    const doomed = new ChildDriver({ config, manifest: world.manifest(), dieAt });
    try {
      await doomed.ready();
      await doomed.start(TENANT);
      await phase(doomed, "streaming");
      world.heldAtTarget.add(TENANT);
      await expect(cutoverOnceOpen(doomed)).rejects.toBeInstanceOf(ChildDied);
    } finally {
      await doomed.kill();
    }
    await open();
    await phase(driver, "watching");
    await expectArrived({ world, traffic, tenant: TENANT });
    await replica.promote();
    target.leadTo(replica.server);
    await expect.poll(async () => (await journalled("target-has-all")).length, PATIENT).toBe(1);
    expect(await alarms()).toEqual([]);
  });

  test("a target without GTIDs: that another server answers is an alarm, as nobody can tell what it holds", async () => {
    const flags = ["--gtid-mode=OFF_PERMISSIVE", "--auto-increment-increment=2", "--auto-increment-offset=2"];
    plain = await all.mysql({ name: "candidates-plain", flags });
    await create(plain, []);
    await stream();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectArrived({ world, traffic, tenant: TENANT });
    await sleep(3 * WATCH_MS);
    expect(await alarms()).toEqual([]);
    target.leadTo(servers.a);
    await expect.poll(alarms, PATIENT).toEqual(["TARGET_UNPROVEN"]);
    target.leadTo(plain);
    await expect.poll(alarms, PATIENT).toEqual([]);
  });
});
