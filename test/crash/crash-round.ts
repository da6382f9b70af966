import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { expect } from "vitest";
import type { LogConfig } from "../../cutover/server-settings.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { countRows, differences } from "../whole/world/compare.ts";
import { compared, cutoverOnceOpen, phase, rollbackOnceOpen } from "../whole/world/driver.ts";
import type { World } from "../whole/world/world.ts";
import { ChildDied, ChildDriver } from "./child-driver.ts";

/** How far a move is driven so that its process comes to the place where it dies. */
export type Route =
  /** Start, copy, stream, cut over. */
  | "forward"
  /** As forward, but the fence cannot be pinned: the first attempt is aborted. */
  | "attempt-aborted"
  /** As forward, but a table is copied again before, as its rows are not in the target any more. */
  | "recopy"
  /** As recopy, but everything is copied again, by another lane. */
  | "recopy-all"
  /** Start, copy, stream, then the move is ended by the operator. */
  | "abort"
  /** As forward; then the tenant writes at its new home, and goes back. */
  | "rollback"
  /** As rollback, but the fence at the new home cannot be pinned: the first attempt to go back is aborted. */
  | "rollback-aborted"
  /** As forward; then the tenant writes at its new home, somebody at the old one, and the source's copy goes. */
  | "finish";

type End = "watching" | "aborted" | "rolled-back" | "finished";
const END: Readonly<Record<Route, End>> = {
  forward: "watching",
  "attempt-aborted": "watching",
  recopy: "watching",
  "recopy-all": "watching",
  abort: "aborted",
  rollback: "rolled-back",
  "rollback-aborted": "rolled-back",
  finish: "finished",
};

/** Written at the source behind the fence. */
const STRAY = "tenant_id = ? AND customer = 'stray'";

const LOSES_ROWS: ReadonlySet<Route> = new Set<Route>(["recopy", "recopy-all"]);

/** The home at which no fence can be pinned as long as the first process lives. */
const UNPINNED: Readonly<Partial<Record<Route, "a" | "b">>> = { "attempt-aborted": "a", "rollback-aborted": "b" };
const PATIENT = { timeout: 30_000 };

export type Round = {
  readonly world: World;
  readonly tenant: string;
  readonly place: ProbeName;
  readonly hit: number;
  readonly route: Route;
  readonly log?: LogConfig;
};

/**
 * One process dies at the place, another goes on with its data folder and brings the move to its end; then both sides
 * are compared by SQL. False where the place was not reached so often before the move was at its end.
 */
export async function crashRound({ world, tenant, place, hit, route, log }: Round): Promise<boolean> {
  const installation = world.installation();
  const config = world.config(installation, log);
  const manifest = world.manifest();
  const traffic = world.traffic({
    seed: hit,
    workers: 2,
    pauseMs: 20,
    tenants: [tenant, ...(await neighbours(world))],
  });
  world.heldAtTarget.add(tenant);
  world.proxy.decide = ({ action, to }) => {
    return action === "pin" && to === UNPINNED[route] ? { kind: "status", status: 500 } : { kind: "pass" };
  };
  traffic.start();
  const doomed = new ChildDriver({ config, manifest, dieAt: { place, hit } });
  // Its channel closes before its end is known.
  let hasDied = false;
  try {
    await doomed.ready();
    await doomed.start(tenant);
    await phase(doomed, "streaming");
    if (LOSES_ROWS.has(route)) await recopyLostRows({ world, tenant, driver: doomed, route });
    if (route === "abort") await doomed.act("abort");
    else await cutoverOnceOpen(doomed);
    if (END[route] !== "watching" && route !== "abort") await goOn({ world, tenant, driver: doomed, route });
    // Places behind the last answer are reached a moment later.
    for (let waited = 0; doomed.isAlive && waited < 1_000; waited += 20) await sleep(20);
  } catch (error) {
    if (!(error instanceof ChildDied)) {
      await doomed.kill();
      await traffic.stop();
      throw error;
    }
    hasDied = true;
  }
  const reached = hasDied || !doomed.isAlive;
  if (reached) expect(await doomed.diedAt()).toBe(place);
  else await doomed.kill();
  world.proxy.decide = () => ({ kind: "pass" });
  const survivor = new ChildDriver({ config, manifest, dieAt: null });
  try {
    await survivor.ready();
    const end = await bringToEnd({ world, tenant, driver: survivor, route });
    // V1: whatever died, and wherever, no row was ever taken for a difference.
    if (end === "watching" || end === "rolled-back") await expectNoDifference(survivor);
    await traffic.stop();
    const left = (await survivor.status()).finish?.left ?? [];
    await expectOneHome({ world, tenant, end, left, draySchema: installation.draySchema });
  } finally {
    await survivor.kill();
    await traffic.stop().catch(() => {});
  }
  return reached;
}

