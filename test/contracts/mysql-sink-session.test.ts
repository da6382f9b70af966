import { afterAll, beforeAll, expect, test } from "vitest";
import { connectMysql, quoteTable } from "../../connectors/mysql/client.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { SinkSessions } from "../../sinks/mysql/sink-sessions.ts";
import { describeWithMysql, describeWithOwnServers } from "../setup/shared-servers.ts";
import { batch, MysqlTarget, type Row, soon } from "./mysql-target.ts";

const COLUMNS = "id BIGINT PRIMARY KEY, tenant INT NOT NULL, v VARCHAR(20), KEY p (tenant, id)";
const put = (id: number, v: string): Row => [String(id), "7", v];

describeWithMysql("MySQL sink: its sessions and transactions", (mysql) => {
  let target: MysqlTarget;
  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
  });
  afterAll(() => target?.close());

  test("A7: an idle session outlives the target's wait timeout", async () => {
    const fast: Clock = {
      monotonicMs: () => systemClock.monotonicMs() * 50,
      wallMs: () => systemClock.wallMs(),
      sleep: (ms, signal) => systemClock.sleep(ms / 50, signal),
    };
    let connected = 0;
    const sessions = new SinkSessions({
      address: mysql.b,
      size: 2,
      attributes: {},
      clock: fast,
      onConnected: async (session) => {
        connected++;
        await session.run("SET SESSION wait_timeout = 1");
      },
    });
    await sessions.connectAll(soon());
    await systemClock.sleep(2_500);
    await Promise.all([
      sessions.use((session) => session.run("DO 1"), soon()),
      sessions.use((session) => session.run("DO 1"), soon()),
    ]);
    expect(connected).toBe(2);
    await sessions.close();
  });

  test("A2, C7: the first row of every transaction with the tenant's rows is the one that names the lane", async () => {
    await target.create("a", COLUMNS);
    await target.create("b", `${COLUMNS}, UNIQUE KEY v (tenant, v)`);
    const place = await binlogPlace();
    const lane = target.lane("7");
    const sink = await target.open(lane);
    const rows = Array.from({ length: 1_200 }, (_, i) => put(i + 1, `v${i}`));
    await sink.applyChunk(target.chunk({ table: "a", rows, seq: 1 }), soon());
    await sink.applyChunk(target.chunk({ table: "b", rows, seq: 2, pass: 1 }), soon());
    const swap = [put(1, "tmp"), put(2, "v0"), put(1, "v1")].map((row) => target.change("b", "update", row));
    await sink.applyChanges(batch(3, [target.change("a", "delete", put(5, "")), ...swap]), soon());
    await sink.clearTable(target.id("a"), soon());
    await sink.advance({ offset: "1", epoch: 1, nonce: "ab".repeat(16), seq: 3 }, soon());
    await sink.closeForGood(soon());
    await target.sink().removeRows(lane, { onBatch: () => {} }, soon());
    await sink.close();
    const transactions = (await tablesOfTransactions(place)).filter((tables) =>
      tables.some((table) => table.startsWith(`${target.schema}.`)),
    );
    // Two chunks, one batch, and either clean-up in several batches, of a size that follows how long they take.
    expect(transactions.length).toBeGreaterThanOrEqual(3 + 2 + 2);
    for (const [first] of transactions) expect(first).toBe(`${target.dray}.applied`);
    expect(
      new Set(transactions.map((tables) => tables.filter((table) => table === `${target.dray}.applied`).length)),
    ).toEqual(new Set([1]));
  });

  test("A7: an opening whose session is killed while it waits fails, and the next one goes on", async () => {
    await target.create("k", COLUMNS);
    const lane = target.lane("7", "killed.db.f1");
    await (await target.open(lane)).close();
    const holder = await connectMysql(mysql.b, { side: "sink", attributes: {}, signal: soon() });
    await holder.run("BEGIN");
    await holder.run(`SELECT 1 FROM ${target.dray}.applier WHERE lane = '${lane.lane}' FOR SHARE`);
    const opening = target.open(lane);
    opening.catch(() => {});
    for (let isKilled = false; !isKilled; ) {
      const waiting = await target.sql.query(
        `SELECT ID AS id FROM performance_schema.processlist WHERE INFO LIKE 'UPDATE%applier%SET epoch%'`,
      );
      for (const { id } of waiting) await target.sql.run(`KILL ${id}`);
      isKilled = waiting.length > 0;
    }
    await expect(opening).rejects.toMatchObject({ problem: { retry: "backoff" } });
    await holder.run("ROLLBACK");
    await holder.close();
    await (await target.open(lane)).close();
  });

  test("A7: an epoch whose taking was not heard of is the taker's own, and nobody else's", async () => {
    const lane = target.lane("7", "unheard.db.f1");
    const first = await target.open(lane);
    const claim = "4f0c";
    await first.close();
    await target.sql.run(
      `UPDATE ${target.dray}.applier SET epoch = epoch + 1, connections = '[{"claim":"${claim}"}]' WHERE lane = '${lane.lane}'`,
    );
    const lastEpoch = first.epoch;
    await expect(target.open({ ...lane, lastEpoch, claim: "another" })).rejects.toMatchObject({ code: "FENCED" });
    const again = await target.open({ ...lane, lastEpoch, claim });
    expect(again.epoch).toBe(first.epoch + 2);
    await again.close();
    await expect(target.open({ ...lane, lastEpoch, claim })).rejects.toMatchObject({ code: "FENCED" });
  });

  test("A2: a watermark forgets the rows of clean-ups too", async () => {
    const lane = target.lane("7");
    const sink = await target.open(lane);
    await target.sql.run(`INSERT INTO ${target.table("a")} VALUES (1, 7, 'x')`);
    await sink.clearTable(target.id("a"), soon());
    expect(await target.applied(lane.lane)).toEqual(["null-null"]);
    await sink.advance({ offset: "1", epoch: 1, nonce: "ab".repeat(16), seq: 1 }, soon());
    expect(await target.applied(lane.lane)).toEqual([]);
    await sink.close();
  });

  async function binlogPlace(): Promise<{ readonly file: string; readonly position: number }> {
    const [row] = await target.sql.query("SHOW BINARY LOG STATUS");
    return { file: row?.["File"] ?? "", position: Number(row?.["Position"]) };
  }

  /** Tables in the order in which each transaction's row events come. */
  async function tablesOfTransactions(from: { readonly file: string; readonly position: number }): Promise<string[][]> {
    const events = await target.sql.query(`SHOW BINLOG EVENTS IN '${from.file}' FROM ${from.position}`);
    const transactions: string[][] = [];
    for (const { Event_type: type, Info: info } of events) {
      if (type === "Gtid") transactions.push([]);
      const table = /table_id: \d+ \(([^)]+)\)/.exec(info ?? "")?.[1];
      if (type === "Table_map" && table) transactions.at(-1)?.push(table);
    }
    return transactions;
  }
});

