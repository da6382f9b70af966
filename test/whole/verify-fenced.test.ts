import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CutoverResult, DifferenceReport, VerificationReport } from "../../cutover/move-service.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { evenly, typeOf } from "./blindness/fault-types.ts";
import { expectSame, shuffled, untilSame } from "./blindness/judge.ts";
import { type FaultKind, kindsOfFaults, type Planted, Planter } from "./blindness/planter.ts";
import { BlindSides, type Differing } from "./blindness/sides.ts";
import { differences } from "./world/compare.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { plannedRuns, Random, repeatable } from "./world/random.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const HANG_MS = 60_000;

/** SQL with `S.` for the schema. */
type Fault = {
  readonly name: string;
  /** Rows that nobody else touches; committed at the source long before. */
  readonly rows: readonly string[];
  /** At the source just before the fence, so that the key is dirty under it. */
  readonly change: string;
  /** In the target, behind the drain and before dirty keys are compared. */
  readonly plant: readonly string[];
  /** As the attempt's reason names the rows. */
  readonly named: readonly string[];
  /** What only a person may set right, as a row stands as another tenant's. */
  readonly undo?: string;
};

const ORDER = (id: number) =>
  `INSERT INTO S.orders (id, tenant_id, status, amount, created, note, stamp) VALUES (${id}, 'acme', 'new', 1.000, NOW(6), 'n', ${id})`;
const CODE = (code: string) =>
  `INSERT INTO S.documents (code, tenant_id, body, stamp) VALUES ('${code}', 'acme', 'b', 1)`;
const LINE = (line: number) => `INSERT INTO S.\`lines\` VALUES ('acme', 77, ${line}, 1.00, 1)`;

const FAULTS: readonly Fault[] = [
  {
    name: "a value that differs by its last digit",
    rows: [ORDER(900_001)],
    change: "UPDATE S.orders SET note = 'just now' WHERE id = 900001",
    plant: ["UPDATE S.orders SET amount = 1.001 WHERE id = 900001"],
    named: ["orders id=900001: differing in amount"],
  },
  {
    name: "a row that is missing",
    rows: [ORDER(900_003)],
    change: "UPDATE S.orders SET note = 'just now' WHERE id = 900003",
    plant: ["DELETE FROM S.orders WHERE id = 900003"],
    named: ["orders id=900003: missing"],
  },
  {
    name: "a row that was deleted just before and stands there again",
    rows: [LINE(1)],
    change: "DELETE FROM S.`lines` WHERE order_no = 77 AND line_no = 1",
    plant: [LINE(1)],
    named: ["lines tenant_id=acme order_no=77 line_no=1: extra"],
  },
  {
    name: "a row that was inserted just before, with a space behind a text",
    rows: [],
    change: CODE("Fresh-Doc"),
    plant: ["UPDATE S.documents SET body = 'b ' WHERE code = 'Fresh-Doc'"],
    named: ["documents code=Fresh-Doc: differing in body"],
  },
  {
    name: "a key of other letters' case",
    rows: [CODE("Some-Doc")],
    change: "UPDATE S.documents SET body = 'c' WHERE code = 'Some-Doc'",
    plant: ["UPDATE S.documents SET code = 'some-DOC' WHERE code = 'Some-Doc'"],
    named: ["documents code=Some-Doc: missing"],
  },
  {
    name: "a key whose letters' case was changed just before, and back in the target",
    rows: [CODE("Third-Doc")],
    change: "UPDATE S.documents SET code = 'third-doc' WHERE code = 'Third-Doc'",
    plant: ["UPDATE S.documents SET code = 'Third-Doc' WHERE code = 'third-doc'"],
    named: ["documents code=Third-Doc: extra", "documents code=third-doc: missing"],
  },
  {
    name: "a row that stands as a neighbour's",
    rows: [ORDER(900_005)],
    change: "UPDATE S.orders SET note = 'just now' WHERE id = 900005",
    plant: ["UPDATE S.orders SET tenant_id = 'ACME' WHERE id = 900005"],
    named: ["orders id=900005: missing"],
    undo: "UPDATE S.orders SET tenant_id = 'acme' WHERE id = 900005",
  },
  {
    name: "a document whose string became a DATE",
    rows: [ORDER(900_007)],
    change: `UPDATE S.orders SET flags = '{"d": "2024-01-02"}' WHERE id = 900007`,
    plant: ["UPDATE S.orders SET flags = JSON_OBJECT('d', CAST('2024-01-02' AS DATE)) WHERE id = 900007"],
    named: ["orders id=900007: differing in flags"],
  },
];

