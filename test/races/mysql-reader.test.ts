import { afterAll, beforeAll, expect, test } from "vitest";
import type { Position } from "../../pipeline/entry.ts";
import { drain, NEVER, Replay, StreamHarness } from "../contracts/mysql-stream.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const DDL = [
  `CREATE TABLE orders (
    id INT NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, n INT NOT NULL, pad VARCHAR(9000) NOT NULL DEFAULT '',
    KEY (tenant, id))`,
  "CREATE TABLE items (tenant VARCHAR(40) NOT NULL, a INT NOT NULL, n INT NOT NULL, PRIMARY KEY (tenant, a))",
];
const TENANTS = ["acme", "ACME", "other"];

function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describeWithMysql("a reader that is cut off again and again (M4)", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, { orders: "tenant", items: "tenant" });
  });
  afterAll(() => harness?.close());

  test("whatever clients do and wherever it is cut, each tenant's events give exactly its rows", async () => {
    const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
    console.info(`SEED=${seed}`);
    let connector = harness.connector();
    const lanes = ["acme", "ACME"].map((tenant) => harness.lane(tenant));
    const replays = lanes.map(() => new Replay(harness.tables));
    let feeds = await Promise.all(lanes.map((lane) => connector.attach(lane, null, 1, NEVER)));
    let positions: Position[] = feeds.map((feed) => feed.state().position);
    let over = false;
    const clients = Array.from({ length: 3 }, (_, c) => client(random(seed + c)));

    async function client(below: (n: number) => number): Promise<number> {
      const sql = await harness.client();
      let done = 0;
      while (!over) {
        await sql.run("START TRANSACTION");
        const size = below(20) === 0 ? 150 : 1 + below(5);
        try {
          for (let i = 0; i < size; i++) await statement(sql, below);
          await sql.run(below(6) === 0 ? "ROLLBACK" : "COMMIT");
          done++;
        } catch {
          await sql.run("ROLLBACK");
        }
      }
      return done;
    }

    async function statement(sql: Awaited<ReturnType<StreamHarness["client"]>>, below: (n: number) => number) {
      const tenant = TENANTS[below(TENANTS.length)];
      const id = below(300);
      const pad = below(10) === 0 ? "REPEAT('p', 9000)" : "''";
      switch (below(8)) {
        case 0:
        case 1:
          return sql.run(`INSERT IGNORE INTO orders VALUES (${id}, '${tenant}', 1, ${pad})`);
        case 2:
          return sql.run(`UPDATE orders SET n = n + 1, pad = ${pad} WHERE id BETWEEN ${id} AND ${id + 20}`);
        case 3:
          return sql.run(`UPDATE orders SET tenant = '${tenant}' WHERE id BETWEEN ${id} AND ${id + 3}`);
        case 4:
          return sql.run(`UPDATE IGNORE orders SET id = id + ${1 + below(50)} WHERE id = ${id}`);
        case 5:
          return sql.run(`DELETE FROM orders WHERE id = ${id}`);
        case 6:
          return sql.run(`REPLACE INTO items VALUES ('${tenant}', ${below(50)}, ${id})`);
        default:
          return sql.run(`UPDATE IGNORE items SET a = a + 1 WHERE a = ${below(50)}`);
      }
    }

    const below = random(seed + 99);
    for (let round = 0; round < 14; round++) {
      const until = performance.now() + 100 + below(250);
      while (performance.now() < until) {
        await Promise.all(
          feeds.map(async (feed, i) => {
            const events = await feed.next(AbortSignal.timeout(30_000));
            replays[i]?.apply(events);
            positions[i] = events.at(-1)?.position ?? positions[i] ?? ("" as Position);
          }),
        );
      }
      if (round % 2 === 0) {
        await harness.killReaders();
      } else {
        // A new process: what was not taken is read again from the last position.
        await connector.close();
        connector = harness.connector();
        const reopened = connector;
        const from = positions;
        feeds = await Promise.all(lanes.map((lane, i) => reopened.attach(lane, from[i] ?? null, round + 2, NEVER)));
        positions = [...from];
      }
    }
    over = true;
    const done = await Promise.all(clients);
    expect(done.reduce((sum, one) => sum + one, 0)).toBeGreaterThan(50);
    for (const [i, lane] of lanes.entries()) {
      const [feed, replay] = [feeds[i], replays[i]];
      if (!feed || !replay) throw new Error("no feed");
      replay.apply(await drain(connector, feed, lane));
      expect(replay.changes).toBeGreaterThan(50);
      expect(replay.rows).toEqual(await harness.rowsBySql(lane.tenant));
    }
    await connector.close();
  });
});
