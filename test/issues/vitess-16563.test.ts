import { setTimeout as sleep } from "node:timers/promises";
import { type Connection, createConnection } from "mysql2/promise";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "../whole/world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const TENANT = "acme";

/*
 * vitessio/vitess 16563. Switching traffic denied new writes, noted the source's position, and only then waited for the
 * writes that had been let through before. It caught up with the position it had noted: whatever those last writers
 * committed lay behind it and stayed at the old home, acknowledged and lost. Here the order is fence, wait for writers,
 * S1 in the stream, and S2 after the pin with proof that nothing came between; so each last writer's row must arrive.
 */
describeWithMysql("vitess 16563: writers that were let through before the fence", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let onProbe: (name: ProbeName) => void = () => {};
  const writers: Connection[] = [];

  beforeEach(async () => {
    onProbe = () => {};
    world = await World.create({
      servers: { a, b },
      kind: "text",
      homes: { acme: "a", delta: "b" },
      rows: 30,
      workers: 1,
    });
    const config = world.config(world.installation());
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
    await driver.start(TENANT);
    await phase(driver, "streaming");
  });
  afterEach(async () => {
    for (const writer of writers.splice(0)) writer.destroy();
    await driver?.close();
    await world?.close();
  });

  /** An application's transaction that has written already, and has not been answered yet. */
  async function openWriter(code: string): Promise<Connection> {
    const writer = await createConnection({ ...a });
    writers.push(writer);
    await writer.query("START TRANSACTION");
    await writer.query(
      `INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES (?, ?, 'let through', 1)`,
      [code, TENANT],
    );
    return writer;
  }

  async function arrived(): Promise<readonly string[]> {
    const [rows] = await world.admin.b.query(
      `SELECT code FROM ${world.schema}.documents WHERE body = 'let through' ORDER BY code`,
    );
    return (rows as { code: string }[]).map(({ code }) => code);
  }

  test("C: a transaction that commits after the fence, before its position is taken, is in the target", async () => {
    const [first, second] = [await openWriter("first"), await openWriter("second")];
    const committed: string[] = [];
    let committedBeforeS1: readonly string[] = [];
    let committing = Promise.resolve();
    const commitLate = async () => {
      for (const [name, writer] of [
        ["first", first],
        ["second", second],
      ] as const) {
        await sleep(150);
        await writer.query("COMMIT");
        committed.push(name);
      }
    };
    onProbe = (name) => {
      if (name === "cutover.after-fence") committing = commitLate();
      if (name === "cutover.after-quiesce") committedBeforeS1 = [...committed];
    };
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await committing;
    // S1 is not sent while one of them is open.
    expect(committedBeforeS1).toEqual(["first", "second"]);
    expect(await arrived()).toEqual(["first", "second"]);
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("C11: one that does not end in time aborts the attempt: it is never left behind", async () => {
    const late = await openWriter("late");
    const refused = await driver.cutover({ maxPauseMs: 1_000 });
    expect(refused.outcome === "aborted" || refused.outcome === "refused").toBe(true);
    expect(await world.homeOf(TENANT)).toEqual({ home: "a", mayWrite: true });
    await late.query("COMMIT");
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await arrived()).toEqual(["late"]);
  });
});
