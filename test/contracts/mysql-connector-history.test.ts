import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import type { MysqlConnector } from "../../connectors/mysql/connector.ts";
import { integerKey } from "../../connectors/mysql/key-bytes.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { Position } from "../../pipeline/entry.ts";
import type { LaneFeed } from "../../pipeline/source.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { AddressSwitch } from "../whole/world/address-switch.ts";
import { drain, NEVER, Replay, StreamHarness, stopOf, until } from "./mysql-stream.ts";

const DDL = [
  "CREATE TABLE orders (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, n INT, KEY (tenant, id))",
];

describeWithOwnServers("the history of a MySQL source (M6, M9)", ["mysql"], () => {
  let servers: Servers | undefined;
  let server: MysqlServer;
  let harness: StreamHarness | undefined;

  beforeAll(async () => {
    servers = await openServers();
    server = await servers.mysql({ name: "own" });
  });
  afterEach(async () => {
    await harness?.close();
    harness = undefined;
  });
  afterAll(() => servers?.close());

  async function open(): Promise<{ harness: StreamHarness; connector: MysqlConnector }> {
    const { host, port, user, password } = server;
    const opened = await StreamHarness.open({ host, port, user, password }, DDL, { orders: "tenant" });
    harness = opened;
    return { harness: opened, connector: opened.connector() };
  }

  /** Where a lane stands after one row, its feed closed. */
  async function standing(connector: MysqlConnector, own: StreamHarness): Promise<Position> {
    const source = own.lane("acme");
    const feed = await connector.attach(source, null, 1, NEVER);
    await own.sql.run("INSERT INTO orders (tenant, n) VALUES ('acme', 1)");
    const events = await drain(connector, feed, source);
    await feed.close();
    const last = events.at(-1);
    if (!last) throw new Error("nothing came");
    return last.position;
  }

  test("a server that is stopped and killed in the middle of a stream loses and repeats nothing", async () => {
    const { harness: own, connector } = await open();
    const source = own.lane("acme");
    const feed = await connector.attach(source, null, 1, NEVER);
    const replay = new Replay(own.tables);
    let writing = true;
    let acknowledged = 0;
    const writer = (async () => {
      while (writing) {
        try {
          const client = await own.client();
          while (writing) {
            await client.run(`INSERT INTO orders (tenant, n) VALUES ('acme', ${++acknowledged}), ('other', 1)`);
            if (acknowledged % 3 === 0)
              await client.run("UPDATE orders SET n = n + 1000 WHERE tenant = 'acme' AND id % 7 = 0");
          }
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    })();
    const stopTaking = new AbortController();
    const taking = (async () => {
      for (;;) replay.apply(await feed.next(stopTaking.signal));
    })().catch((error) => error);
    for (const how of ["kill", "graceful"] as const) {
      await new Promise((resolve) => setTimeout(resolve, 700));
      await server.stop(how);
      await vi.waitFor(() => expect(feed.state().reason).toContain(`:${server.port}`), 20_000);
      await server.start();
      await vi.waitFor(() => expect(feed.state().state).toBe("shared"), 20_000);
    }
    await new Promise((resolve) => setTimeout(resolve, 700));
    writing = false;
    await writer;
    own.sql = await own.client();
    stopTaking.abort();
    expect(await taking).toMatchObject({ name: "AbortError" });
    replay.apply(await drain(connector, feed, source));
    expect(replay.rows).toEqual(await own.rowsBySql("acme"));
    expect(replay.rows.size).toBeGreaterThan(10);
    expect(feed.state().connects).toBeGreaterThanOrEqual(3);
  });

  test("files with and without checksums are read in one stream", async () => {
    const { harness: own, connector } = await open();
    const source = own.lane("acme");
    const feed = await connector.attach(source, null, 1, NEVER);
    const insert = () => own.sql.run("INSERT INTO orders (tenant, n) VALUES ('acme', 1)");
    await insert();
    const before = await drain(connector, feed, source);
    await own.sql.run("SET GLOBAL binlog_checksum = NONE");
    await insert();
    const position = before.at(-1)?.position ?? null;
    const old = own.connector();
    const oldFeed = await old.attach(source, position, 2, NEVER);
    for (const checksum of ["CRC32", "NONE"]) {
      await own.sql.run(`SET GLOBAL binlog_checksum = ${checksum}`);
      await insert();
    }
    const third = own.connector();
    const thirdFeed = await third.attach(source, before[0]?.position ?? null, 3, NEVER);
    const changesOf = async (one: MysqlConnector, its: LaneFeed) =>
      (await drain(one, its, source)).filter((event) => event.type === "changes").length;
    expect(await changesOf(connector, feed)).toBe(3);
    expect(await changesOf(old, oldFeed)).toBe(3);
    expect(await changesOf(third, thirdFeed)).toBe(4);
    await own.sql.run("SET GLOBAL binlog_checksum = CRC32");
  });

  test("M6: a purged position fails that lane only", async () => {
    const { harness: own, connector } = await open();
    const position = await standing(connector, own);
    const other = own.lane("calm");
    const calm = await connector.attach(other, null, 1, NEVER);
    await own.sql.run("INSERT INTO orders (tenant, n) VALUES ('acme', 2)");
    await own.sql.run("FLUSH BINARY LOGS");
    await own.sql.run("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY");
    const feed = await connector.attach(own.lane("acme"), position, 2, NEVER);
    expect((await stopOf(feed)).error).toMatchObject({ code: "BINLOG_PURGED", facts: { purged: expect.any(String) } });
    await drain(connector, calm, other);
  });

  test("M6: a server that never ran what the lane has taken has diverged", async () => {
    const { harness: own, connector } = await open();
    const position = await standing(connector, own);
    await connector.close();
    await own.sql.run("RESET BINARY LOGS AND GTIDS");
    const feed = await own.connector().attach(own.lane("acme"), position, 2, NEVER);
    expect((await stopOf(feed)).error).toMatchObject({ code: "DIVERGED", facts: { missing: expect.any(String) } });
  });

  test("M6: a history written anew over the same GTIDs has diverged: the last mark is gone", async () => {
    const { harness: own, connector } = await open();
    const position = await standing(connector, own);
    await connector.close();
    await own.sql.run(`DELETE FROM ${own.draySchema}.mark`);
    await own.sql.run("RESET BINARY LOGS AND GTIDS");
    for (let i = 0; i < 200; i++) await own.sql.run("INSERT INTO orders (tenant, n) VALUES ('rewritten', 1)");
    const feed = await own.connector().attach(own.lane("acme"), position, 2, NEVER);
    expect((await stopOf(feed)).error).toMatchObject({
      code: "DIVERGED",
      facts: { why: expect.stringContaining("mark"), mark: expect.stringMatching(/^\d+$/) },
    });
  });

  test("M2, M6: nothing is read at a server that is not the one in the stream, or whose history is unknown", async () => {
    const { harness: own } = await open();
    const other = await (servers as Servers).mysql({ name: "other" });
    const address = await AddressSwitch.to(server);
    try {
      const connector = own.connector({ address: { ...own.address, ...address.address } });
      const source = own.lane("acme");
      const table = `${own.schema}.orders`;
      const range = { table, after: null, upTo: null };
      const reads = [
        () => connector.nextBound(source, table, null, { rows: 1, bytes: 1_000 }, NEVER),
        () => connector.readRange(source, range, NEVER),
        () => connector.readKeys(source, table, [integerKey(1, "signed")], NEVER),
        () => connector.countRows(source, NEVER),
      ];
      // Nobody knows this lane yet.
      for (const read of reads) await expect(read()).rejects.toMatchObject({ code: "MYSQL_TRANSIENT" });
      const feed = await connector.attach(source, null, 1, NEVER);
      // As a name does that leads elsewhere from now on, while what is open stays open. The schema is not there.
      address.leadTo(other, "kept");
      const elsewhere = { code: "MYSQL_TRANSIENT", facts: { message: expect.stringContaining("another server") } };
      for (const read of reads) await expect(read()).rejects.toMatchObject(elsewhere);
      address.leadTo(server, "kept");
      expect((await connector.readRange(source, range, NEVER)).rows).toBe(0);
      address.leadTo(other);
      const { error } = await stopOf(feed);
      expect(error).toMatchObject({ code: "DIVERGED" });
      for (const read of reads) await expect(read()).rejects.toBe(error);
    } finally {
      address.close();
      await other.stop();
    }
  });

  test("M1: marks are deleted below what every lane has, and the lane still goes on from there", async () => {
    const { harness: own, connector: first } = await open();
    const position = await standing(first, own);
    await first.close();
    let positions: readonly Position[] = [position];
    const connector = own.connector({ lanePositions: async () => positions, heartbeatMs: 20, trimEveryMs: 200 });
    const source = own.lane("acme");
    const feed = await connector.attach(source, position, 2, NEVER);
    const count = async () =>
      Number((await own.sql.query(`SELECT COUNT(*) AS n FROM ${own.draySchema}.mark`))[0]?.["n"]);
    await until(feed, (await connector.mark(source.lane, 2, "sentinel", NEVER)).nonce);
    await vi.waitFor(async () => expect(await count()).toBeGreaterThan(150), 30_000);
    const events = await drain(connector, feed, source);
    positions = [events.at(-1)?.position ?? position];
    await vi.waitFor(async () => expect(await count()).toBeLessThan(120), 10_000);
    await connector.close();
    const again = own.connector();
    const resumed = await again.attach(source, positions[0] ?? position, 3, NEVER);
    await drain(again, resumed, source);
  });
});
