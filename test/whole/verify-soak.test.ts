import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { VerificationReport } from "../../cutover/move-service.ts";
import { ChildDied, ChildDriver } from "../crash/child-driver.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { plannedRuns, Random, repeatable } from "./world/random.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

/** Two tenants that move; rows change hands between each and a neighbour that stays, and between the two (A8). */
const TENANTS = ["acme", "beta"] as const;
const PAIRS = [["acme", "ACME"], ["beta", "gamma"], TENANTS] as const;
const SECONDS_A_RUN = 25;
const HANG_MS = 240_000;
/** What a command may be told while the process, or the move, is otherwise busy. */
const EXPECTED = /MOVE_BUSY|ILLEGAL_STEP|RECOPY|VERIFY_NOTHING|TABLE_UNKNOWN|LANE_|aborted|ended/;

/*
 * Several tenants of one target are compared again and again while everybody writes and rows change hands, and everything that can be interrupted is. Nothing was ever changed but by the product: not one difference may be told.
 */
describeWithMysql("V1, V2: no false difference, whatever is interrupted", ({ a, b }) => {
  const { seed, runs } = plannedRuns(1);
  let world: World;
  let soak: Soak;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", beta: "a", gamma: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 90, workers: 6 });
    soak = await Soak.open(world, seed);
  });
  afterEach(async () => {
    await soak?.close();
    await world?.close();
  });

  test(`${runs} times ${SECONDS_A_RUN} seconds of interruptions (SEED=${seed})`, async () => {
    await repeatable(seed, async () => {
      soak.write();
      await soak.begin();
      const untilMs = performance.now() + runs * SECONDS_A_RUN * 1_000;
      while (performance.now() < untilMs) await soak.interrupt();
      await soak.settle();
      process.stderr.write(`${soak.told()} (SEED=${seed})\n`);
      expect(soak.passes, "passes that came to their end").toBeGreaterThan(0);
      expect(soak.kills, "processes that were killed").toBeGreaterThan(0);
      for (const tenant of TENANTS) expect(await differences(world, tenant), tenant).toEqual([]);
    });
  }, 900_000);
});

/** The product in a process that is killed and started again, with users of its own at both servers. */
class Soak {
  readonly #traffics: readonly Traffic[];
  readonly #world: World;
  readonly #random: Random;
  readonly #user: string;
  readonly #options: ConstructorParameters<typeof ChildDriver>[0];
  readonly #asked = new Set<string>();
  #product: ChildDriver;
  #did = new Map<string, number>();
  passes = 0;
  kills = 0;

  private constructor(world: World, seed: number, user: string) {
    this.#world = world;
    this.#user = user;
    this.#random = new Random(seed);
    this.#traffics = PAIRS.map((tenants, i) => world.traffic({ seed: seed + i, workers: 3, pauseMs: 12, tenants }));
    const config = world.config(world.installation());
    const as = (cluster: (typeof config.clusters)[string]) => ({ ...cluster, user, password: user });
    const clusters = Object.fromEntries(Object.entries(config.clusters).map(([name, each]) => [name, as(each)]));
    this.#options = { config: { ...config, clusters }, manifest: world.manifest(), dieAt: null };
    this.#product = new ChildDriver(this.#options);
  }

  static async open(world: World, seed: number): Promise<Soak> {
    // So that its sessions can be told from those of everybody else at these servers.
    const user = `soak_${randomBytes(5).toString("hex")}`;
    for (const side of ["a", "b"] as const) {
      await world.admin[side].query(`CREATE USER ${user} IDENTIFIED BY '${user}'`);
      await world.admin[side].query(`GRANT ALL ON *.* TO ${user} WITH GRANT OPTION`);
    }
    return new Soak(world, seed, user);
  }

