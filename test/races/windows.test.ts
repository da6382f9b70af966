import { afterEach, expect, test } from "vitest";
import type { LogLine } from "../../cutover/move-service.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "../whole/world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "../whole/world/driver.ts";
import { World } from "../whole/world/world.ts";

const TENANT = "acme";

/*
 * A row changes at the worst moment: after its chunk was read and before `high`. The stream has brought the change to
 * the log before the chunk gets there, so the chunk must leave the row out.
 */
describeWithMysql("W1, W3: a chunk and the changes of its window", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;

  async function open(probe: Probe): Promise<void> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    const config = world.config(world.installation());
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe });
  }

  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  async function headers(): Promise<LogLine[]> {
    const query = { lane: null, afterSeq: 0, limit: 10_000, bodies: false };
    const caller = { by: "test", role: "admin" as const };
    const lines: LogLine[] = [];
    for await (const line of driver.dray.service.log("it", query, caller, AbortSignal.timeout(30_000)))
      lines.push(line);
    return lines;
  }

  test("W1: what changes between the read and high is left out, and arrives as it is", async () => {
    let turn = 0;
    await open(async (name, facts) => {
      if (name !== "capture.after-chunk-read" || facts?.["table"] !== `${world.schema}.orders` || turn > 0) return;
      turn++;
      const own = `WHERE tenant_id = 'acme' AND CAST(tenant_id AS BINARY) = 'acme' ORDER BY id LIMIT 1`;
      const { a: source } = world.admin;
      await source.query(`UPDATE ${world.schema}.orders SET note = 'newer', stamp = -1 ${own}`);
      await source.query(`DELETE FROM ${world.schema}.orders WHERE tenant_id = 'acme' AND customer = 'old 5'
        AND CAST(tenant_id AS BINARY) = 'acme'`);
      await source.query(`UPDATE ${world.schema}.orders SET tenant_id = 'ACME' WHERE customer = 'old 7'
        AND CAST(tenant_id AS BINARY) = 'acme'`);
      await source.query(`UPDATE ${world.schema}.orders SET tenant_id = 'acme' WHERE customer = 'old 9'
        AND CAST(tenant_id AS BINARY) = 'ACME'`);
      await source.query(`UPDATE ${world.schema}.orders SET id = id + 2000000 WHERE customer = 'old 11'
        AND CAST(tenant_id AS BINARY) = 'acme'`);
    });
    await driver.start(TENANT);
    await phase(driver, "streaming");
    expect(turn).toBe(1);
    const chunks = (await headers()).flatMap(({ tables }) => tables[`${world.schema}.orders`] ?? []);
    expect(chunks.join("; ")).toMatch(/[1-9]\d* left out/);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("W3: every range is announced in the log before its chunk, and changes behind the announcement are kept", async () => {
    const touched = new Set<string>();
    await open(async (name, facts) => {
      // Announced and not read yet: whatever drops this change loses it only if the read misses it too.
      const table = String(facts?.["table"] ?? "").replace(/^.*\./, "");
      if (name !== "capture.after-range" || touched.has(table)) return;
      touched.add(table);
      const column = table === "tenants" ? "id" : "tenant_id";
      await world.admin.a.query(
        `UPDATE ${world.schema}.\`${table}\` SET stamp = stamp + 1 WHERE CAST(${column} AS CHAR) COLLATE utf8mb4_bin = 'acme'`,
      );
    });
    await driver.start(TENANT);
    await phase(driver, "streaming");
    expect(touched.size).toBe(5);
    const announced = new Map<string, number>();
    let chunks = 0;
    let changes = 0;
    for (const { kind, tables } of await headers()) {
      const [table = ""] = Object.keys(tables);
      if (kind === "range") announced.set(table, (announced.get(table) ?? 0) + 1);
      if (kind === "changes") changes++;
      if (kind !== "chunk") continue;
      chunks++;
      const left = (announced.get(table) ?? 0) - 1;
      expect(left, `${table} was announced before its chunk`).toBeGreaterThanOrEqual(0);
      announced.set(table, left);
    }
    expect(chunks).toBeGreaterThanOrEqual(9);
    expect(changes).toBeGreaterThan(0);
    expect(await cutoverOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  });
});
