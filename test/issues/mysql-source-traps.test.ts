import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MysqlSourceControl } from "../../connectors/mysql/source-control.ts";
import type { SourceEvent } from "../../pipeline/source.ts";
import { drain, NEVER, Replay, StreamHarness, until } from "../contracts/mysql-stream.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const DDL = [
  "CREATE TABLE parents (id INT NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, KEY (tenant, id))",
  `CREATE TABLE children (id INT NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, parent INT NULL, KEY (tenant, id),
     FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE SET NULL)`,
  "CREATE TABLE mixed (code VARCHAR(20) NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, note TEXT, KEY (tenant, code))",
  "CREATE TABLE stamped (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, KEY (tenant, id))",
];
const PRODUCT = resolve(import.meta.dirname, "../..");

/** What MySQL 9.7 was found to do under a reader of its history, each beside what Drayage makes of it. */
describeWithMysql("traps of MySQL as a source", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, {
      parents: "tenant",
      children: "tenant",
      mixed: "tenant",
      stamped: "tenant",
    });
  });
  afterAll(() => harness?.close());

  test("M2, W1: an event may be read before its commit is visible; behind a mark, everything before it is", async () => {
    const connector = harness.connector();
    const source = harness.lane("racing");
    const feed = await connector.attach(source, null, 1, NEVER);
    const writing = { isOver: false };
    const writers = Array.from({ length: 6 }, async () => {
      const client = await harness.client();
      while (!writing.isOver) await client.run("INSERT INTO stamped (tenant) VALUES ('racing')");
    });
    const reader = await harness.client();
    const replay = new Replay(harness.tables);
    for (let round = 0; round < 60; round++) {
      // W1: the mark's commit has been answered; then, and not before, the range is read.
      const low = await connector.mark(source.lane, 1, "low", NEVER);
      const rows = await reader.query("SELECT HEX(CAST(id AS CHAR)) AS id FROM stamped WHERE tenant = 'racing'");
      const visible = new Set(rows.map((row) => `${harness.schema}.stamped|${row["id"]?.toLowerCase()}`));
      const events = await until(feed, low.nonce);
      replay.apply(upToMark(events, low.nonce));
      const missing = [...replay.rows.keys()].filter((key) => !visible.has(key));
      expect(missing, `round ${round}`).toEqual([]);
      replay.apply(behindMark(events, low.nonce));
    }
    writing.isOver = true;
    await Promise.all(writers);
    expect(replay.rows.size).toBeGreaterThan(60);
    await connector.close();
  });

  test("W1, T1: an open change that the collation does not see hides the row from a condition pushed to the index, not from a chunk", async () => {
    const connector = harness.connector();
    const source = harness.lane("icp");
    const app = await harness.client();
    await app.run(
      "INSERT INTO mixed VALUES ('Ann', 'icp', 'x'), ('Bob', 'icp', 'x'), ('Cid', 'icp', 'x'), ('Dot', 'ICP', 'x')",
    );
    await app.run("START TRANSACTION");
    await app.run("UPDATE mixed SET tenant = 'ICP' WHERE code = 'Ann'");
    await app.run("UPDATE mixed SET code = 'BOB', tenant = 'ICP' WHERE code = 'Bob'");
    await app.run("UPDATE mixed SET tenant = 'icp' WHERE code = 'Dot'");
    // Nothing of it is committed, so every reader should see 'icp' in three rows.
    const pushed = await harness.client();
    await pushed.run("SET SESSION optimizer_switch = 'index_condition_pushdown=on'");
    const [seen] = await pushed.query(
      `SELECT COUNT(note) AS n FROM mixed FORCE INDEX (tenant)
       WHERE tenant = 'icp' AND CAST(tenant AS BINARY) = _binary 'icp' AND code > 'a'`,
    );
    expect(Number(seen?.["n"])).toBeLessThan(3);
    const table = `${harness.schema}.mixed`;
    const range = { table, pass: 0, after: null, upTo: null, announces: "end" as const };
    await connector.attach(source, null, 1, NEVER);
    const chunk = (await connector.readRange(source, range, NEVER)).encode(new Set());
    expect(Buffer.from(chunk.body).toString()).toBe("Ann\ticp\tx\nBob\ticp\tx\nCid\ticp\tx\n");
    expect((await connector.countRows(source, NEVER))[table]).toBe(3);
    await app.run("ROLLBACK");
    await connector.close();
  });

  test("A9: cascades are rows in the binlog of 9.7, and reach the lane as the changes they are", async () => {
    const connector = harness.connector();
    const source = harness.lane("casc");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    await sql.run("INSERT INTO parents VALUES (1, 'casc'), (2, 'casc')");
    await sql.run("INSERT INTO children VALUES (10, 'casc', 1), (11, 'casc', 1), (12, 'casc', 2)");
    await sql.run("DELETE FROM parents WHERE id = 1");
    await sql.run("UPDATE parents SET id = 3 WHERE id = 2");
    const replay = new Replay(harness.tables);
    replay.apply(await drain(connector, feed, source));
    expect(replay.rows).toEqual(await harness.rowsBySql("casc"));
    expect([...replay.rows.values()].filter((row) => row.endsWith("NULL"))).toHaveLength(1);
    await connector.close();
  });

  test("C3: a prepared XA transaction holds ALTER SCHEMA for a year by default: the fence gives up in its own time", async () => {
    // READ ONLY is for a schema that is one tenant's alone.
    const own = await StreamHarness.open(a, DDL, { stamped: "tenant" });
    const sql = await own.client();
    const [variable] = await sql.query("SELECT @@GLOBAL.lock_wait_timeout AS seconds");
    expect(Number(variable?.["seconds"])).toBe(365 * 24 * 3600);
    const xid = `'${own.schema}'`;
    for (const text of [`XA START ${xid}`, "INSERT INTO stamped (tenant) VALUES ('xa')", `XA END ${xid}`]) {
      await sql.run(text);
    }
    await sql.run(`XA PREPARE ${xid}`);
    const control = new MysqlSourceControl({ address: a, draySchema: own.draySchema });
    const { schema, tables } = own;
    const fence = control.schemaFence({ schema, tenant: "xa", tables, ownedByTenant: "yes", waitSeconds: 1 });
    await expect(fence.fence(NEVER)).rejects.toMatchObject({ code: "FENCE_BLOCKED" });
    expect(await fence.isFenced(NEVER)).toBe(false);
    // M7: InnoDB knows it by thread 0 once its session is gone; it is found and named all the same.
    await sql.close();
    await expect
      .poll(async () => (await control.blockers(tables, NEVER)).map(({ prepared, sessionId }) => [prepared, sessionId]))
      .toEqual([["yes", null]]);
    await own.sql.run(`XA ROLLBACK ${xid}`);
    await control.close();
    await own.close();
  });

  test("MD5() and SHA1() are gone, as is SHOW MASTER STATUS: nothing of ours calls them on such a server", async () => {
    for (const sql of ["SELECT MD5('x')", "SELECT SHA1('x')", "SHOW MASTER STATUS"]) {
      await expect(harness.sql.query(sql), sql).rejects.toMatchObject({ code: "MYSQL_REFUSED" });
    }
    const files = globSync("{pipeline,connectors,sinks,cutover,console,cli}/**/*.ts", { cwd: PRODUCT });
    expect(files.length).toBeGreaterThan(100);
    for (const file of files) {
      const calls = readFileSync(join(PRODUCT, file), "utf8").match(/\b(MD5|SHA1|SHA)\(|SHOW MASTER STATUS/g) ?? [];
      // Preflight asks older servers, which know no other way.
      expect(calls, file).toEqual(file.endsWith("preflight/server-facts.ts") ? ["SHOW MASTER STATUS"] : []);
    }
  });
});

function placeOf(events: readonly SourceEvent[], nonce: string): number {
  return events.findIndex((event) => event.type === "mark" && event.mark.nonce === nonce);
}

function upToMark(events: readonly SourceEvent[], nonce: string): readonly SourceEvent[] {
  return events.slice(0, placeOf(events, nonce));
}

function behindMark(events: readonly SourceEvent[], nonce: string): readonly SourceEvent[] {
  return events.slice(placeOf(events, nonce));
}
