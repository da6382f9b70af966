import type { Connection } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { discoverTables } from "../../connectors/mysql/discover-tables.ts";
import { readTables } from "../../connectors/mysql/schema-reader.ts";
import { MysqlSourceControl } from "../../connectors/mysql/source-control.ts";
import { openServers, type Servers } from "../../docker/servers.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { connect } from "./preflight-system.ts";

const signal = AbortSignal.timeout(300_000);

describeWithOwnServers("who may still write to covered tables", ["mysql"], () => {
  let servers: Servers;
  let address: MysqlAddress;
  let control: MysqlSourceControl;
  let covered: readonly CoveredTable[];
  let admin: Connection;
  const opened: Connection[] = [];

  const session = async (): Promise<Connection> => {
    const connection = await connect(address);
    opened.push(connection);
    return connection;
  };
  const names = async () => (await control.blockers(covered, signal)).map((blocker) => blocker.tables.join());
  const quiesce = (withinMs: number) =>
    control.quiesce(covered, { deadlineMs: systemClock.monotonicMs() + withinMs, signal });

  beforeAll(async () => {
    servers = await openServers();
    address = await servers.mysql({ name: "quiesce" });
    admin = await connect(address);
    await admin.query("CREATE SCHEMA app");
    for (const table of ["orders", "users", "neighbour"]) {
      await admin.query(
        `CREATE TABLE app.${table} (id INT PRIMARY KEY, tenant_id VARCHAR(20) NOT NULL, v INT, KEY (tenant_id))`,
      );
      await admin.query(`INSERT INTO app.${table} VALUES (1, 'acme', 1), (2, 'birch', 1), (3, 'acme', 1)`);
    }
    const reader = await connectMysql(address, { side: "source" });
    const column = { kind: "column", column: "tenant_id" } as const;
    covered = discoverTables(
      [
        {
          source: "app",
          target: "app",
          tables: [
            { name: "orders", belonging: column },
            { name: "users", belonging: column },
          ],
        },
      ],
      new Map([["app", await readTables(reader, "app")]]),
      "source",
    ).tables;
    await reader.close();
    control = new MysqlSourceControl({ address, draySchema: "dray" });
  });
  afterEach(async () => {
    for (const connection of opened.splice(0)) connection.destroy();
    const [prepared] = await admin.query("XA RECOVER");
    for (const { data } of prepared as { data: string }[]) await admin.query(`XA ROLLBACK '${data}'`);
    while ((await names()).length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });
  afterAll(async () => {
    await control?.close();
    await admin?.end();
    await servers?.close();
  });

  test("C11: an open writer is named with session, account, age and tables", async () => {
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("UPDATE app.orders SET v = 2 WHERE id = 1");
    await writer.query("UPDATE app.users SET v = 2 WHERE id = 1");
    const [blocker, ...others] = await control.blockers(covered, signal);
    expect(others).toEqual([]);
    expect(blocker).toMatchObject({ sessionId: writer.threadId, account: "root", prepared: "no", xid: null });
    expect([...(blocker?.tables ?? [])].sort()).toEqual(["app.orders", "app.users"]);
    expect(blocker?.ageSeconds).toBeLessThan(60);
  });

  test("C11: a neighbour's statement with a character of four bytes does not blind the gate", async () => {
    const neighbour = await session();
    await neighbour.query("BEGIN");
    await neighbour.query("UPDATE app.neighbour SET v = 5 WHERE id = 2");
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("UPDATE app.orders SET v = 6 WHERE id = 1");
    const asleep = neighbour.query("SELECT SLEEP(3), '\u{1F69A}' AS van FROM app.neighbour WHERE id = 2");
    asleep.catch(() => {}); // its session is destroyed when the test ends
    await expect
      .poll(
        async () =>
          (await admin.query("SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_STATE = 'User sleep'"))[0],
      )
      .toHaveLength(1);
    await expect(admin.query("SELECT COUNT(*) FROM information_schema.INNODB_TRX")).rejects.toMatchObject({
      errno: 3854,
    });
    expect(await names()).toEqual(["app.orders"]);
  });

  test("C11: the age is that of the transaction, not of its last statement", async () => {
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("UPDATE app.orders SET v = 7 WHERE id = 1");
    await new Promise((resolve) => setTimeout(resolve, 2_200));
    await writer.query("SELECT 1");
    const [blocker] = await control.blockers(covered, signal);
    expect(blocker?.ageSeconds).toBeGreaterThanOrEqual(2);
  });

  test("C11: readers, neighbours' tables and Drayage's own sessions are not waited for; a locking reader is", async () => {
    const reader = await session();
    await reader.query("BEGIN");
    await reader.query("SELECT * FROM app.orders");
    const neighbour = await session();
    await neighbour.query("BEGIN");
    await neighbour.query("UPDATE app.neighbour SET v = 3 WHERE id = 1");
    const own = await connectMysql(address, { side: "sink" });
    await own.run("BEGIN");
    await own.run("UPDATE app.orders SET v = 4 WHERE id = 3");
    expect(await names()).toEqual([]);
    expect(await quiesce(1_000)).toEqual([]);
    await own.run("ROLLBACK");
    await own.close();

    const locking = await session();
    await locking.query("BEGIN");
    await locking.query("SELECT * FROM app.orders WHERE id = 2 FOR UPDATE");
    expect(await names()).toEqual(["app.orders"]);
  });

  test("quiesce waits for the transactions it listed, and for no later ones of the same sessions", async () => {
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("UPDATE app.orders SET v = 5 WHERE id = 1");
    const waiting = quiesce(20_000);
    let over = false;
    waiting.then(
      () => {
        over = true;
      },
      () => {},
    );
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(over).toBe(false);
    await writer.query("COMMIT");
    // At once the next one, for another tenant, on the same session and table.
    await writer.query("BEGIN");
    await writer.query("UPDATE app.orders SET v = 5 WHERE id = 2");
    const listed = await waiting;
    expect(listed.map((blocker) => blocker.sessionId)).toEqual([writer.threadId]);
    expect(await names()).toEqual(["app.orders"]);
  });

  test("a transaction that gives its lock back by a savepoint is not over", async () => {
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("SAVEPOINT s");
    await writer.query("UPDATE app.orders SET v = 6 WHERE id = 1");
    const waiting = quiesce(20_000);
    let over = false;
    waiting.then(
      () => {
        over = true;
      },
      () => {},
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    await writer.query("ROLLBACK TO SAVEPOINT s");
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(over).toBe(false);
    await writer.query("UPDATE app.orders SET v = 6 WHERE id = 1");
    await writer.query("COMMIT");
    await waiting;
  });

  test("past the deadline QUIESCE_TIMEOUT names who is left", async () => {
    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("DELETE FROM app.users WHERE id = 2");
    const refused = quiesce(80);
    await expect(refused).rejects.toMatchObject({ code: "QUIESCE_TIMEOUT" });
    await expect(refused).rejects.toThrow(new RegExp(`session ${writer.threadId} of root@.*app\\.users`));
  });

  test("M7: a prepared XA transaction holds, also when its session is gone; a neighbour's does not", async () => {
    const other = await session();
    await other.query("XA START 'n1'");
    await other.query("UPDATE app.neighbour SET v = 9 WHERE id = 2");
    await other.query("XA END 'n1'");
    await other.query("XA PREPARE 'n1'");
    other.destroy();
    await settled(admin, other.threadId ?? 0);
    expect(await control.blockers(covered, signal)).toEqual([]);

    const writer = await session();
    await writer.query("XA START 'x1'");
    await writer.query("UPDATE app.orders SET v = 7 WHERE id = 1");
    await writer.query("XA END 'x1'");
    await writer.query("XA PREPARE 'x1'");
    expect(await control.blockers(covered, signal)).toMatchObject([{ tables: ["app.orders"], prepared: "yes" }]);
    writer.destroy();
    await settled(admin, writer.threadId ?? 0);
    const [blocker] = await control.blockers(covered, signal);
    expect(blocker).toMatchObject({ tables: ["app.orders"], prepared: "yes", sessionId: null });
    const waiting = quiesce(20_000);
    await systemClock.sleep(500); // it has looked once by then: it waits for what it has listed
    await admin.query("XA COMMIT 'x1'");
    // While it is committed its locks pass to the session that says so, and may be seen under both.
    expect((await waiting).length).toBeGreaterThanOrEqual(1);
    expect(await names()).toEqual([]);
  });

  test("M7: a prepared XA transaction whose tables the server does not tell counts", async () => {
    const writer = await session();
    for (const [xid, id] of [
      ["u1", 1],
      ["u2", 3],
    ]) {
      await writer.query(`XA START '${xid}'`);
      await writer.query(`UPDATE app.neighbour SET v = 7 WHERE id = ${id}`);
      await writer.query(`XA END '${xid}'`);
      await writer.query(`XA PREPARE '${xid}'`);
    }
    const found = await control.blockers(covered, signal);
    expect(found.map((blocker) => blocker.xid).sort()).toEqual(["0x7531", "0x7532"]);
    expect(found.every((blocker) => blocker.tables.length === 0)).toBe(true);
  });

  test("C3: a READ ONLY schema stops every write, may be repeated, and is taken back", async () => {
    await admin.query("CREATE SCHEMA solo");
    await admin.query("CREATE TABLE solo.t (id INT PRIMARY KEY, tenant_id VARCHAR(20) NOT NULL, KEY (tenant_id))");
    await admin.query("INSERT INTO solo.t VALUES (1, 'acme')");
    const reader = await connectMysql(address, { side: "source" });
    const live = new Map([["solo", await readTables(reader, "solo")]]);
    await reader.close();
    const manifest = [
      {
        source: "solo",
        target: "solo",
        tables: [{ name: "t", belonging: { kind: "column", column: "tenant_id" } as const }],
      },
    ];
    const { tables } = discoverTables(manifest, live, "source");
    const options = { schema: "solo", tenant: "acme", tables, ownedByTenant: "yes", waitSeconds: 1 } as const;
    const fence = control.schemaFence(options);

    const writer = await session();
    await writer.query("BEGIN");
    await writer.query("INSERT INTO solo.t VALUES (2, 'acme')");
    await expect(fence.fence(signal)).rejects.toMatchObject({ code: "FENCE_BLOCKED" });
    expect(await fence.isFenced(signal)).toBe(false);
    await writer.query("COMMIT");

    await fence.fence(signal);
    await fence.fence(signal);
    expect(await fence.isFenced(signal)).toBe(true);
    await expect(writer.query("INSERT INTO solo.t VALUES (3, 'acme')")).rejects.toMatchObject({ errno: 3989 });
    await fence.unfence(signal);
    await fence.unfence(signal);
    await writer.query("INSERT INTO solo.t VALUES (3, 'acme')");

    // C4: a fence that was given up while it waited must not come down after the unfence.
    await writer.query("BEGIN");
    await writer.query("INSERT INTO solo.t VALUES (5, 'acme')");
    const patient = control.schemaFence({ ...options, waitSeconds: 60 });
    await expect(patient.fence(AbortSignal.timeout(200))).rejects.toBeDefined();
    const another = new MysqlSourceControl({ address, draySchema: "dray" });
    await another.schemaFence(options).unfence(signal);
    await writer.query("COMMIT");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await fence.isFenced(signal)).toBe(false);
    await writer.query("INSERT INTO solo.t VALUES (6, 'acme')");
    await another.close();

    await writer.query("INSERT INTO solo.t VALUES (4, 'birch')");
    await expect(fence.fence(signal)).rejects.toMatchObject({ code: "FENCE_TOO_WIDE" });
    const unsaid = control.schemaFence({ ...options, ownedByTenant: "no" });
    await expect(unsaid.fence(signal)).rejects.toMatchObject({ code: "FENCE_TOO_WIDE" });
    const own = control.schemaFence({ ...options, schema: "dray", tables: [] });
    await admin.query("CREATE SCHEMA dray");
    await expect(own.fence(signal)).rejects.toMatchObject({ code: "FENCE_TOO_WIDE" });
    const absent = control.schemaFence({ ...options, schema: "nowhere", tables: [] });
    await expect(absent.fence(signal)).rejects.toMatchObject({ code: "SCHEMA_MISSING" });
    expect(await fence.isFenced(signal)).toBe(false);
  });
});

async function settled(admin: Connection, id: number): Promise<void> {
  for (;;) {
    const [rows] = await admin.query("SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_ID = ?", [id]);
    if ((rows as unknown[]).length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
