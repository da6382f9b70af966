import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 30_000 };
const WRITABLE = "SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF";
/** Tables that are put there share a space that cannot grow. */
const SMALL_SPACE = "--innodb-data-file-path=ibdata1:12M:autoextend:max:20M";
const FIXED = "TABLESPACE = innodb_system";

/* What befalls a whole server while a move is under way. */
describeWithOwnServers("servers that fail under a move", ["mysql"], () => {
  let servers: Servers | undefined;
  let a: MysqlServer;
  let b: MysqlServer;
  let world: World;
  let traffic: Traffic;
  let driver: LocalDriver | null = null;

  beforeAll(async () => {
    servers = await openServers();
    const ids = (offset: number) => ["--auto-increment-increment=2", `--auto-increment-offset=${offset}`];
    [a, b] = await Promise.all([
      servers.mysql({ name: "faults-a", flags: ids(1) }),
      servers.mysql({ name: "faults-b", flags: [...ids(2), SMALL_SPACE] }),
    ]);
  });
  afterAll(() => servers?.close());

  beforeEach(async () => {
    const address = ({ host, port, user, password }: MysqlServer) => ({ host, port, user, password });
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    const at = { a: address(a), b: address(b) };
    world = await World.create({ servers: at, kind: "text", homes, rows: 300, workers: 2 });
    world.heldAtTarget.add(TENANT);
    // At the target it would meet the same as the move does, and stop with it.
    traffic = world.traffic({ seed: 11, workers: 2, pauseMs: 10, tenants: [TENANT, "ACME"] });
  });
  afterEach(async () => {
    await traffic.stop();
    await driver?.close();
    driver = null;
    await world.admin.b.query(WRITABLE);
    await world.close();
  });

  async function open(installation = world.installation(), probe?: Probe): Promise<LocalDriver> {
    const config = world.config(installation);
    const opened = await LocalDriver.open({ config, manifest: world.manifest(), ...(probe && { probe }) });
    driver = opened;
    return opened;
  }

  async function expectReason(move: LocalDriver, reason: RegExp): Promise<void> {
    const waiting = async () => (await move.status()).lanes.flatMap((lane) => lane.waiting).join("\n");
    await expect.poll(waiting, PATIENT).toMatch(reason);
    // Nobody is needed: it is tried again by itself.
    expect(await move.status()).toMatchObject({ phase: "copying", problem: null });
  }

  async function expectNothingLost(move: LocalDriver): Promise<void> {
    await phase(move, "streaming");
    expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
    await expectArrived({ world, traffic, tenant: TENANT });
  }

  /** Called at the third transaction that the target takes. */
  function midCopy(work: () => Promise<unknown>): Probe {
    let commits = 0;
    return async (name) => {
      if (name === "apply.before-commit" && ++commits === 3) await work();
    };
  }

  test("A8: a target that is read-only for a while is waited for, with the reason shown, and nothing is lost", async () => {
    const { admin } = world;
    const move = await open(
      undefined,
      midCopy(() => admin.b.query("SET GLOBAL super_read_only = ON")),
    );
    traffic.start();
    await move.start(TENANT);
    await expectReason(move, /super.read.only/i);
    await admin.b.query(WRITABLE);
    await expectNothingLost(move);
  });

  test("A8: a target that is full is waited for, with the reason shown, and nothing is lost", async () => {
    const { admin, schema } = world;
    const tables = ["orders", "handles", "documents", "`lines`"];
    for (const table of tables) await admin.b.query(`ALTER TABLE ${schema}.${table} ${FIXED}`);
    await admin.b.query(`CREATE TABLE ${schema}.ballast (id INT AUTO_INCREMENT PRIMARY KEY, filler LONGBLOB) ${FIXED}`);
    // Preflight's own rows find room (W6); those of the copy do not.
    const filled = Promise.withResolvers<void>();
    const move = await open(
      undefined,
      midCopy(() => fill().then(filled.resolve, filled.reject)),
    );
    traffic.start();
    await move.start(TENANT);
    await filled.promise;
    await expectReason(move, /ER_RECORD_FILE_FULL/);
    await admin.b.query(`DROP TABLE ${schema}.ballast`);
    await expectNothingLost(move);
  });

  /** Until not even small rows find room. */
  async function fill(): Promise<void> {
    for (const size of [500_000, 60_000, 9_000, 7_000]) {
      for (let isFull = false; !isFull; ) {
        const sql = `INSERT INTO ${world.schema}.ballast (filler) VALUES (REPEAT('x', ${size}))`;
        isFull = await world.admin.b.query(sql).then(
          () => false,
          (error: { code?: string }) => {
            expect(error.code).toBe("ER_RECORD_FILE_FULL");
            return true;
          },
        );
      }
    }
  }

  test.each([
    [
      "BINLOG_PURGED",
      "a binlog that was purged",
      ["FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"],
    ],
    ["DIVERGED", "a history that was begun anew", ["RESET BINARY LOGS AND GTIDS"]],
  ])("M6: %s is what %s under a stopped server is called, and recopy goes on", async (code, _, statements) => {
    const installation = world.installation();
    const first = await open(installation);
    traffic.start();
    await first.start(TENANT);
    await phase(first, "streaming");
    await first.close();
    driver = null;
    const before = world.ledger.acknowledged;
    await expect.poll(() => world.ledger.acknowledged, PATIENT).toBeGreaterThan(before + 20);
    for (const sql of statements) await world.admin.a.query(sql);
    const again = await open(installation);
    await expect.poll(async () => (await again.status()).phase, PATIENT).toBe("failed");
    const { problem, next, lanes } = await again.status();
    expect(problem).toMatchObject({ code, remedy: expect.stringContaining("dray recopy") });
    expect(lanes[0]).toMatchObject({ capture: "stopped" });
    expect(next).toContain("dray recopy it");
    // Trying again meets the same: what is gone does not come back.
    await again.act("retry");
    await expect.poll(async () => (await again.status()).phase, PATIENT).toBe("failed");
    await again.recopy(null);
    await expectNothingLost(again);
  });
});