  async close(): Promise<void> {
    await this.#product.kill();
    for (const traffic of this.#traffics) await traffic.stop().catch(() => {});
    for (const side of ["a", "b"] as const) await this.#world.admin[side].query(`DROP USER IF EXISTS ${this.#user}`);
  }

  write(): void {
    for (const traffic of this.#traffics) traffic.start();
  }

  told(): string {
    return `${this.passes} passes ended; ${[...this.#did].map(([what, times]) => `${what} ${times}`).join(", ")}`;
  }

  async begin(): Promise<void> {
    await this.#product.ready();
    for (const tenant of TENANTS) {
      for (;;) {
        const refusal = await this.#move(tenant)
          .start(tenant)
          .then(
            () => null,
            (error: { readonly code?: string }) => error,
          );
        if (refusal === null) break;
        // A row that another tenant gave away meanwhile still stands in the target as the other's.
        if (refusal.code !== "PREFLIGHT_REFUSED") throw refusal;
        await sleep(20);
      }
    }
    for (const tenant of TENANTS) await phase(this.#move(tenant), "streaming");
  }

  /** Something happens, and what is known is looked at before and after it. */
  async interrupt(): Promise<void> {
    const random = this.#random;
    const tenant = random.pick(TENANTS);
    const acts: readonly (readonly [string, () => Promise<void>])[] = [
      ["pass", () => this.#pass(tenant)],
      ["pass", () => this.#pass(tenant)],
      ["pass", () => this.#pass(tenant)],
      ["pass of a table", () => this.#move(tenant).verify({ table: this.#table() })],
      ["process killed", () => this.#killProcess()],
      ["sessions killed at a", () => this.#killSessions("a")],
      ["sessions killed at b", () => this.#killSessions("b")],
      ["paused", () => this.#pause(tenant)],
      ["table copied again", () => this.#move(tenant).recopy(this.#table())],
    ];
    // Each of them once, then whichever.
    const fresh = acts.filter(([name]) => !this.#did.has(name));
    const [what, act] = random.pick(fresh.length > 0 ? fresh : acts);
    this.#did.set(what, (this.#did.get(what) ?? 0) + 1);
    await act().catch((error: unknown) => {
      if (!(error instanceof ChildDied) && !EXPECTED.test(String(error))) throw error;
    });
    // Long enough for a pass now and then.
    const untilMs = performance.now() + random.below(2_500);
    do {
      for (const each of TENANTS) await this.#look(each);
      await sleep(random.below(150));
    } while (performance.now() < untilMs);
  }

  /** Everything goes on until each tenant was compared from end to end once more, and the sides stand still. */
  async settle(): Promise<void> {
    for (const tenant of TENANTS) {
      const move = this.#move(tenant);
      if ((await phase(move, "streaming", "paused", "copying")).phase === "paused") await move.act("resume");
      await phase(move, "streaming");
      await this.#pass(tenant);
      await this.#until(
        tenant,
        ({ lanes }) =>
          lanes.length > 0 &&
          lanes.every(({ covered, coverage, passUnderWay }) => covered && coverage === 1 && !passUnderWay),
      );
    }
    for (const traffic of this.#traffics) await traffic.stop();
    for (const tenant of TENANTS) {
      await this.#until(tenant, ({ lanes }) => lanes.every(({ dirtyKeys }) => dirtyKeys === 0));
      // What nobody has announced yet cannot be dirty: a last pass is read behind everything.
      await this.#move(tenant).verify();
      await this.#until(tenant, ({ lanes }) =>
        lanes.every(({ covered, passUnderWay, dirtyKeys }) => covered && !passUnderWay && dirtyKeys === 0),
      );
    }
  }

  async #until(tenant: string, isDone: (report: VerificationReport) => boolean): Promise<void> {
    const untilMs = performance.now() + HANG_MS;
    for (;;) {
      const report = await this.#look(tenant);
      if (report !== null && isDone(report)) return;
      if (performance.now() > untilMs)
        throw new Error(`${tenant}: ${JSON.stringify([report, await this.#move(tenant).status()], null, 1)}`);
      await sleep(50);
    }
  }

  /** No difference stands, whatever has just happened; null where nobody can be asked. */
  async #look(tenant: string): Promise<VerificationReport | null> {
    const report = await this.#move(tenant)
      .verification()
      .catch((error: unknown) => {
        if (error instanceof ChildDied || /VERIFY_NOTHING/.test(String(error))) return null;
        throw error;
      });
    if (report === null) return null;
    expect(report.differences, `${tenant} after ${this.told()}`).toEqual([]);
    if (this.#asked.has(tenant) && report.lanes.every(({ passUnderWay, covered }) => covered && !passUnderWay)) {
      this.#asked.delete(tenant);
      this.passes++;
    }
    return report;
  }

  async #pass(tenant: string): Promise<void> {
    await this.#move(tenant).verify();
    this.#asked.add(tenant);
  }

  async #killProcess(): Promise<void> {
    await this.#product.kill();
    this.#asked.clear();
    this.kills++;
    await sleep(this.#random.below(300));
    this.#product = new ChildDriver(this.#options);
    await this.#product.ready();
  }

  /** One of the product's sessions at the server, or all of them. */
  async #killSessions(side: Side): Promise<void> {
    const admin = this.#world.admin[side];
    const [rows] = await admin.query<RowDataPacket[]>(
      "SELECT ID AS id FROM performance_schema.processlist WHERE USER = ?",
      [this.#user],
    );
    const ids = rows.map((row) => Number(row["id"]));
    const chosen = this.#random.chance(0.5) || ids.length === 0 ? ids : [this.#random.pick(ids)];
    // One that has ended meanwhile is no matter.
    for (const id of chosen) await admin.query(`KILL ${id}`).catch(() => {});
  }

  async #pause(tenant: string): Promise<void> {
    const move = this.#move(tenant);
    await move.act("pause");
    await sleep(this.#random.below(600));
    await this.#look(tenant);
    await move.act("resume");
  }

  #table(): string {
    return `${this.#world.schema}.${this.#random.pick(["orders", "handles", "documents", "lines", "tenants"])}`;
  }

  #move(tenant: string): ChildDriver {
    return this.#product.named(`move-${Buffer.from(tenant).toString("hex")}`);
  }
}