describeWithMysql("V2: rows that changed just before the fence are compared under it", ({ a, b }) => {
  const { seed } = plannedRuns(1);
  let world: World;
  let driver: LocalDriver;
  let fault: Fault | null = null;
  /** From the change until it is planted: a comparison in between would find the key equal, and leave it clean. */
  let untilPlanted = Promise.withResolvers<void>();
  let beforeFence: () => Promise<void> = async () => {};

  const run = (side: Side, sql: string) => world.admin[side].query(sql.replaceAll("S.", `${world.schema}.`));

  beforeEach(async () => {
    untilPlanted.resolve();
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 3 });
    driver = await LocalDriver.open({
      config: world.config(world.installation()),
      manifest: world.manifest(),
      probe: async (place) => {
        if (place === "cutover.before-fence") await beforeFence();
        if (place === "capture.after-low-mark") await untilPlanted.promise;
        if (place === "cutover.before-abort-outcome") untilPlanted.resolve();
        if (fault === null) return;
        if (place === "cutover.before-fence") {
          untilPlanted = Promise.withResolvers();
          await run("a", fault.change);
        }
        if (place !== "cutover.after-s1") return;
        for (const sql of fault.plant) await run("b", sql);
        untilPlanted.resolve();
      },
    });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  });
  afterEach(async () => {
    fault = null;
    untilPlanted.resolve();
    beforeFence = async () => {};
    await driver?.close();
    await world?.close();
  });

  test(`each fault ends the attempt by name, the tenant works on, and is cut over once it is repaired (SEED=${seed})`, async () => {
    await repeatable(seed, async () => {
      for (const { rows } of FAULTS) for (const sql of rows) await run("a", sql);
      const traffic = world.traffic({ seed, workers: 3, pauseMs: 10 });
      traffic.start();
      for (const each of FAULTS) {
        fault = each;
        const result = await cutoverOnceOpen(driver);
        fault = null;
        expectNamed(result, each);
        expect(await world.homeOf(TENANT), each.name).toEqual({ home: "a", mayWrite: true });
        await phase(driver, "streaming");
        const before = world.ledger.acknowledged;
        await untilReported(driver, each);
        expect(await driver.cutover()).toMatchObject({
          outcome: "refused",
          reason: expect.stringContaining("verification"),
        });
        expect(world.ledger.acknowledged, "the tenant works on").toBeGreaterThan(before);
        if (each.undo !== undefined) {
          await run("b", each.undo);
          await driver.verify();
        }
        await driver.verify({ repair: true });
        await untilEqual(driver);
      }
      world.heldAtTarget.add(TENANT);
      expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
      await traffic.stop();
      expect(await differences(world, TENANT)).toEqual([]);
    });
  }, 300_000);

  test("a difference that was found behind the gate, while its key was dirty no more, ends the attempt by name", async () => {
    await run("a", ORDER(900_011));
    beforeFence = async () => {
      beforeFence = async () => {};
      const untilMs = performance.now() + HANG_MS;
      for (let note = 0; performance.now() < untilMs; note++) {
        await run("a", `UPDATE S.orders SET note = 'n${note}' WHERE id = 900011`);
        await expect.poll(() => noteAtTarget(900_011), { timeout: HANG_MS }).toBe(`n${note}`);
        await run("b", "UPDATE S.orders SET amount = 1.001 WHERE id = 900011");
        // Compared before that was planted, the key is dirty no more and nothing is found: once more.
        const { lanes, differences: found } = await settled();
        if (lanes.every(({ dirtyKeys }) => dirtyKeys === 0) && found.length === 1) return;
      }
    };
    const result = await cutoverOnceOpen(driver, { maxPauseMs: 2 * HANG_MS });
    expect(result, `${result.reason}`).toMatchObject({ outcome: "aborted" });
    expect(result.reason).toContain("VERIFY_DIFFERS");
    expect(result.reason).toContain("orders id=900011: differing in amount");
    await driver.verify({ repair: true });
    await untilEqual(driver);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });

  /** Every key that was dirty has been compared. */
  async function settled(): Promise<VerificationReport> {
    for (;;) {
      const report = await driver.verification();
      if (report.lanes.every(({ dirtyKeys }) => dirtyKeys === 0)) return report;
      await sleep(20);
    }
  }

  async function noteAtTarget(id: number): Promise<string | null> {
    const [rows] = await world.admin.b.query(`SELECT note FROM ${world.schema}.orders WHERE id = ${id}`);
    return (rows as { note: string }[])[0]?.note ?? null;
  }
});