/** Nothing but the table's new copy brings these rows back. */
async function recopyLostRows({ world, tenant, driver, route }: Driven): Promise<void> {
  const table = `${world.schema}.orders`;
  const lost = `DELETE FROM ${table} WHERE tenant_id = ? AND customer LIKE 'old %'`;
  await world.admin.b.query(lost, [tenant]);
  await driver.recopy(route === "recopy" ? table : null);
  await phase(driver, "streaming");
}

async function neighbours(world: World): Promise<string[]> {
  return ["ACME", "delta"].filter((tenant) => world.tenants.includes(tenant));
}

/** The tenant writes at its new home; then it goes back, or its old home is cleared. */
async function goOn({ world, tenant, driver, route }: Driven): Promise<void> {
  const { phase: now } = await phase(driver, "streaming", "watching", "finishing", "finished", "rolled-back");
  if (now === "streaming") return;
  settleAtTarget(world, tenant);
  if (now !== "watching") return void (await phase(driver, END[route]));
  await sleep(300);
  if (END[route] === "rolled-back") {
    world.heldAtTarget.add(tenant);
    await rollbackOnceOpen(driver);
  } else {
    await compared(driver);
    await writeStray(world, tenant);
    await finishOnceOpen(driver, tenant);
  }
  await phase(driver, END[route]);
}

/** `dray finish`, again while it is refused, as an operator would: a busy moment may be in the way. */
async function finishOnceOpen(driver: ChildDriver, tenant: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { outcome, gate } = await driver.finish({ now: true, tenant });
    if (outcome === "begun") return;
    if (tries === 50) throw new Error(`finish is refused: ${JSON.stringify(gate)}`);
    await sleep(100);
  }
}

/** Behind the fence, as by somebody whom no fence keeps out; once, however often the way is begun again. */
async function writeStray(world: World, tenant: string): Promise<void> {
  const table = `${world.schema}.orders`;
  const [rows] = await world.admin.a.query<RowDataPacket[]>(`SELECT id FROM ${table} WHERE ${STRAY}`, [tenant]);
  if (rows.length > 0) return;
  await world.admin.a.query(
    `INSERT INTO ${table} (tenant_id, customer, status, created, stamp) VALUES (?, 'stray', 'new', NOW(6), 0)`,
    [tenant],
  );
}

/** It lives there now, and writes there alone; when it has come back it rests, so that both sides stay as they are. */
function settleAtTarget(world: World, tenant: string): void {
  if (world.heldAtSource.has(tenant)) return;
  world.ledger.switchHome(tenant, "b");
  world.heldAtSource.add(tenant);
  world.heldAtTarget.delete(tenant);
}

type Driven = {
  readonly world: World;
  readonly tenant: string;
  readonly driver: ChildDriver;
  readonly route: Route;
};

