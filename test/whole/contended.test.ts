import { setTimeout as sleep } from "node:timers/promises";
import type { RowDataPacket } from "mysql2/promise";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { MoveStatus } from "../../cutover/move-service.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { cutoverOnceOpen, type Driver, LocalDriver, phase } from "./world/driver.ts";
import { plannedRuns, repeatable } from "./world/random.ts";
import { twoMoves } from "./world/two-moves.ts";
import { World } from "./world/world.ts";

const CALLER = { by: "test", role: "admin" as const };
const PATIENT = { timeout: 30_000 };

type Move = Pick<Driver, "status" | "cutover" | "act">;

/* Two tenants whose names are one under the default collation move to the same target while rows pass between them. */
describeWithMysql("A8: rows that change hands between two tenants in two moves", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let small: Move;
  let big: Move;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    driver = await LocalDriver.open({ config: world.config(world.installation()), manifest: world.manifest() });
    small = await start("acme", "small");
    big = await start("ACME", "big");
    await phase(small, "streaming");
    await phase(big, "streaming");
  });
  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  async function start(tenant: string, name: string): Promise<Move> {
    const { service } = driver.dray;
    const request = { manifest: world.manifest(), manifestFile: "world.yaml", tenant, from: "a", to: "b", name };
    await service.start(request, CALLER, new AbortController().signal);
    const whole = { dryRun: false, maxLagSeconds: null, maxPauseMs: null, acceptUnverified: false };
    return {
      status: () => service.status(name),
      cutover: () => service.cutover(name, whole, CALLER, () => {}),
      act: async (verb) => {
        await service[verb](name, CALLER);
      },
    };
  }

  async function firstOrders(tenant: string, count: number): Promise<number[]> {
    const [rows] = await world.admin.a.query<RowDataPacket[]>(
      `SELECT id FROM ${world.schema}.orders WHERE CAST(tenant_id AS BINARY) = CAST(? AS BINARY) ORDER BY id LIMIT ?`,
      [tenant, count],
    );
    return rows.map((row) => Number(row["id"]));
  }

  async function give(ids: readonly number[], tenant: string): Promise<void> {
    await world.admin.a.query(`UPDATE ${world.schema}.orders SET tenant_id = ? WHERE id IN (?)`, [tenant, ids]);
  }

  async function ownersAtTarget(ids: readonly number[]): Promise<string[]> {
    const [rows] = await world.admin.b.query<RowDataPacket[]>(
      `SELECT tenant_id FROM ${world.schema}.orders WHERE id IN (?) ORDER BY id`,
      [ids],
    );
    return rows.map((row) => String(row["tenant_id"]));
  }

  async function waits(move: Move): Promise<MoveStatus> {
    let last: MoveStatus | null = null;
    await expect
      .poll(async () => {
        last = await move.status();
        return last.lanes.flatMap(({ waiting }) => waiting).join("\n");
      }, PATIENT)
      .toMatch(/waiting for the row of tenant \S+'s move \S+ to pass/);
    return last as unknown as MoveStatus;
  }

  async function expectBothArrived(): Promise<void> {
    await expect
      .poll(async () => [...(await differences(world, "acme")), ...(await differences(world, "ACME"))], PATIENT)
      .toEqual([]);
    for (const move of [small, big]) {
      const { phase: now, alarms, problem } = await move.status();
      expect({ now, alarms, problem }).toEqual({ now: "streaming", alarms: [], problem: null });
    }
  }

  test("the lane that is ahead waits for the other's, in whichever order they come, and both move", async () => {
    // Ahead is the one that takes: the row stands there as the other's until its lane has removed it.
    await big.act("pause");
    const ids = await firstOrders("ACME", 5);
    await give(ids, "acme");
    const waiting = await waits(small);
    expect(waiting.lanes[0]?.waiting.join()).toContain("tenant ACME's move big");
    await sleep(1_000);
    expect(await small.status()).toMatchObject({ phase: "streaming", alarms: [], problem: null });
    expect(await ownersAtTarget(ids)).toEqual(ids.map(() => "ACME"));
    await big.act("resume");
    await phase(big, "streaming");
    await expectBothArrived();
    expect(await ownersAtTarget(ids)).toEqual(ids.map(() => "acme"));

    // Behind is the one that gives: what it once held is the other's by now, and its own log says that it gave it away.
    await big.act("pause");
    const documents = `${world.schema}.documents`;
    await world.admin.a.query(
      `INSERT INTO ${documents} (code, tenant_id, body, stamp) VALUES ('given', 'ACME', 'x', 1)`,
    );
    await world.admin.a.query(`UPDATE ${documents} SET body = 'y' WHERE code = 'given'`);
    await world.admin.a.query(`UPDATE ${documents} SET tenant_id = 'acme' WHERE code = 'given'`);
    await expect.poll(() => differences(world, "acme"), PATIENT).toEqual([]);
    await big.act("resume");
    await phase(big, "streaming");
    await expectBothArrived();

    // Each is in the other's way.
    await big.act("pause");
    await small.act("pause");
    const [mine = 0, yours = 0] = [...(await firstOrders("acme", 1)), ...(await firstOrders("ACME", 1))];
    await world.admin.a.query("START TRANSACTION");
    await give([mine], "ACME");
    await give([yours], "acme");
    await world.admin.a.query("COMMIT");
    await Promise.all([big.act("resume"), small.act("resume")]);
    await phase(small, "streaming");
    await phase(big, "streaming");
    await expectBothArrived();

    // Once the other has arrived, nothing will take its row away: final as ever.
    expect(await cutoverOnceOpen(big)).toMatchObject({ outcome: "committed" });
    const insert = `INSERT INTO ${documents} (code, tenant_id, body, stamp) VALUES ('clash', ?, 'z', 1)`;
    await world.admin.b.query(insert, ["ACME"]);
    await world.admin.a.query(insert, ["acme"]);
    const failed = await phase(small, "failed");
    expect(failed.problem).toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { key: "clash" } });
    await world.admin.b.query(`DELETE FROM ${documents} WHERE code = 'clash'`);
    await small.act("retry");
    await phase(small, "streaming");
    expect(await cutoverOnceOpen(small)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, "acme")).toEqual([]);
  });

  test("an abort of the other move takes its rows out of the way", async () => {
    await big.act("pause");
    const ids = await firstOrders("ACME", 3);
    await give(ids, "acme");
    await waits(small);
    await big.act("abort");
    await phase(big, "aborted");
    await expect.poll(() => differences(world, "acme"), PATIENT).toEqual([]);
    expect(await small.status()).toMatchObject({ phase: "streaming", alarms: [], problem: null });
    // A lane that is gone takes nothing away any more.
    const insert = `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES ('clash', ?, 'z', 1)`;
    await world.admin.b.query(insert, ["ACME"]);
    await world.admin.a.query(insert, ["acme"]);
    expect((await phase(small, "failed")).problem).toMatchObject({ code: "GUARD_FOREIGN_ROW" });
  });

  test("W4: what a recopy leaves out of the log is not waited for", async () => {
    const orders = `${world.schema}.orders`;
    const ids = await firstOrders("ACME", 3);
    await small.act("pause");
    await give(ids, "acme");
    await driver.dray.service.recopy("small", orders, CALLER);
    // Nothing of the table is covered yet: that the rows went back stands in the other lane's log alone.
    await give(ids, "ACME");
    await expect.poll(() => differences(world, "ACME"), PATIENT).toEqual([]);
    await small.act("resume");
    await phase(small, "streaming");
    await phase(big, "streaming");
    await expectBothArrived();
    expect(await ownersAtTarget(ids)).toEqual(ids.map(() => "ACME"));
  });

  const { seed, runs } = plannedRuns(1);
  test.each(Array.from({ length: runs }, (_, i) => seed + i))(
    "while rows pass all the time, every row ends with the tenant that has it at the source (SEED=%i)",
    async (each) => {
      await repeatable(each, () => twoMoves({ a, b }, each));
    },
    400_000,
  );
});
