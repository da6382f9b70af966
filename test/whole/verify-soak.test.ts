import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { VerificationReport } from "../../cutover/move-service.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import { ChildDied, ChildDriver } from "../crash/child-driver.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { cutoverOnceOpen, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import { twoOwnServers } from "./world/own-servers.ts";
import { plannedRuns, Random, repeatable } from "./world/random.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

/** Two tenants that move; rows change hands between each and a neighbour that stays, and between the two (A8). */
const TENANTS = ["acme", "beta"] as const;
const PAIRS = [
  ["acme", "ACME"],
  ["beta", "gamma"],
] as const;
/** Has always lived where they go to: rows change hands with whoever has arrived there. */
const THERE = "delta";
const SECONDS_THERE = 15;
const SECONDS_BACK = 8;
const HANG_MS = 240_000;
/** What a command may be told while the process, the move or a server is otherwise busy. */
const EXPECTED = /MOVE_BUSY|ILLEGAL_STEP|RECOPY|VERIFY_NOTHING|TABLE_UNKNOWN|LANE_|MYSQL_UNREACHABLE|aborted|ended/;

/*
 * Several tenants of one target are compared again and again while everybody writes and rows change hands, and everything
 * that can be interrupted is: sessions, the process, the servers. Then one of them is cut over, and the lane that leads
 * back is compared in the same way. Nothing was ever changed but by the product: not one difference may be told.
 */
describeWithOwnServers("V1, V2: no false difference, whatever is interrupted", ["mysql"], () => {
  const { seed, runs } = plannedRuns(1);
  let all: Servers;
  let servers: Record<Side, MysqlServer>;
  let world: World;
  let soak: Soak;

  beforeAll(async () => {
    all = await openServers();
    servers = await twoOwnServers(all, "soaked");
  });
  afterAll(() => all?.close());

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", beta: "a", gamma: "a", [THERE]: "b" } as const;
    world = await World.create({ servers, kind: "text", homes, rows: 90, workers: 6 });
    soak = await Soak.open(world, servers, seed);
  });
  afterEach(async () => {
    await soak?.close();
    await world?.close();
  });

  test(`${runs} times ${SECONDS_THERE} and ${SECONDS_BACK} seconds of interruptions (SEED=${seed})`, async () => {
    await repeatable(seed, async () => {
      await soak.begin();
      await soak.interrupt(runs * SECONDS_THERE);
      const moved = await soak.cutOver();
      const there = soak.ended();
      await soak.interrupt(runs * SECONDS_BACK);
      await soak.settle();
      const back = soak.ended();
      process.stderr.write(`on the way there ${there.told}; with ${moved} there ${back.told} (SEED=${seed})\n`);
      for (const { passes, kills, stops } of [there, back]) {
        expect(passes, "passes that came to their end").toBeGreaterThan(0);
        expect(kills, "processes that were killed").toBeGreaterThan(0);
        expect(stops, "servers that were stopped").toBeGreaterThan(0);
      }
      for (const tenant of TENANTS) expect(await differences(world, tenant), tenant).toEqual([]);
    });
  }, 900_000);
});

type Act = readonly [name: string, act: (tenant: string) => Promise<void>];
type Ended = { readonly passes: number; readonly kills: number; readonly stops: number; readonly told: string };

/** The product in a process that is killed and started again, with users of its own at both servers. */
class Soak {
  readonly #traffics: Traffic[];
  /** Between two tenants that both move: over once one of them is to arrive, for its rows then stay where they are. */
  readonly #exchange: Traffic;
  readonly #world: World;
  readonly #servers: Readonly<Record<Side, MysqlServer>>;
  readonly #seed: number;
  readonly #random: Random;
  readonly #user: string;
  readonly #options: ConstructorParameters<typeof ChildDriver>[0];
  readonly #asked = new Set<string>();
  #product: ChildDriver;
  #did = new Map<string, number>();
  #moved: string | null = null;
  #passes = 0;

  private constructor(world: World, servers: Readonly<Record<Side, MysqlServer>>, seed: number, user: string) {
    this.#world = world;
    this.#servers = servers;
    this.#seed = seed;
    this.#user = user;
    this.#random = new Random(seed);
    this.#exchange = this.#traffic(TENANTS, 0);
    this.#traffics = [this.#exchange, ...PAIRS.map((tenants, i) => this.#traffic(tenants, 1 + i))];
    const config = world.config(world.installation());
    const as = (cluster: (typeof config.clusters)[string]) => ({ ...cluster, user, password: user });
    const clusters = Object.fromEntries(Object.entries(config.clusters).map(([name, each]) => [name, as(each)]));
    this.#options = { config: { ...config, clusters }, manifest: world.manifest(), dieAt: null };
    this.#product = new ChildDriver(this.#options);
  }

  static async open(world: World, servers: Readonly<Record<Side, MysqlServer>>, seed: number): Promise<Soak> {
    // So that its sessions can be told from those of everybody else at these servers.
    const user = `soak_${randomBytes(5).toString("hex")}`;
    for (const side of ["a", "b"] as const) {
      await world.admin[side].query(`CREATE USER ${user} IDENTIFIED BY '${user}'`);
      await world.admin[side].query(`GRANT ALL ON *.* TO ${user} WITH GRANT OPTION`);
    }
    return new Soak(world, servers, seed, user);
  }