/** Whatever the journal and the outcomes say, the move can be ended without anybody touching a database. */
async function bringToEnd(driven: Driven): Promise<End> {
  const { driver, route } = driven;
  for (;;) {
    const { phase: now } = await phase(driver, "streaming", "watching", "aborted", "rolled-back", "finished");
    if (now === "aborted" || now === END[route]) return now;
    if (route === "abort") {
      if (now === "watching") return now;
      await driver.act("abort");
    } else if (now === "watching") {
      if (route === "rollback-aborted") await expectWriting(driven);
      await goOn(driven);
    } else {
      // On the other way rows were taken from the target, and differ until they are copied again.
      if (!LOSES_ROWS.has(route)) await expectNoDifference(driver);
      const result = await cutoverOnceOpen(driver);
      if (result.outcome === "refused") throw new Error(`the gate stays closed: ${result.reason}`);
    }
  }
}

/** The attempt to go back was given up, and the tenant writes at its new home as if nothing had been. */
async function expectWriting({ world, tenant }: Driven): Promise<void> {
  expect(await world.homeOf(tenant)).toEqual({ home: "b", mayWrite: true });
  world.heldAtTarget.delete(tenant);
  const newest = async () => {
    const own = (table: string) => `SELECT stamp FROM ${world.schema}.${table} WHERE tenant_id = BINARY ?`;
    const sql = `SELECT MAX(stamp) AS s FROM (${own("orders")} UNION ALL ${own("handles")}) AS both_tables`;
    const [[row]] = await world.admin.b.query<RowDataPacket[]>(sql, [tenant, tenant]);
    return Number(row?.["s"]);
  };
  const before = await newest();
  await expect.poll(newest, PATIENT).toBeGreaterThan(before);
}

async function expectNoDifference(driver: ChildDriver): Promise<void> {
  const report = await driver.verification().catch((error: { readonly code?: string }) => {
    // Its lanes are not open yet, or not any more.
    if (error.code === "VERIFY_NOTHING") return null;
    throw error;
  });
  expect(report?.differences ?? []).toEqual([]);
}

async function expectOneHome(options: {
  readonly world: World;
  readonly tenant: string;
  readonly end: End;
  /** As the finish names it. */
  readonly left: readonly string[];
  readonly draySchema: string;
}): Promise<void> {
  const { world, tenant, end, left, draySchema } = options;
  const home = await world.homeOf(tenant);
  const outcomes = await world.outcomes(draySchema);
  const committed = (side: "a" | "b") => outcomes[side].filter((row) => row.endsWith("COMMITTED"));
  if (end === "aborted") {
    expect(await countRows(world, "b", tenant)).toBe(0);
    expect(home).toEqual({ home: "a", mayWrite: true });
    expect([...committed("a"), ...committed("b")]).toEqual([]);
    return;
  }
  if (end === "rolled-back") {
    expect(home).toEqual({ home: "a", mayWrite: true });
    expect(committed("a")).toHaveLength(2);
    expect(committed("b")).toEqual(committed("a"));
    expect(await differences(world, tenant)).toEqual([]);
    world.ledger.switchHome(tenant, "a");
    return;
  }
  if (end === "finished") {
    expect(home).toEqual({ home: "b", mayWrite: true });
    // What was written behind the fence stays, and nothing else.
    const [rows] = await world.admin.a.query<RowDataPacket[]>(`SELECT id FROM ${world.schema}.orders WHERE ${STRAY}`, [
      tenant,
    ]);
    expect(rows).toHaveLength(1);
    expect(await countRows(world, "a", tenant)).toBe(1);
    expect(left).toEqual([expect.stringContaining(`${world.schema}.orders id=${rows[0]?.["id"]}`)]);
    expect(await countRows(world, "b", tenant)).toBeGreaterThan(50);
    return;
  }
  // The retire of the old home may still be on its way; the tenant writes at the new one before it and after it.
  expect(home).toEqual({ home: "b", mayWrite: true });
  expect(committed("a")).toHaveLength(1);
  expect(committed("b")).toEqual(committed("a"));
  expect(await differences(world, tenant)).toEqual([]);
  expect(await countRows(world, "b", tenant)).toBeGreaterThan(50);
  world.ledger.switchHome(tenant, "b");
}