/** A row that the source never had has no dirty key: only a pass finds those. */
const NOT_DIRTY = /that the source has not|neighbour's row|other letters' case/;
const FAULTS_AN_ATTEMPT = 300;
/** Of one run: one attempt, and of each type some. */
const FAULTS_A_RUN = 280;
type Hold = { readonly met: PromiseWithResolvers<void>; readonly over: PromiseWithResolvers<void> };
const NAMED_IN_REASON = 10;

/*
 * The same for every accepted type of column and of key: each of the tenant's rows has changed just before the fence, some
 * to other hard values, and hundreds of single faults are in the target when its dirty keys are compared.
 */
describeWithMysql("V2: faults in every type, on keys that are dirty, are found under the fence", ({ a, b }) => {
  const { seed, runs } = plannedRuns(1);
  let sides: BlindSides;
  let driver: LocalDriver;
  let atFence: { readonly before: () => Promise<void>; readonly drained: () => Promise<void> } | null = null;
  /** The rounds stand still behind the comparison that comes next, so that what gets dirty stays dirty. */
  let hold: Hold | null = null;

  beforeEach(async () => {
    sides = await BlindSides.create({ a, b });
    const { world } = sides;
    driver = await LocalDriver.open({
      config: world.config(world.installation()),
      manifest: sides.manifest(),
      probe: async (place) => {
        if (place === "cutover.before-fence") await atFence?.before();
        if (place === "cutover.after-s1") await atFence?.drained();
        if (place === "cutover.after-verify") hold?.over.resolve();
        if (place !== "verify.after-compare") return;
        hold?.met.resolve();
        await hold?.over.promise;
      },
    });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  });
  afterEach(async () => {
    atFence = null;
    hold?.over.resolve();
    await driver?.close();
    await sides?.world.close();
  });

  /**
   * One attempt, with faults of as many kinds as rows allow; where none is left, it commits. A kind for which there was no
   * row this time is left for the next.
   */
  async function attempt(kinds: FaultKind[], random: Random, isWanted: IsWanted): Promise<readonly Planted[]> {
    const planter = new Planter(sides, random);
    const planted: Planted[] = [];
    const left: FaultKind[] = [];
    atFence = {
      before: async () => {
        hold = { met: Promise.withResolvers(), over: Promise.withResolvers() };
        // Something is to be compared, so that the rounds come to where they are held.
        await sides.touchAll();
        await hold.met.promise;
        await sides.rewriteSome(random);
        await sides.touchAll();
      },
      drained: async () => {
        await planter.begin();
        while (planted.length < FAULTS_AN_ATTEMPT && kinds.length > 0) {
          const kind = kinds.pop() as FaultKind;
          if (!isWanted(kind, planted)) continue;
          const fault = await kind.plant(planter);
          if (fault === null) left.push(kind);
          else planted.push(fault);
        }
        kinds.push(...left.reverse());
      },
    };
    const { outcome, reason } = await cutoverOnceOpen(driver, { maxPauseMs: 90_000 });
    (hold as Hold | null)?.over.resolve();
    [atFence, hold] = [null, null];
    const differing = await sides.differences();
    expect(differing, "each fault is on rows of its own").toHaveLength(
      planted.reduce((sum, { rows }) => sum + rows, 0),
    );
    expect(outcome, String(reason)).toBe(planted.length > 0 ? "aborted" : "committed");
    if (planted.length === 0) return [];
    expect(reason).toContain("VERIFY_DIFFERS");
    // All of them and nothing else, of which the first are named.
    expect(reason).toContain(`count=${differing.length}`);
    expect(namedIn(reason ?? "", differing)).toBe(Math.min(NAMED_IN_REASON, differing.length));
    await phase(driver, "streaming");
    expectSame(await reported(driver, differing.length), differing);
    for (const { table, undo } of planted) if (undo !== null) await sides.run("b", table, undo);
    await driver.verify({ repair: true });
    await untilSame(sides, driver);
    return planted;
  }

  test(`each type's, in a few attempts, and then the tenant is cut over (SEED=${seed})`, async () => {
    await repeatable(seed, async () => {
      const random = new Random(seed);
      const traffic = sides.world.traffic({ seed, workers: 2, pauseMs: 40 });
      traffic.start();
      await untilSame(sides, driver);
      const dirty = shuffled(kindsOfFaults(sides), random).filter(({ what }) => !NOT_DIRTY.test(what));
      const kinds = [...evenly(dirty)].reverse();
      const planted: Planted[] = [];
      const types = new Set(sides.valueTypes());
      // So many, and of each type of value more than one: beyond that, nothing is planted any more.
      const isWanted: IsWanted = ({ what }, now) => {
        const all = [...planted, ...now];
        // Nearly so many are enough: another attempt for the rest takes longer than it tells.
        if (planted.length < 0.9 * runs * FAULTS_A_RUN && all.length < runs * FAULTS_A_RUN) return true;
        const type = typeOf({ what });
        return (
          types.has(type) && new Set(all.filter((each) => typeOf(each) === type).map((each) => each.what)).size <= 1
        );
      };
      const next = () => attempt(kinds, random, isWanted);
      for (let some = await next(); some.length > 0; some = await next()) planted.push(...some);
      const found = new Set(planted.map(({ what }) => what));
      process.stderr.write(`${planted.length} faults of ${found.size} kinds found under the fence (SEED=${seed})\n`);
      for (const type of types) {
        const those = [...found].filter((what) => what.startsWith(`${type}: `));
        expect(those.length, `kinds of faults in ${type}`).toBeGreaterThan(1);
      }
      await traffic.stop();
    });
  }, 900_000);
});

