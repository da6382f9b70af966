import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RowDataPacket } from "mysql2/promise";
import { afterEach, expect, test } from "vitest";
import type { AdapterConfig, ServerConfig } from "../../cutover/server-settings.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { ChildDied, ChildDriver } from "../crash/child-driver.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { differences, ledgerProblems } from "./world/compare.ts";
import { copyDataFolder } from "./world/copy-folder.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Side } from "./world/ledger.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PAUSE_MS = 3_000;
const PATIENT = { timeout: 30_000 };

/** What stops and sends the tenant in one of the worlds below, and how it can be told from outside. */
type Way = {
  readonly clusters: ServerConfig["clusters"];
  readonly adapters: ServerConfig["adapters"];
  readonly fence: object;
  readonly routing: object;
  /** Plain SQL: is the source closed to the tenant for good? */
  readonly isRetired: () => Promise<boolean>;
};

/* Whole moves where neither fence nor route is a web service. */
describeWithMysql("C3, C4: whole moves by SQL statements and by a READ ONLY schema", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver | null = null;
  let traffic: Traffic;
  let onProbe: (name: ProbeName) => Promise<void> | void = () => {};

  afterEach(async () => {
    await traffic?.stop().catch(() => {});
    await driver?.close();
    driver = null;
    await world?.close();
  });

  /** A cluster that is neither side of the move: it has no `dray` schema before the move begins. */
  function thirdCluster(): ServerConfig["clusters"][string] {
    const { host, port, user, password } = b;
    return { kind: "mysql", host, port, user, password, tls: null, draySchema: world.ownSchema(), candidates: [] };
  }

  /** The application's own tables; `fences` may lie beside the source, `homes` lies in the third cluster. */
  async function registry(fencesAt: Side): Promise<Way> {
    const app = world.ownSchema();
    const key = "tenant VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
    for (const side of new Set<Side>([fencesAt, "b"])) await world.admin[side].query(`CREATE SCHEMA ${app}`);
    const fences = world.admin[fencesAt];
    await fences.query(
      `CREATE TABLE ${app}.fences (${key}, cluster VARCHAR(8), final TINYINT, PRIMARY KEY (tenant, cluster))`,
    );
    await world.admin.b.query(`CREATE TABLE ${app}.homes (${key} PRIMARY KEY, home VARCHAR(8))`);
    const homes = world.tenants.map((tenant) => [tenant, tenant === "delta" ? "b" : "a"]);
    await world.admin.b.query(`INSERT INTO ${app}.homes VALUES ?`, [homes]);
    world.router = async (tenant) => {
      const [[row]] = await world.admin.b.query<RowDataPacket[]>(`SELECT home FROM ${app}.homes WHERE tenant = ?`, [
        tenant,
      ]);
      const home = row?.["home"] as Side;
      const [held] = await fences.query<RowDataPacket[]>(
        `SELECT 1 FROM ${app}.fences WHERE tenant = ? AND cluster = ?`,
        [tenant, home],
      );
      return { home, mayWrite: held.length === 0 };
    };
    const sql = { kind: "sql", timeoutMs: 2_000, enforcedByDatabase: false } as const;
    const fencing = {
      fence: [`INSERT INTO ${app}.fences VALUES (:tenant, :to, 0)`],
      unfence: [`DELETE FROM ${app}.fences WHERE tenant = :tenant AND cluster = :to`],
      retire: [`UPDATE ${app}.fences SET final = 1 WHERE tenant = :tenant AND cluster <> :to`],
    };
    const none = { fence: [], unfence: [], retire: [] };
    const route = [`UPDATE ${app}.homes SET home = :to WHERE tenant = :tenant`];
    const adapters: Record<string, AdapterConfig> =
      fencesAt === "b"
        ? { registry: { ...sql, ...fencing, route, cluster: "c" } }
        : {
            fences: { ...sql, ...fencing, route: [], cluster: "a" },
            homes: { ...sql, ...none, route, cluster: "c" },
          };
    return {
      clusters: { c: thirdCluster() },
      adapters,
      fence: { steps: [{ adapter: Object.keys(adapters)[0] }], grace_ms: 60 },
      routing: [{ adapter: Object.keys(adapters).at(-1) }],
      isRetired: async () => {
        const [rows] = await fences.query<RowDataPacket[]>(`SELECT final, cluster FROM ${app}.fences`);
        return rows.length === 1 && rows[0]?.["final"] === 1 && rows[0]["cluster"] === "a";
      },
    };
  }

  async function readOnlySchema(): Promise<Way> {
    const { schema, admin } = world;
    return {
      clusters: {},
      adapters: {},
      fence: { steps: [{ read_only_schema: { schema, tenant_alone: true } }], grace_ms: 0 },
      routing: [{ adapter: "app" }],
      isRetired: async () => {
        const write = admin.a.query(`INSERT INTO ${schema}.handles (tenant_id, name, stamp) VALUES (?, 'x', 1)`, [
          TENANT,
        ]);
        return await write.then(
          () => false,
          (error: { code?: string }) => error.code === "ER_SCHEMA_READ_ONLY",
        );
      },
    };
  }

  async function prepare(kind: "schema" | Side) {
    const alone = { acme: "a", delta: "b" } as const;
    const homes = kind === "schema" ? alone : { ...alone, ACME: "a" as const };
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 100, workers: 3 });
    const way = kind === "schema" ? await readOnlySchema() : await registry(kind);
    const plain = world.config(world.installation());
    const config: ServerConfig = {
      ...plain,
      clusters: { ...plain.clusters, ...way.clusters },
      adapters: { ...plain.adapters, ...way.adapters },
    };
    traffic = world.traffic({ seed: 21, workers: 3, pauseMs: 8 });
    traffic.start();
    return { way, config, manifest: world.manifest({ fence: way.fence, routing: way.routing }) };
  }

  async function begin(kind: "schema" | Side): Promise<Way> {
    const { way, config, manifest } = await prepare(kind);
    onProbe = () => {};
    driver = await LocalDriver.open({ config, manifest, probe: (name) => onProbe(name) });
    return way;
  }

  /** The tenant's own writes go on at the source. */
  async function expectWriting(): Promise<void> {
    const newest = async () => {
      const [[row]] = await world.admin.a.query<RowDataPacket[]>(
        `SELECT MAX(stamp) AS s FROM (SELECT stamp FROM ${world.schema}.orders WHERE tenant_id = BINARY ?
           UNION ALL SELECT stamp FROM ${world.schema}.handles WHERE tenant_id = BINARY ?) AS both_tables`,
        [TENANT, TENANT],
      );
      return Number(row?.["s"]);
    };
    const before = await newest();
    await expect.poll(newest, PATIENT).toBeGreaterThan(before);
  }

  const WAYS = [
    ["SQL statements on a third cluster", "b"],
    ["SQL statements: the fence beside the source, the route on a third cluster", "a"],
    ["a READ ONLY schema", "schema"],
  ] as const;

  test.each(WAYS)("%s: an attempt that fails behind the fence, then one that commits", async (_, kind) => {
    const way = await begin(kind);
    const move = driver as LocalDriver;
    await move.start(TENANT);
    await phase(move, "streaming");
    await expectWriting();
    // C11: behind the fence the time runs out.
    let stalls = 1;
    onProbe = async (name) => {
      if (name === "cutover.after-quiesce" && stalls-- > 0) await systemClock.sleep(PAUSE_MS + 200);
    };
    const failed = await cutoverOnceOpen(move, { maxPauseMs: PAUSE_MS });
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("PAUSE_TOO_LONG") });
    expect(failed.steps.map(({ step }) => step)).toEqual(["fence", "quiesce", "drain", "unfence"]);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    await expectWriting();
    await phase(move, "streaming");

    world.heldAtTarget.add(TENANT);
    const done = await cutoverOnceOpen(move);
    expect(done).toMatchObject({ outcome: "committed", reason: null });
    expect(done.generation).toBeGreaterThan(failed.generation ?? 0);
    await expectArrived({ world, traffic, tenant: TENANT });
    expect(await way.isRetired()).toBe(true);
    expect((await move.status()).alarms).toEqual([]);
  });

  test.each(WAYS)("%s: a move that is aborted lets the tenant write at the source", async (_, kind) => {
    const way = await begin(kind);
    const move = driver as LocalDriver;
    await move.start(TENANT);
    await phase(move, "streaming");
    let stalls = 1;
    onProbe = async (name) => {
      if (name === "cutover.after-pin" && stalls-- > 0) await systemClock.sleep(PAUSE_MS + 200);
    };
    expect(await cutoverOnceOpen(move, { maxPauseMs: PAUSE_MS })).toMatchObject({ outcome: "aborted" });
    await move.act("abort");
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    await expectWriting();
    await traffic.stop();
    expect(await ledgerProblems(world, "a")).toEqual([]);
    expect(await ledgerProblems(world, "b")).toEqual([]);
    if (kind !== "schema") expect(await way.isRetired()).toBe(false);
  });

  test.each([
    ["", "a READ ONLY schema", "schema"],
    [", whose control store comes back older than that", "a READ ONLY schema", "schema"],
    [", whose control store comes back older than that", "SQL statements on a third cluster", "b"],
  ] as const)("C2: a process that dies behind the fence%s: %s is lifted", async (older, _, kind) => {
    const { config, manifest } = await prepare(kind);
    const doomed = new ChildDriver({ config, manifest, dieAt: { place: "cutover.after-pin", hit: 1 } });
    await doomed.ready();
    await doomed.start(TENANT);
    await phase(doomed, "streaming");
    const copy = join(world.folder, "old-copy");
    await copyDataFolder(config.dataDir, copy);
    await expect(cutoverOnceOpen(doomed)).rejects.toBeInstanceOf(ChildDied);
    expect(await doomed.diedAt()).toBe("cutover.after-pin");
    if (older !== "") {
      for (const ending of ["", "-wal", "-shm"]) rmSync(join(config.dataDir, `control.db${ending}`), { force: true });
      cpSync(join(copy, "control.db"), join(config.dataDir, "control.db"));
    }
    const move = await LocalDriver.open({ config, manifest });
    driver = move;
    await expectWriting();
    await phase(move, "streaming");
    const events = (await move.dray.service.journal("it", 0)).map(({ event }) => event);
    expect(events.includes("found")).toBe(older !== "");
    expect(events.at(-1)).toBe("attempt-aborted");
    world.heldAtTarget.add(TENANT);
    expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
    await traffic.stop();
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("C4: a third cluster whose dray schema is another installation's is refused, and start goes on once it is not", async () => {
    const way = await begin("b");
    const move = driver as LocalDriver;
    const { draySchema } = Object.values(way.clusters)[0] ?? { draySchema: "" };
    await world.admin.b.query(`CREATE SCHEMA ${draySchema}`);
    await world.admin.b.query(`CREATE TABLE ${draySchema}.installation (one TINYINT UNSIGNED PRIMARY KEY,
      id CHAR(36) CHARACTER SET ascii, created_at TIMESTAMP(6))`);
    await world.admin.b.query(`INSERT INTO ${draySchema}.installation VALUES (1, UUID(), NOW(6))`);
    await expect(move.start(TENANT)).rejects.toMatchObject({ code: "DRAY_SCHEMA_TAKEN" });
    expect(await move.status()).toMatchObject({ phase: "planned", lanes: [] });
    await world.admin.b.query(`DROP SCHEMA ${draySchema}`);
    await move.start(TENANT);
    await phase(move, "streaming");
    expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
  });
});