describeWithOwnServers("MySQL sink: a target that refuses LOAD DATA LOCAL", ["mysql"], () => {
  let servers: Servers;
  let server: MysqlServer;
  let target: MysqlTarget;
  beforeAll(async () => {
    servers = await openServers();
    server = await servers.mysql({ name: "no-load", flags: ["--local-infile=0"] });
    target = await MysqlTarget.open(server);
  });
  afterAll(async () => {
    await target?.close();
    await servers?.close();
  });

  test("A5: a first pass takes the guarded road, whether that was known or found out", async () => {
    await target.create("t", COLUMNS);
    const sink = await target.open(target.lane("7"));
    await sink.applyChunk(target.chunk({ table: "t", rows: [put(1, "a"), put(2, "b")], seq: 1 }), soon());
    await sink.close();
    await target.sql.run("SET GLOBAL local_infile = 1");
    const later = await target.open(target.lane("7"));
    await target.sql.run("SET GLOBAL local_infile = 0");
    await later.applyChunk(target.chunk({ table: "t", rows: [put(2, "c"), put(3, "d")], seq: 1 }), soon());
    expect(await target.rows("t")).toEqual(["2 7 c", "3 7 d"]);
    await later.close();
  });

  test("A8: a target that is stopped and started again is waited for, and asked anew what it holds", async () => {
    const lane = target.lane("7");
    const sink = await target.open(lane);
    await sink.applyChanges(batch(1, [target.change("t", "update", put(2, "before"))]), soon());
    await server.stop();
    await expect(sink.progress(soon())).rejects.toMatchObject({ problem: { retry: "backoff" } });
    await server.start();
    // A crash may have lost what this sink has seen committed: it writes nothing any more.
    const later = batch(2, [target.change("t", "update", put(2, "after"))]);
    await expect(sink.applyChanges(later, soon())).rejects.toMatchObject({ code: "TARGET_CHANGED" });
    await expect(sink.progress(soon())).rejects.toMatchObject({ code: "TARGET_CHANGED" });
    await sink.close();
    const next = await target.open(lane);
    expect((await next.progress(soon())).applied).toMatchObject([{ first: 1, last: 1 }]);
    await next.applyChanges(later, soon());
    await next.close();
    const again = await MysqlTarget.open(server);
    const sql = `SELECT v FROM ${quoteTable(target.schema, "t")} WHERE id = 2`;
    expect(await again.sql.query(sql)).toEqual([{ v: "after" }]);
    await again.close();
  });
});
