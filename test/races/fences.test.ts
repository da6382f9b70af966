import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import type { Fate } from "../whole/world/adapter-proxy.ts";
import { countRows, differences, ledgerProblems } from "../whole/world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const PASS: Fate = { kind: "pass" };
const BROKEN: Fate = { kind: "status", status: 500 };
const TENANT = "acme";

/*
 * The fence belongs to somebody else: it may be slow, broken, late or a liar. Whatever it does, the tenant writes at
 * exactly one side in the end, nothing acknowledged is lost, and nobody stays fenced for ever.
 */
describeWithMysql("C3, C4: a fence that cannot be trusted", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let draySchema = "";
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  async function streamingMove(cutover: object = {}): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    const installation = world.installation();
    draySchema = installation.draySchema;
    onProbe = () => {};
    const config = world.config(installation);
    const limits = { heartbeats: 2, max_lag_s: 2, max_pause_ms: 15_000, ...cutover };
    const manifest = world.manifest({ cutover: limits });
    driver = await LocalDriver.open({ config, manifest, probe: (name) => onProbe(name) });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  }

  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  /** The attempt was given up, and the tenant writes at its old home as if nothing had been. */
  async function expectBackHome(): Promise<void> {
    expect((await driver.status()).phase).toBe("streaming");
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    const outcomes = await world.outcomes(draySchema);
    expect(outcomes.a.at(-1)).toMatch(/ABORTED$/);
    expect([...outcomes.a, ...outcomes.b].filter((row) => row.endsWith("COMMITTED"))).toEqual([]);
  }

  async function expectMoved(): Promise<void> {
    await phase(driver, "watching");
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    const outcomes = await world.outcomes(draySchema);
    expect(outcomes.a.at(-1)).toMatch(/COMMITTED$/);
    const committed = (rows: readonly string[]) => rows.filter((row) => row.endsWith("COMMITTED"));
    expect(committed(outcomes.b)).toEqual(committed(outcomes.a));
    expect(await differences(world, TENANT)).toEqual([]);
  }

  /** An application that does not ask: a row of the tenant at the source, fenced or not. */
  async function slipIn(stamp: number): Promise<void> {
    await world.admin.a.query(
      `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES (?, ?, 'slipped in', ?)`,
      [`slip-${stamp}`, TENANT, stamp],
    );
  }

  test("C: one that fails aborts the attempt, and the next attempt goes through", async () => {
    await streamingMove();
    world.proxy.decide = ({ action }) => (action === "fence" ? BROKEN : PASS);
    const failed = await cutoverOnceOpen(driver);
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("FENCE_FAILED") });
    await expectBackHome();
    world.proxy.decide = () => PASS;
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectMoved();
  });

  test("C4: fence(g) that arrives after unfence(g) fences nobody", async () => {
    await streamingMove();
    const late = Promise.withResolvers<void>();
    world.proxy.decide = ({ action }) => (action === "fence" ? { kind: "held", until: late.promise } : PASS);
    const failed = await cutoverOnceOpen(driver);
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("FENCE_FAILED") });
    await expectBackHome();
    late.resolve();
    await sleep(300);
    await expectBackHome();
    world.proxy.decide = () => PASS;
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectMoved();
  });

  test("C4: answers that are lost are read back before they count", async () => {
    await streamingMove();
    world.proxy.decide = ({ action }) => (action === "read" ? PASS : { kind: "answer-lost" });
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    world.proxy.decide = () => PASS;
    await expectMoved();
  });

  test("C: a slow one costs its time and nothing else", async () => {
    await streamingMove();
    world.proxy.decide = ({ action }) => (action === "read" ? PASS : { kind: "slow", ms: 400 });
    const moved = await cutoverOnceOpen(driver);
    expect(moved).toMatchObject({ outcome: "committed" });
    expect(moved.steps.find(({ step }) => step === "fence")?.tookMs).toBeGreaterThan(400);
    await expectMoved();
  });

  test("C11: one slower than the pause allows is given up", async () => {
    await streamingMove();
    world.proxy.decide = ({ action }) => (action === "pin" ? { kind: "slow", ms: 900 } : PASS);
    const given = await cutoverOnceOpen(driver, { maxPauseMs: 500 });
    expect(given).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("PAUSE_TOO_LONG") });
    await expectBackHome();
    await sleep(1_000);
    await expectBackHome();
  });

  test("C3: an unfence that fails for a while is tried again until done, and alarmed", async () => {
    await streamingMove();
    let refusals = 4;
    const alarmed: string[] = [];
    world.proxy.decide = ({ action }) => {
      if (action === "pin") return BROKEN;
      return action === "unfence" && refusals-- > 0 ? BROKEN : PASS;
    };
    const running = cutoverOnceOpen(driver);
    while (refusals > 0) {
      const { alarms } = await driver.status();
      alarmed.push(...alarms.map(({ code, message }) => `${code} ${message}`));
      await sleep(20);
    }
    expect(await running).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("PIN_FAILED") });
    expect(alarmed.join("\n")).toContain("unfence");
    expect((await driver.status()).alarms).toEqual([]);
    await expectBackHome();
  });

  test("C: a liar's write between S1 and S2 arrives in the target by a repeated drain", async () => {
    await streamingMove();
    let slips = 2;
    onProbe = async (name) => {
      if (name === "cutover.after-s1" && slips > 0) await slipIn(slips--);
    };
    const moved = await cutoverOnceOpen(driver);
    expect(moved).toMatchObject({ outcome: "committed" });
    expect(moved.steps.filter(({ step }) => step === "drain")).toHaveLength(3);
    await expectMoved();
    expect(await countRows(world, "b", TENANT)).toBe(60 * 4 + 1 + 2);
    const journal = await driver.dray.service.journal("it", 0);
    const [connection] = await world.admin.a.query("SELECT CONNECTION_ID() AS id");
    const session = Number((connection as { id: number }[])[0]?.id);
    const leaks = journal.filter(({ event }) => event === "fence-leak");
    expect(leaks.map(({ facts }) => facts["rows"])).toEqual([
      [expect.objectContaining({ table: `${world.schema}.documents`, key: "code=slip-2", session })],
      [expect.objectContaining({ table: `${world.schema}.documents`, key: "code=slip-1", session })],
    ]);
    const proof = journal.find(({ event }) => event === "routed")?.facts["proof"];
    expect(proof).toMatchObject([{ lane: "it.db.f1", s1: expect.any(Number), s2: expect.any(Number) }]);
  });

  test("C: where the manifest says so, the first write that slips in aborts the attempt", async () => {
    await streamingMove({ on_slip: "abort" });
    let slips = 1;
    onProbe = async (name) => {
      if (name === "cutover.after-s1" && slips > 0) await slipIn(slips--);
    };
    const leaking = await cutoverOnceOpen(driver);
    expect(leaking).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("code=slip-1") });
    await expectBackHome();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectMoved();
  });

  test("C: a liar that goes on aborts the attempt, and nothing of it is lost", async () => {
    await streamingMove();
    let stamp = 0;
    onProbe = async (name) => {
      if (name === "cutover.after-s1") await slipIn(++stamp);
    };
    const leaking = await cutoverOnceOpen(driver);
    expect(leaking).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("FENCE_LEAKS") });
    await expectBackHome();
    onProbe = () => {};
    await slipIn(++stamp);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectMoved();
    expect(await countRows(world, "b", TENANT)).toBe(60 * 4 + 1 + stamp);
  });

  async function leaked(): Promise<readonly string[]> {
    const journal = await driver.dray.service.journal("it", 0);
    const leaks = journal.filter(({ event }) => event === "fence-leak");
    return leaks.flatMap(({ facts }) => (facts["rows"] as { key: string }[]).map(({ key }) => key));
  }

  /** Behind S2, and known before the commit. */
  async function slipInSeen(stamp: number): Promise<void> {
    await slipIn(stamp);
    const told = async () => JSON.stringify((await driver.status()).alarms);
    await expect.poll(told, { timeout: 60_000 }).toContain(`slip-${stamp}`);
  }

  test("C: a write behind S2 that is seen before the commit is not committed over: it is drained again", async () => {
    await streamingMove({ max_pause_ms: 120_000 });
    let slips = 1;
    onProbe = async (name) => {
      if (name === "cutover.before-commit" && slips > 0) await slipInSeen(slips--);
    };
    const moved = await cutoverOnceOpen(driver);
    expect(moved).toMatchObject({ outcome: "committed" });
    expect(moved.steps.filter(({ step }) => step === "drain-again")).toHaveLength(2);
    await expectMoved();
    expect(await leaked()).toEqual(["code=slip-1"]);
    // It has arrived after all, and is an alarm no more.
    expect((await driver.status()).alarms).toEqual([]);
  });

  test("C: where the manifest says so, such a write aborts the attempt", async () => {
    await streamingMove({ max_pause_ms: 120_000, on_slip: "abort" });
    let slips = 1;
    onProbe = async (name) => {
      if (name === "cutover.before-commit" && slips > 0) await slipInSeen(slips--);
    };
    const leaking = await cutoverOnceOpen(driver);
    expect(leaking).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("code=slip-1") });
    await expectBackHome();
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await expectMoved();
  });

  test("C: a write behind the commit is an alarm that names its key, and never goes to the target", async () => {
    await streamingMove();
    onProbe = async (name) => {
      if (name === "cutover.after-home-commit") await slipIn(1);
      if (name === "cutover.after-route") await slipIn(2);
    };
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "watching");
    await expect.poll(async () => JSON.stringify((await driver.status()).alarms)).toContain("slip-2");
    const stray = (await driver.status()).alarms.find(({ code }) => code === "STRAY_WRITE");
    expect(stray?.times).toBe(2);
    expect(await differences(world, TENANT)).toHaveLength(2);
  });

  test("C: routing of unknown outcome asks a person; retry makes the calls again", async () => {
    await streamingMove();
    world.proxy.decide = ({ action }) => (action === "route" ? BROKEN : PASS);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "needs-person" });
    const asked = await driver.status();
    expect(asked).toMatchObject({ phase: "failed", problem: { code: "ROUTE_AMBIGUOUS" } });
    expect(asked.alarms.map(({ code }) => code)).toContain("ROUTE_AMBIGUOUS");
    // Forward only: the tenant is fenced at the source until somebody looks.
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: false });
    await expect(driver.resolve("from")).rejects.toMatchObject({ code: "ALREADY_COMMITTED" });
    await expect(driver.act("abort")).rejects.toMatchObject({ code: "ALREADY_COMMITTED" });
    world.proxy.decide = () => PASS;
    await driver.act("retry");
    await expectMoved();
    expect((await driver.status()).alarms).toEqual([]);
  });

  test("C2: routing that a person has read is resolved to the target", async () => {
    await streamingMove();
    let routes = 0;
    // It did happen; nobody was told.
    world.proxy.decide = ({ action }) => {
      if (action === "route") return routes++ === 0 ? { kind: "answer-lost" } : BROKEN;
      return action === "read" && routes > 0 ? BROKEN : PASS;
    };
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "needs-person" });
    expect(await world.homeOf(TENANT)).toEqual({ home: "b", mayWrite: true });
    world.proxy.decide = () => PASS;
    await driver.resolve("to");
    await expectMoved();
  });

  test("K4: a second operator is told who holds the move", async () => {
    await streamingMove();
    const hold = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    onProbe = async (name) => {
      if (name !== "cutover.after-s1") return;
      held.resolve();
      await hold.promise;
    };
    const first = cutoverOnceOpen(driver);
    await held.promise;
    for (const second of [driver.cutover(), driver.act("abort"), driver.act("pause"), driver.recopy(null)]) {
      await expect(second).rejects.toMatchObject({ code: "MOVE_HELD", facts: { by: "test", command: "cutover" } });
    }
    hold.resolve();
    expect(await first).toMatchObject({ outcome: "committed" });
    await expectMoved();
    expect(await ledgerProblems(world, "a", [TENANT])).toEqual([]);
  });
});
