import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { drain, NEVER, Replay, StreamHarness } from "./mysql-stream.ts";

const DDL = [
  `CREATE TABLE orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, note VARCHAR(200) NULL,
    amount DECIMAL(12,2) NOT NULL DEFAULT 0, at DATETIME(6) NULL, KEY (tenant, id))`,
  `CREATE TABLE items (
    tenant VARCHAR(40) NOT NULL, sku VARBINARY(20) NOT NULL, qty INT NOT NULL, PRIMARY KEY (tenant, sku))`,
  "CREATE TABLE blobs (id INT NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, body LONGBLOB, KEY (tenant, id))",
];
const TABLES = { orders: "tenant", items: "tenant", blobs: "tenant" };

describeWithMysql("a MySQL stream", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, TABLES);
  });
  afterAll(() => harness?.close());

  test("M5: the first event is the start mark, and nothing before it is the lane's", async () => {
    await harness.sql.run("INSERT INTO orders (tenant, note) VALUES ('early', 'before')");
    const connector = harness.connector();
    const source = harness.lane("early");
    const feed = await connector.attach(source, null, 1, NEVER);
    await harness.sql.run("INSERT INTO orders (tenant, note) VALUES ('early', 'after')");
    const events = await drain(connector, feed, source);
    expect(events[0]).toMatchObject({ type: "mark", mark: { kind: "start", scope: source.lane, epoch: 1 } });
    expect(events.filter((event) => event.type === "changes").flatMap((event) => event.changes)).toHaveLength(1);
    expect(feed.state()).toMatchObject({ state: "shared", connects: 1, reason: null });
    await connector.close();
  });

  test("T1, W3: replaying a tenant's events gives exactly its rows, whatever neighbours do", async () => {
    const connector = harness.connector();
    const sources = ["acme", "ACME"].map((tenant) => harness.lane(tenant));
    const feeds = await Promise.all(sources.map((source) => connector.attach(source, null, 1, NEVER)));
    const sql = await harness.client();
    await sql.run("INSERT INTO orders (tenant, note) VALUES ('acme','1'),('ACME','2'),('other','3'),('acme',NULL)");
    await sql.run("UPDATE orders SET tenant = 'ACME' WHERE note = '1'"); // leaves one, joins the other
    await sql.run("UPDATE orders SET tenant = 'acme' WHERE note = '3'"); // joins from a stranger
    await sql.run("UPDATE orders SET id = id + 1000000 WHERE tenant = 'acme'"); // key change
    await sql.run("INSERT INTO items VALUES ('acme', x'00ff', 1), ('acme', x'01', 2), ('ACME', x'02', 3)");
    await sql.run("UPDATE items SET qty = qty + 1");
    await sql.run("START TRANSACTION");
    await sql.run("DELETE FROM items WHERE sku = x'01'");
    await sql.run("SAVEPOINT s");
    await sql.run("INSERT INTO items VALUES ('acme', x'77', 9)");
    await sql.run("ROLLBACK TO s");
    await sql.run("INSERT INTO items VALUES ('acme', x'78', 9)");
    await sql.run("COMMIT");
    await sql.run("START TRANSACTION");
    await sql.run("DELETE FROM orders");
    await sql.run("ROLLBACK");
    for (const [i, source] of sources.entries()) {
      const feed = feeds[i];
      if (!feed) throw new Error("no feed");
      const replay = new Replay(harness.tables);
      replay.apply(await drain(connector, feed, source));
      expect(replay.rows).toEqual(await harness.rowsBySql(source.tenant));
      expect(replay.rows.size).toBeGreaterThan(1);
    }
    await connector.close();
  });

  test("M4: after any slice the lane goes on exactly behind it", async () => {
    const connector = harness.connector();
    const source = harness.lane("slices");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    await sql.run("START TRANSACTION");
    const filler = "y".repeat(40_000);
    for (let i = 0; i < 60; i++) await sql.run(`INSERT INTO blobs VALUES (${i}, 'slices', '${filler}${i}')`);
    await sql.run("UPDATE blobs SET body = CONCAT(body, 'z') WHERE tenant = 'slices' AND id % 2 = 0");
    await sql.run("COMMIT");
    await sql.run("DELETE FROM blobs WHERE tenant = 'slices' AND id > 50");
    const events = await drain(connector, feed, source);
    const slices = events.filter((event) => event.type === "changes");
    expect(slices.length).toBeGreaterThan(5);
    for (const slice of slices) expect(slice.bytes).toBeLessThanOrEqual(512 * 1024);
    expect(slices.filter((slice) => slice.endsTransaction)).toHaveLength(2);
    const expected = await harness.rowsBySql("slices");
    for (let cut = 0; cut < slices.length; cut++) {
      const position = slices[cut]?.position;
      if (!position) throw new Error("no slice");
      const replay = new Replay(harness.tables);
      replay.apply(slices.slice(0, cut + 1));
      const again = harness.connector();
      const feedAgain = await again.attach(source, position, 2, NEVER);
      replay.apply(await drain(again, feedAgain, source));
      expect(replay.rows).toEqual(expected);
      await again.close();
    }
    await connector.close();
  });

  describe("a session's own binlog settings", () => {
    test("M8: a compressed transaction is opened, and its rows are taken with their GTID", async () => {
      const connector = harness.connector();
      const source = harness.lane("zipped");
      const feed = await connector.attach(source, null, 1, NEVER);
      const sql = await harness.client();
      await sql.run("SET SESSION binlog_transaction_compression = ON");
      await sql.run("START TRANSACTION");
      for (let i = 0; i < 20; i++) {
        await sql.run(`INSERT INTO orders (tenant, note) VALUES ('zipped', 'n${i}'), ('stranger', 'n${i}')`);
      }
      await sql.run("COMMIT");
      await sql.run("UPDATE orders SET amount = 7.5 WHERE tenant = 'zipped'");
      const replay = new Replay(harness.tables);
      replay.apply(await drain(connector, feed, source));
      expect(replay.rows).toEqual(await harness.rowsBySql("zipped"));
      expect(replay.changes).toBe(40);
      await connector.close();
    });
  });
});