  async close(): Promise<void> {
    await this.#product.kill();
    for (const traffic of this.#traffics) await traffic.stop().catch(() => {});
    for (const side of ["a", "b"] as const) await this.#world.admin[side].query(`DROP USER IF EXISTS ${this.#user}`);
  }

  /** What has happened since it was asked last. */
  ended(): Ended {
    const did = this.#did;
    const [passes, kills] = [this.#passes, did.get("process killed") ?? 0];
    const stops = (did.get("server a stopped") ?? 0) + (did.get("server b stopped") ?? 0);
    const told = this.#told();
    this.#did = new Map();
    this.#passes = 0;
    return { passes, kills, stops, told };
  }

  #told(): string {
    return `${this.#passes} passes ended; ${[...this.#did].map(([what, times]) => `${what} ${times}`).join(", ")}`;
  }

  #traffic(tenants: readonly string[], i: number): Traffic {
    return this.#world.traffic({ seed: this.#seed + i, workers: 3, pauseMs: 12, tenants });
  }

  async begin(): Promise<void> {
    for (const traffic of this.#traffics) traffic.start();
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

  /** For so long, and until each of what may happen has happened once. */
  async interrupt(seconds: number): Promise<void> {
    const untilMs = performance.now() + seconds * 1_000;
    const acts = this.#acts();
    while (performance.now() < untilMs || acts.some(([name]) => !this.#did.has(name))) await this.#interrupt(acts);
  }

  #acts(): readonly Act[] {
    const whileCopied: readonly Act[] = [["paused", (tenant) => this.#pause(tenant)]];
    return [
      ["pass", (tenant) => this.#pass(tenant)],
      ["pass", (tenant) => this.#pass(tenant)],
      ["pass", (tenant) => this.#pass(tenant)],
      ["pass of a table", (tenant) => this.#move(tenant).verify({ table: this.#table() })],
      ["process killed", () => this.#killProcess()],
      ["sessions killed at a", () => this.#killSessions("a")],
      ["sessions killed at b", () => this.#killSessions("b")],
      ["server a stopped", () => this.#stopServer("a")],
      ["server b stopped", () => this.#stopServer("b")],
      ["table copied again", (tenant) => this.#move(tenant).recopy(this.#table())],
      ...(this.#moved === null ? whileCopied : []),
    ];
  }

  /** Something happens, and what is known is looked at before and after it. */
  async #interrupt(acts: readonly Act[]): Promise<void> {
    const random = this.#random;
    // What is new is the lane that leads back, once there is one.
    const tenant = this.#moved !== null && random.chance(0.7) ? this.#moved : random.pick(TENANTS);
    // Each of them once, then whichever.
    const fresh = acts.filter(([name]) => !this.#did.has(name));
    const [what, act] = random.pick(fresh.length > 0 ? fresh : acts);
    this.#did.set(what, (this.#did.get(what) ?? 0) + 1);
    await act(tenant).catch((error: unknown) => {
      if (!(error instanceof ChildDied) && !EXPECTED.test(String(error))) throw error;
    });
    // Long enough for a pass now and then.
    const untilMs = performance.now() + random.below(1_500);
    do {
      for (const each of TENANTS) await this.#look(each);
      await sleep(random.below(150));
    } while (performance.now() < untilMs);
  }

  /** One of them goes, its gate must open, and what it and everybody else writes from there on leads back. */
  async cutOver(): Promise<string> {
    const world = this.#world;
    const tenant = this.#random.pick(TENANTS);
    await this.#exchange.stop();
    await this.#comparedWhole(tenant);
    world.heldAtTarget.add(tenant);
    expect(await cutoverOnceOpen(this.#move(tenant))).toMatchObject({ outcome: "committed" });
    expect(await differences(world, tenant), tenant).toEqual([]);
    this.#moved = tenant;
    this.#asked.clear();
    world.ledger.switchHome(tenant, "b");
    world.heldAtTarget.delete(tenant);
    const there = this.#traffic([tenant, THERE], TENANTS.length + PAIRS.length);
    this.#traffics.push(there);
    there.start();
    return tenant;
  }

  /** Everything goes on until each tenant was compared from end to end once more, and the sides stand still. */
  async settle(): Promise<void> {
    for (const tenant of TENANTS) await this.#comparedWhole(tenant);
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

  async #comparedWhole(tenant: string): Promise<void> {
    await this.#carries(tenant);
    await this.#pass(tenant);
    await this.#until(
      tenant,
      ({ lanes }) =>
        lanes.length > 0 &&
        lanes.every(({ covered, coverage, passUnderWay }) => covered && coverage === 1 && !passUnderWay),
    );
  }

  /** Whatever was interrupted last, its lanes carry again. */
  async #carries(tenant: string): Promise<void> {
    const move = this.#move(tenant);
    if (tenant === this.#moved) return void (await phase(move, "watching"));
    if ((await phase(move, "streaming", "paused", "copying")).phase === "paused") await move.act("resume");
    await phase(move, "streaming");
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
    expect(report.differences, `${tenant} after ${this.#told()}`).toEqual([]);
    if (this.#asked.has(tenant) && report.lanes.every(({ passUnderWay, covered }) => covered && !passUnderWay)) {
      this.#asked.delete(tenant);
      this.#passes++;
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

  /** Its data stays, and what was under way is either done or not. */
  async #stopServer(side: Side): Promise<void> {
    await this.#servers[side].stop(this.#random.pick(["graceful", "kill"] as const));
    await sleep(this.#random.below(400));
    for (const tenant of TENANTS) await this.#look(tenant);
    await this.#servers[side].start();
    await this.#world.reconnect(side);
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
