import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { drain, NEVER, Replay, StreamHarness, stopOf } from "../contracts/mysql-stream.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

// What @vlasky/zongji 0.9.0 by itself would lose, repeat, print or die of.
const DDL = [
  "CREATE TABLE orders (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, doc JSON, KEY (tenant, id))",
];

describeWithMysql("traps of zongji", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, { orders: "tenant" });
  });
  afterAll(() => harness?.close());

  test("it warns once of a TRANSACTION_PAYLOAD and goes on without its rows: ours opens it, resuming inside too", async () => {
    const connector = harness.connector();
    const source = harness.lane("zipped");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    await sql.run("SET SESSION binlog_transaction_compression = ON");
    await sql.run("START TRANSACTION");
    for (let i = 0; i < 40; i++) {
      await sql.run(
        `INSERT INTO orders (tenant, doc) VALUES ('zipped', JSON_OBJECT('i', ${i}, 'x', REPEAT('y', 50000)))`,
      );
    }
    await sql.run("COMMIT");
    const slices = (await drain(connector, feed, source)).filter((event) => event.type === "changes");
    expect(slices.length).toBeGreaterThan(2);
    const [first] = slices;
    if (!first) throw new Error("no slice");
    const replay = new Replay(harness.tables);
    replay.apply([first]);
    const again = harness.connector();
    replay.apply(await drain(again, await again.attach(source, first.position, 2, NEVER), source));
    expect(replay.rows).toEqual(await harness.rowsBySql("zipped"));
    await again.close();
    await connector.close();
  });

  test("it goes on after PARTIAL_UPDATE_ROWS without the row: ours stops the lane", async () => {
    const connector = harness.connector();
    const source = harness.lane("partial");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    await sql.run(`INSERT INTO orders (tenant, doc) VALUES ('partial', JSON_OBJECT('a', 1, 'x', REPEAT('y', 200)))`);
    await sql.run("SET SESSION binlog_row_value_options = 'PARTIAL_JSON'");
    await sql.run("UPDATE orders SET doc = JSON_SET(doc, '$.a', 2) WHERE tenant = 'partial'");
    expect((await stopOf(feed)).error).toMatchObject({ code: "PARTIAL_ROW_UPDATE" });
    await connector.close();
  });

  test("it never reconnects: ours does, and neither loses nor repeats", async () => {
    const connector = harness.connector();
    const source = harness.lane("killed");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    const replay = new Replay(harness.tables);
    for (let round = 0; round < 3; round++) {
      await sql.run("INSERT INTO orders (tenant) VALUES ('killed'), ('killed')");
      const connects = feed.state().connects;
      await harness.killReaders();
      await sql.run("DELETE FROM orders WHERE tenant = 'killed' ORDER BY id LIMIT 1");
      replay.apply(await drain(connector, feed, source));
      await vi.waitFor(() => expect(feed.state().connects).toBeGreaterThan(connects), 10_000);
      expect(feed.state()).toMatchObject({ state: "shared", reason: null });
    }
    expect(replay.rows).toEqual(await harness.rowsBySql("killed"));
    await connector.close();
  });

  test("its server id is 1 for everybody, and the server ends the older of two: ours are unique", async () => {
    const connectors = Array.from({ length: 4 }, () => harness.connector());
    const lanes = connectors.map((_, i) => harness.lane(`many${i}`));
    const feeds = await Promise.all(
      connectors.map((connector, i) => connector.attach(lanes[i] ?? harness.lane("x"), null, 1, NEVER)),
    );
    for (let round = 0; round < 3; round++) {
      await Promise.all(connectors.map((connector, i) => drainAt(connector, i)));
    }
    async function drainAt(connector: (typeof connectors)[number], i: number) {
      const [feed, lane] = [feeds[i], lanes[i]];
      if (feed && lane) await drain(connector, feed, lane);
    }
    for (const feed of feeds) expect(feed.state().connects).toBe(1);
    await Promise.all(connectors.map((connector) => connector.close()));
  });

  test("a tagged GTID is resumed behind, and read exactly", async () => {
    const connector = harness.connector();
    const source = harness.lane("tagged");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    await sql.run("SET SESSION GTID_NEXT = 'AUTOMATIC:blue'");
    await sql.run("INSERT INTO orders (tenant) VALUES ('tagged')");
    await sql.run("INSERT INTO orders (tenant) VALUES ('tagged')");
    const events = await drain(connector, feed, source);
    const [first, second] = events.filter((event) => event.type === "changes");
    expect(first?.transaction).toMatch(/:blue:\d+$/);
    expect(Math.abs((first?.committedAtMs ?? 0) - Date.now())).toBeLessThan(600_000);
    if (!first || !second) throw new Error("no changes");
    const again = harness.connector();
    const taken = await drain(again, await again.attach(source, first.position, 2, NEVER), source);
    expect(taken.flatMap((event) => (event.type === "changes" ? [event.transaction] : []))).toEqual([
      second.transaction,
    ]);
    await again.close();
    await connector.close();
  });

  test("it tells of an event that it cannot read and goes on behind it: ours reads it again, and has every row", async () => {
    await using proxy = await damagingProxy(a.port, "DAMAGE-ME");
    const connector = harness.connector({ address: { ...a, port: proxy.port } });
    const source = harness.lane("damaged");
    const feed = await connector.attach(source, null, 1, NEVER);
    const sql = await harness.client();
    const replay = new Replay(harness.tables);
    for (let i = 0; i < 3; i++) {
      await sql.run(`INSERT INTO orders (tenant, doc) VALUES ('damaged', '{"mark": "DAMAGE-ME", "n": ${i}}')`);
    }
    replay.apply(await drain(connector, feed, source));
    expect(proxy.damaged()).toBe(1);
    expect(feed.state().connects).toBeGreaterThan(1);
    expect(replay.rows.size).toBe(3);
    expect(replay.rows).toEqual(await harness.rowsBySql("damaged"));
    await connector.close();
  });

  test("the seams behind which our own decoder stands are those of the version that is pinned", async () => {
    const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    expect(JSON.parse(text)).toMatchObject({ dependencies: { "@vlasky/zongji": "0.9.0" } });
    const { default: ZongJi } = await import("@vlasky/zongji");
    const reader = new ZongJi({ ...a });
    await new Promise<void>((resolve, reject) => {
      reader.once("ready", resolve);
      reader.once("error", reject);
      reader.start({ serverId: 4_000_000_001 });
    });
    const ready = (reader as unknown as { BinlogClass?: { prototype: { binlogData?: unknown } } }).BinlogClass;
    expect(typeof ready?.prototype.binlogData).toBe("function");
    await new Promise<void>((resolve) => {
      reader.once("stopped", resolve);
      reader.stop();
    });
  });

  test("nothing of it is printed, and a wrong password is said once and not tried again", async () => {
    const printed = [vi.spyOn(console, "error"), vi.spyOn(console, "warn"), vi.spyOn(console, "log")];
    const connector = harness.connector({ address: { ...a, password: "wrong" } });
    await expect(connector.attach(harness.lane("nobody"), null, 1, NEVER)).rejects.toMatchObject({
      code: "MYSQL_ACCESS_DENIED",
    });
    await connector.close();
    for (const spy of printed) {
      expect(spy).not.toHaveBeenCalled();
      spy.mockRestore();
    }
  });
});

/** Passes everything on, but for one byte of the first answer that holds the text. */
async function damagingProxy(port: number, text: string) {
  let damaged = 0;
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => {
      const at = damaged === 0 ? bytes.indexOf(text) : -1;
      if (at >= 0) {
        damaged++;
        bytes[at] = 0x58;
      }
      client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    damaged: () => damaged,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
