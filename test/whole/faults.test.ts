import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { main } from "../../cli/main.ts";
import { openServer } from "../../console/open-server.ts";
import type { MoveStatus } from "../../cutover/move-service.ts";
import { noProbe, type Probe, type ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { expectArrived } from "./world/arrival.ts";
import { differences } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import type { Traffic } from "./world/traffic.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 30_000 };

/* What happens to a move while its databases and its disk do what they do, and how it goes on. */
describeWithMysql("faults under a move", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver | null = null;
  let traffic: Traffic;
  let tmpfs: string | null = null;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    world.heldAtTarget.add(TENANT);
    traffic = world.traffic({ seed: 7, workers: 2, pauseMs: 10 });
  });
  afterEach(async () => {
    await traffic.stop();
    await driver?.close();
    driver = null;
    if (tmpfs !== null) execFileSync("umount", [tmpfs]);
    tmpfs = null;
    await world.close();
  });

  async function openMove(installation = world.installation(), probe: Probe = noProbe): Promise<LocalDriver> {
    const opened = await LocalDriver.open({ config: world.config(installation), manifest: world.manifest(), probe });
    driver = opened;
    return opened;
  }

  /** The move is brought to its end, and both sides hold what was acknowledged, and nothing else. */
  async function expectNothingLost(move: LocalDriver): Promise<void> {
    expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
    await expectArrived({ world, traffic, tenant: TENANT });
  }

  test("M8: DDL on a moved table stops the lane with event, position and remedy; recopy goes on from there", async () => {
    const move = await openMove();
    traffic.start();
    await move.start(TENANT);
    await phase(move, "streaming");
    // Neither another tenant's table nor a new one concerns the move.
    await world.admin.a.query(`CREATE TABLE ${world.schema}.unrelated (id INT PRIMARY KEY)`);
    const ddl = `ALTER TABLE ${world.schema}.orders ADD COLUMN extra INT NULL`;
    await world.admin.a.query(ddl);
    await expect.poll(async () => (await move.status()).phase, PATIENT).toBe("failed");
    const { problem, next, alarms, lanes } = await move.status();
    expect(problem).toMatchObject({
      code: "DDL_ON_COVERED_TABLE",
      facts: {
        event: "Query",
        statement: expect.stringContaining("ALTER TABLE"),
        transaction: expect.stringMatching(/:\d+$/),
      },
      remedy: expect.stringContaining("dray recopy"),
    });
    expect(lanes[0]).toMatchObject({ capture: "stopped", problem: { code: "DDL_ON_COVERED_TABLE" } });
    expect(alarms.map(({ code }) => code)).toContain("DDL_ON_COVERED_TABLE");
    expect(next).toContain("dray recopy it");
    await world.admin.a.query(`DROP TABLE ${world.schema}.unrelated`);
    await world.admin.b.query(ddl);
    await move.recopy(null);
    await phase(move, "streaming");
    expect((await move.status()).alarms).toEqual([]);
    await expectNothingLost(move);
  });

  test("A1, A8: another tenant's row under the key stops the lane with that key and exit code 5; retry goes on without it", async () => {
    const move = await openMove();
    await move.start(TENANT);
    await phase(move, "streaming");
    const insert = `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES ('clash', ?, 'b', 1)`;
    await world.admin.b.query(insert, ["delta"]);
    const theirs = await rowsOf("clash");
    await world.admin.a.query(insert, [TENANT]);
    await expect.poll(async () => (await move.status()).phase, PATIENT).toBe("failed");
    const { problem } = await move.status();
    expect(problem).toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { table: `${world.schema}.documents` } });
    expect(problem?.message).toContain("clash");
    expect(await statusByCommand(move)).toMatchObject({ code: 5, out: expect.stringContaining("GUARD_FOREIGN_ROW") });
    // Trying again while it stands there changes nothing either.
    await move.act("retry");
    await expect.poll(async () => (await move.status()).phase, PATIENT).toBe("failed");
    expect(await rowsOf("clash")).toEqual(theirs);
    await world.admin.b.query(`DELETE FROM ${world.schema}.documents WHERE code = 'clash'`);
    await move.act("retry");
    await phase(move, "streaming");
    expect(await statusByCommand(move)).toMatchObject({ code: 0 });
    await expect.poll(() => differences(world, TENANT), PATIENT).toEqual([]);
  });

  async function rowsOf(code: string): Promise<unknown> {
    const [rows] = await world.admin.b.query(`SELECT * FROM ${world.schema}.documents WHERE code = ?`, [code]);
    expect(rows).toHaveLength(1);
    return rows;
  }

  /** `dray status it`, as an operator's script has it. */
  async function statusByCommand({ dray }: LocalDriver): Promise<{ readonly code: number; readonly out: string }> {
    const dataDir = join(world.folder, "cli");
    const config = {
      ...world.config(world.installation()),
      dataDir,
      listen: { kind: "unix" as const, path: join(dataDir, "s") },
    };
    const open = async () => ({ service: dray.service, close: async () => {} });
    const server = await openServer({ config, logger: pino({ level: "silent" }), version: "0", open });
    let out = "";
    const print = (line: string) => {
      out += `${line}\n`;
    };
    const terminal = { interactive: false, say: print, ask: async () => "" };
    const code = await main(["status", "it"], { env: { DRAY_URL: `unix:${config.listen.path}` }, terminal, print });
    await server.close();
    return { code, out };
  }

  test.skipIf(!canMount())(
    "M9: where the disk of the embedded log is full, capture stops cleanly, says so, and goes on when there is room",
    async () => {
      const installation = world.installation();
      mkdirSync(installation.dataDir);
      mountSmallDisk(installation.dataDir);
      tmpfs = installation.dataDir;
      const move = await openMove(installation);
      traffic.start();
      await move.start(TENANT);
      await phase(move, "streaming");
      const ballast = join(installation.dataDir, "ballast");
      fill(ballast, installation.dataDir);
      // The control store lies on the same disk: whichever is refused first gives the reason.
      const full = await waiting(move, /LOG_FULL|database or disk is full/);
      expect(full.phase).toBe("streaming");
      expect(full.lanes[0]?.problem).toBeNull();
      // For a while the application writes and nobody captures.
      await sleep(1_500);
      expect((await move.status()).phase).toBe("streaming");
      rmSync(ballast);
      await expect.poll(async () => (await move.status()).lanes[0]?.waiting, PATIENT).toEqual([]);
      await expectNothingLost(move);
    },
  );

  function smallInstallation(): ReturnType<World["installation"]> {
    const installation = world.installation();
    mkdirSync(installation.dataDir);
    mountSmallDisk(installation.dataDir);
    tmpfs = installation.dataDir;
    return installation;
  }

  const PLACES: readonly ProbeName[] = ["cutover.after-fence", "cutover.before-commit"];
  test.skipIf(!canMount()).each(PLACES)(
    "C1, C2: a disk that is full from %s on leaves the tenant writable at one side, with every row",
    async (place) => {
      const installation = smallInstallation();
      const ballast = join(installation.dataDir, "ballast");
      let freeing = Promise.resolve();
      let isFirst = true;
      const move = await openMove(installation, (name) => {
        if (name !== place || !isFirst) return;
        isFirst = false;
        fill(ballast, installation.dataDir);
        freeing = sleep(2_000).then(() => rmSync(ballast));
      });
      traffic.start();
      await move.start(TENANT);
      await phase(move, "streaming");
      // Told with the remedy, or aborted: either way it is brought to an end without anybody's help.
      const first = await cutoverOnceOpen(move).catch((error: unknown) => error);
      if (first instanceof Error) expect(first).toMatchObject({ code: "CONTROL_STORE_UNAVAILABLE" });
      await freeing;
      const { phase: reached } = await phase(move, "streaming", "watching");
      if (reached === "streaming") expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
      await expectArrived({ world, traffic, tenant: TENANT });
    },
  );

  async function waiting(move: LocalDriver, reason: RegExp): Promise<MoveStatus> {
    const found: MoveStatus[] = [];
    await expect
      .poll(async () => {
        found[0] = await move.status();
        return found[0].lanes.flatMap((lane) => lane.waiting).join("\n");
      }, PATIENT)
      .toMatch(reason);
    return found[0] as MoveStatus;
  }
});

function mountSmallDisk(folder: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", folder], { stdio: "pipe" });
}

/** A disk of its own that is full needs a machine that lets us mount one. */
function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "dray-mount-"));
  try {
    mountSmallDisk(folder);
    execFileSync("umount", [folder]);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(folder);
  }
}

/** Takes every byte that is left. */
function fill(file: string, folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  try {
    writeFileSync(file, Buffer.alloc(bavail * bsize + bsize));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}
