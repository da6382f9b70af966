import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { MoveSettings } from "../../cutover/move-context.ts";
import type { MoveStatus } from "../../cutover/move-service.ts";
import type { ServerConfig } from "../../cutover/server-settings.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { Probe, ProbeName } from "../../pipeline/probe.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { differences, ledgerProblems } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { twoOwnServers } from "./world/own-servers.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 60_000 };

/*
 * Another server answers at a cluster's address: with the same history, as a replica that has everything, or with an
 * older one, as a replica that had not. It is told by its server_uuid and its GTIDs alone.
 */
describeWithOwnServers("C1, C2, M2, M6: a cluster's address leads to another server", ["mysql"], () => {
  let all: Servers;
  let servers: Record<Side, MysqlServer>;
  let world: World;
  let driver: LocalDriver;
  let traffic: Traffic;
  let config: ServerConfig;
  let draySchema = "";
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  beforeAll(async () => {
    all = await openServers();
    servers = await twoOwnServers(all, "failover");
  });
  afterAll(() => all?.close());

  async function begin(settings: Partial<MoveSettings> = {}): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers, kind: "text", homes, rows: 150, workers: 3 });
    const installation = world.installation();
    draySchema = installation.draySchema;
    onProbe = () => {};
    config = world.config(installation);
    const probe: Probe = (name) => onProbe(name);
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe, settings });
    traffic = world.traffic({ seed: 13, workers: 3, pauseMs: 15 });
    traffic.start();
    await driver.start(TENANT);
  }

  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    await world?.close();
  });

  async function uuidOf(side: Side): Promise<string> {
    const [[row]] = await world.admin[side].query<RowDataPacket[]>("SELECT @@server_uuid AS uuid");
    return String(row?.["uuid"]);
  }

  function dataDir(side: Side): string {
    const { dataDir: folder } = servers[side];
    if (folder === null) throw new Error("a server of our own has a data folder");
    return folder;
  }

  /** What answers at the address from then on is, to everybody, another server. */
  async function startAsAnother(side: Side): Promise<void> {
    rmSync(join(dataDir(side), "auto.cnf"));
    await servers[side].start();
    await world.reconnect(side);
  }

  async function failOver(side: Side, downMs = 300): Promise<void> {
    const before = await uuidOf(side);
    await servers[side].stop("kill");
    await sleep(downMs);
    await startAsAnother(side);
    expect(await uuidOf(side)).not.toBe(before);
  }

  /** Once, at the place; the driver goes on while the other server comes up. */
  function failOverAt(place: ProbeName, side: Side): { readonly done: () => Promise<void> } {
    let change: Promise<void> | null = null;
    onProbe = async (name) => {
      if (name !== place || change !== null) return;
      await servers[side].stop("kill");
      change = sleep(300).then(() => startAsAnother(side));
    };
    return {
      done: async () => {
        expect(change, `${place} was reached`).not.toBeNull();
        await change;
      },
    };
  }

  /** A copy of a side's data, as a replica that stays behind from here on. */
  async function copyOf(side: Side): Promise<string> {
    await servers[side].stop("graceful");
    const copy = `${dataDir(side)}-old`;
    rmSync(copy, { recursive: true, force: true });
    execFileSync("cp", ["-a", "--sparse=always", dataDir(side), copy]);
    await servers[side].start();
    await world.reconnect(side);
    return copy;
  }

  /** What the copy does not have is lost. */
  async function failBackTo(copy: string, side: Side): Promise<void> {
    await servers[side].stop("kill");
    rmSync(dataDir(side), { recursive: true });
    execFileSync("mv", [copy, dataDir(side)]);
    await startAsAnother(side);
  }

  async function committedAt(): Promise<Readonly<Record<Side, readonly string[]>>> {
    const { a, b } = await world.outcomes(draySchema);
    const committed = (rows: readonly string[]) => rows.filter((row) => row.endsWith("COMMITTED"));
    return { a: committed(a), b: committed(b) };
  }

  function expectUndisturbed(status: MoveStatus): void {
    expect(status).toMatchObject({ problem: null, alarms: [] });
    expect(status.lanes.filter(({ problem }) => problem !== null)).toEqual([]);
  }

  test("M6: source and target fail over while it copies and while it streams, with all their history", async () => {
    await begin();
    await failOver("a");
    await failOver("b");
    expectUndisturbed(await phase(driver, "streaming"));
    await failOver("b");
    await failOver("a");
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + 50);
    world.heldAtTarget.add(TENANT);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    const status = await driver.status();
    expectUndisturbed(status);
    // The home was one server from the first fence call on.
    expect(status.attempt).toMatchObject({ outcome: "committed", decidedIn: "home" });
    // Transactions of three servers have gone through the one lane.
    const [[row]] = await world.admin.a.query<RowDataPacket[]>("SELECT @@GLOBAL.gtid_executed AS gtids");
    expect(String(row?.["gtids"]).split(",").length).toBeGreaterThanOrEqual(3);
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("C1: the home fails over before COMMITTED is written: the target's row aborts, and the next one commits", async () => {
    await begin();
    await phase(driver, "streaming");
    const change = failOverAt("cutover.before-commit", "a");
    const failed = await cutoverOnceOpen(driver);
    await change.done();
    // An ABORTED that let the tenant write may have been lost with the server before: nobody begins to commit behind that.
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("HOME_MOVED") });
    expect((await driver.status()).attempt).toMatchObject({ outcome: "aborted", decidedIn: "target" });
    expect((await world.outcomes(draySchema)).b).toContain(`${failed.generation} ABORTED`);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    world.heldAtTarget.add(TENANT);
    // Whoever takes the move over goes on from there.
    await driver.close();
    driver = await LocalDriver.open({ config, manifest: world.manifest() });
    await phase(driver, "streaming");
    const done = await cutoverOnceOpen(driver);
    expect(done).toMatchObject({ outcome: "committed" });
    expect(await committedAt()).toEqual({
      a: [`${done.generation} COMMITTED`],
      b: [`${done.generation} COMMITTED`],
    });
    await phase(driver, "watching");
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("C1: the home fails over while an attempt is aborted: ABORTED in the target lets the tenant write, and the next one commits", async () => {
    await begin();
    await phase(driver, "streaming");
    world.proxy.decide = ({ action }) => (action === "pin" ? { kind: "status", status: 500 } : { kind: "pass" });
    const change = failOverAt("cutover.before-abort-outcome", "a");
    const failed = await cutoverOnceOpen(driver);
    await change.done();
    world.proxy.decide = () => ({ kind: "pass" });
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("PIN_FAILED") });
    expect((await driver.status()).attempt).toMatchObject({ outcome: "aborted", decidedIn: "target" });
    expect((await world.outcomes(draySchema)).b).toContain(`${failed.generation} ABORTED`);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    world.heldAtTarget.add(TENANT);
    await phase(driver, "streaming");
    const done = await cutoverOnceOpen(driver);
    expect(done).toMatchObject({ outcome: "committed" });
    expect((await driver.status()).attempt).toMatchObject({ decidedIn: "home" });
    expect(await committedAt()).toEqual({
      a: [`${done.generation} COMMITTED`],
      b: [`${done.generation} COMMITTED`],
    });
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test.each<[Side, ProbeName]>([
    ["a", "cutover.after-s1"],
    ["b", "cutover.after-s1"],
    ["b", "cutover.after-home-commit"],
    ["a", "cutover.after-target-commit"],
  ])("C1: %s fails over at %s", async (side, place) => {
    await begin();
    await phase(driver, "streaming");
    world.heldAtTarget.add(TENANT);
    const change = failOverAt(place, side);
    const first = await cutoverOnceOpen(driver);
    await change.done();
    expect(["committed", "aborted"]).toContain(first.outcome);
    if (place !== "cutover.after-s1") expect(first.outcome).toBe("committed");
    if (first.outcome === "aborted") {
      await phase(driver, "streaming");
      expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    }
    const decided = (await phase(driver, "watching")).attempt?.decidedIn;
    const committed = await committedAt();
    expect(committed.b).toHaveLength(1);
    expect(committed.a).toEqual(decided === "home" ? committed.b : []);
    await expectArrived({ world, traffic, tenant: TENANT });
  });

  test("C1, M6: a home that loses commits behind the fence: the attempt is aborted, nobody stays fenced", async () => {
    await begin();
    await phase(driver, "streaming");
    const copy = await copyOf("a");
    await expectTaken(100);
    await traffic.stop();
    let isFirst = true;
    onProbe = async (name) => {
      if (name !== "cutover.after-fence" || !isFirst) return;
      isFirst = false;
      await failBackTo(copy, "a");
    };
    const failed = await cutoverOnceOpen(driver, { maxPauseMs: 60_000 });
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("DIVERGED") });
    expect((await driver.status()).attempt).toMatchObject({ decidedIn: "target" });
    await expectDivergedAndMended();
  });

  test("A2, L7: a target that loses commits goes on from where its own rows stand", async () => {
    // What it has to take again must not have left the log.
    await begin({ keepAppliedMs: 600_000 });
    await phase(driver, "streaming");
    const copy = await copyOf("b");
    await expectTaken(100);
    const lost = (await driver.status()).lanes[0]?.watermark ?? 0;
    await failBackTo(copy, "b");
    await expectTaken(0);
    expect((await driver.status()).lanes[0]?.watermark).toBeGreaterThan(lost);
    expectUndisturbed(await phase(driver, "streaming"));
    world.heldAtTarget.add(TENANT);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await traffic.stop();
    expect(await differences(world, TENANT)).toEqual([]);
    expect(await ledgerProblems(world, "a", [TENANT])).toEqual([]);
  });

  /** So many more are acknowledged, and the target has them. */
  async function expectTaken(more: number): Promise<void> {
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + more);
    const seen = (await driver.status()).lanes[0]?.tailSeq ?? 0;
    await expect
      .poll(async () => (await driver.status()).lanes[0]?.watermark ?? 0, PATIENT)
      .toBeGreaterThanOrEqual(seen);
  }

  /** What the source itself has lost nobody can bring back; but no row may stand in the target that it does not have. */
  async function expectDivergedAndMended(): Promise<void> {
    const stopped = await phase(driver, "failed");
    expect(stopped.problem).toMatchObject({ code: "DIVERGED", remedy: expect.stringContaining("dray recopy") });
    expect(stopped.alarms.map(({ code }) => code)).toContain("DIVERGED");
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    await driver.recopy(null);
    await phase(driver, "streaming");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    expect(await differences(world, TENANT)).toEqual([]);
    expect(await ledgerProblems(world, "b", [TENANT])).toEqual([]);
  }
});