type IsWanted = (kind: FaultKind, plantedNow: readonly Planted[]) => boolean;

/** So many differences, as the rounds find them again while the tenant works on. */
async function reported(driver: LocalDriver, wanted: number): Promise<readonly DifferenceReport[]> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const { differences: found } = await compared(driver);
    if (found.length >= wanted || performance.now() > untilMs) return found;
    await sleep(100);
  }
}

/** How many of the rows that differ the attempt's reason tells by table, key and what is wrong. */
function namedIn(reason: string, differing: readonly Differing[]): number {
  const words = ({ table, key, kind, columns }: Differing) =>
    `${table} ${key}: ${kind}${columns.length === 0 ? "" : ` in ${columns.join(", ")}`}`;
  return differing.filter((row) => reason.includes(words(row))).length;
}

function expectNamed({ outcome, reason }: CutoverResult, { name, named }: Fault): void {
  expect(outcome, `${name}: ${reason}`).toBe("aborted");
  expect(reason, name).toContain("VERIFY_DIFFERS");
  for (const row of named) expect(reason, name).toContain(row);
}

/** What the fence has found is found again while the tenant works on, and stands until it is repaired. */
async function untilReported(driver: LocalDriver, { name, named }: Fault): Promise<void> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const { differences: found } = await driver.verification();
    const missing = named.filter((row) => {
      const [where, what = ""] = row.split(": ");
      const [table, ...key] = (where ?? "").split(" ");
      return !found.some(
        (each) => each.table.endsWith(`.${table}`) && each.key === key.join(" ") && what.startsWith(each.kind),
      );
    });
    if (missing.length === 0) return;
    if (performance.now() > untilMs)
      throw new Error(`${name}: not reported: ${missing.join(", ")}; ${JSON.stringify(found)}`);
    await sleep(50);
  }
}

async function untilEqual(driver: LocalDriver): Promise<void> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    await phase(driver, "streaming");
    const { differences: found } = await compared(driver);
    if (found.length === 0) return;
    if (performance.now() > untilMs) throw new Error(`still different: ${JSON.stringify(found)}`);
    await sleep(100);
  }
}
