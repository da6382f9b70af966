import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type ApplicationHandle, startApplication } from "../../demo/children.ts";
import { connect, type ServerAddress } from "../../demo/mysql.ts";
import { type Side, TABLES, TARGET_TENANTS } from "../../demo/schema.ts";
import { seedSide } from "../../demo/seed.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const TENANT = "acme";
/** `fence.grace` of the demo's manifest. */
const FENCE_GRACE_MS = 100;
const PATIENT = { timeout: 30_000, interval: 20 };

/** What the fence's grace rests on: the application never commits on an answer of the router older than 50 ms. */
describeWithMysql("the demo's application", (mysql) => {
  const schema = `shop_pace_${process.pid}`;
  const router = { delayMs: 0, fenced: false };
  const server = createServer((request, response) => {
    const tenant = new URL(request.url ?? "/", "http://router").searchParams.get("tenant") ?? "";
    const side: Side = TARGET_TENANTS.includes(tenant) ? "target" : "source";
    const { delayMs, fenced } = router;
    setTimeout(() => response.end(JSON.stringify({ side, fenced })), delayMs);
  });
  const addresses = { source: { ...mysql.a, schema }, target: { ...mysql.b, schema } };
  let folder: string;
  let application: ApplicationHandle;

  const tenant = async () => {
    const stats = (await application.stats()).tenants[TENANT];
    if (stats === undefined) throw new Error(`the application does not know ${TENANT}`);
    return stats;
  };
  const acknowledged = async () => (await tenant()).acknowledged.source;
  const goesOn = async () => {
    const before = await acknowledged();
    await vi.waitFor(async () => expect(await acknowledged()).toBeGreaterThan(before + 20), PATIENT);
  };
  const sql = async (address: ServerAddress, text: string) => {
    const connection = await connect(address, { inSchema: "not yet" });
    await connection.query(text).finally(() => connection.end());
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "demo-application-"));
    for (const side of ["source", "target"] as const) {
      await seedSide({ address: addresses[side], side, rows: 2000, seed: 3 });
    }
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    application = await startApplication({
      ...addresses,
      routerUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      ledgerFile: join(folder, "ledger"),
      tps: 100,
      seed: 3,
      focus: TENANT,
    });
  });
  afterAll(async () => {
    await application?.stop();
    server.closeAllConnections();
    server.close();
    for (const address of Object.values(addresses)) await sql(address, `DROP DATABASE IF EXISTS ${schema}`);
    rmSync(folder, { recursive: true, force: true });
  });

  test("C: it rolls back where the router's answer is too old, and goes on when answers are fresh again", async () => {
    await goesOn();
    router.delayMs = 80;
    // Whoever was answered before the change has ended.
    const begun = (await tenant()).staleRollbacks;
    await vi.waitFor(async () => expect((await tenant()).staleRollbacks).toBeGreaterThan(begun + 20), PATIENT);
    const before = await tenant();
    await vi.waitFor(
      async () => expect((await tenant()).staleRollbacks).toBeGreaterThan(before.staleRollbacks + 20),
      PATIENT,
    );
    expect(await acknowledged()).toBe(before.acknowledged.source);
    router.delayMs = 0;
    await goesOn();
  });

  test("C: a transaction that began before the fence and is late is not committed", async () => {
    await goesOn();
    const holder = await connect(addresses.source);
    await holder.query(`LOCK TABLES ${TABLES.map((table) => `${table} WRITE`).join(", ")}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    router.fenced = true;
    // Within the grace an answer from before the fence still counts; behind it none does.
    await new Promise((resolve) => setTimeout(resolve, FENCE_GRACE_MS));
    const before = await tenant();
    await holder.end();
    await vi.waitFor(async () => expect((await tenant()).refused).toBeGreaterThan(before.refused + 20), PATIENT);
    expect(await acknowledged()).toBe(before.acknowledged.source);
    router.fenced = false;
    await goesOn();
  });
});
