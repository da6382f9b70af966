import { afterAll, beforeAll, expect, test } from "vitest";
import { connectMysql, type MysqlSession } from "../../connectors/mysql/client.ts";
import { TableStatements } from "../../sinks/mysql/table-statements.ts";
import { MysqlTarget } from "../contracts/mysql-target.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

/**
 * What MySQL was found to do to a naive guard or load, each beside what Drayage sends. A server that no longer behaves so
 * fails the first half of a test: then the rule it cites may be simpler.
 */
describeWithMysql("traps of MySQL under an applier", (mysql) => {
  let target: MysqlTarget;
  let session: MysqlSession;
  let table: string;
  let ours: TableStatements;
  const big = "9007199254740993";

  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
    session = await connectMysql(mysql.b, { side: "sink" });
    await target.create("t", "id BIGINT UNSIGNED PRIMARY KEY, tenant VARCHAR(20) NOT NULL, v INT, KEY p (tenant, id)");
    table = target.table("t");
    ours = new TableStatements({ id: target.id("t"), spec: target.spec("t"), tenant: "acme" });
  });
  afterAll(async () => {
    await session?.close();
    await target?.close();
  });

  const naive = (otherwise: string) =>
    `INSERT INTO ${table} VALUES (?, ?, ?) AS n ON DUPLICATE KEY UPDATE
     id = IF(${table}.tenant <=> n.tenant, n.id, ${otherwise}), v = n.v`;
  const bytes = (...values: string[]) => values.map((value) => Buffer.from(value));
  const rows = () => target.rows("t");
  const start = async (...values: string[]) => {
    await session.run(`DELETE FROM ${table}`);
    await session.run(`INSERT INTO ${table} VALUES ${values}`);
  };

  test("A1: a guard with a DOUBLE in one branch changes ids above 2^53", async () => {
    await start(`(${big}, 'acme', 1)`);
    await session.execute(naive("EXP(710)"), bytes(big, "acme", "2"));
    expect(await rows()).toEqual(["9007199254740992 acme 2"]);

    await start(`(${big}, 'acme', 1)`);
    await session.execute(ours.upsert(1), bytes(big, "acme", "2"));
    expect(await rows()).toEqual([`${big} acme 2`]);
  });

  test("A1: without strict mode a NULL branch moves a neighbour's row to id 0; ours raises in any mode", async () => {
    const lax = await connectMysql(mysql.b, { side: "sink" });
    await lax.run("SET SESSION sql_mode = ''");
    await start(`(5, 'other', 1)`);
    // A single row would still be refused; of several, the server makes the best it can.
    const two = naive("NULL").replace("(?, ?, ?)", "(?, ?, ?), (?, ?, ?)");
    await lax.execute(two, bytes("9", "acme", "2", "5", "acme", "2"));
    expect(await rows()).toEqual(["0 other 2", "9 acme 2"]);

    await start(`(5, 'other', 1)`);
    const guard = { code: "MYSQL_GUARD", facts: { error: "ER_DATA_OUT_OF_RANGE" } };
    const both = bytes("9", "acme", "2", "5", "acme", "2");
    await expect(lax.execute(ours.upsert(2), both)).rejects.toMatchObject(guard);
    await expect(session.execute(ours.upsert(1), bytes("5", "acme", "2"))).rejects.toMatchObject(guard);
    expect(await rows()).toEqual(["5 other 1"]);
    await lax.close();
  });

  test("T1: the column's collation takes a neighbour for the tenant", async () => {
    await start(`(5, 'ACME', 1)`);
    await session.execute(naive("EXP(710)"), bytes("5", "acme", "2"));
    expect(await rows()).toEqual(["5 ACME 2"]);

    await start(`(5, 'ACME', 1)`);
    await expect(session.execute(ours.upsert(1), bytes("5", "acme", "2"))).rejects.toMatchObject({
      code: "MYSQL_GUARD",
    });
    expect(await rows()).toEqual(["5 ACME 1"]);
  });

  test("A5: LOAD DATA LOCAL passes over what it meets without an error, and only its counts tell", async () => {
    await start(`(5, 'other', 1)`);
    const sql = `LOAD DATA LOCAL INFILE 'dray' INTO TABLE ${table}`;
    const loaded = await session.loadData(sql, Buffer.from("4\tacme\t1\n5\tacme\t1\n6\tacme\t1\n"));
    expect(loaded).toEqual({ rows: 3, skipped: 1, warnings: 1 });
    expect(await rows()).toEqual(["4 acme 1", "5 other 1", "6 acme 1"]);
  });

  test("A6: a multi-row DELETE of a small table is a scan unless the index is named", async () => {
    await start(...Array.from({ length: 100 }, (_, i) => `(${i + 1}, 'acme', 1)`));
    await session.run(`ANALYZE TABLE ${table}`);
    const ids = Array.from({ length: 64 }, (_, i) => i + 1);
    const plain = `DELETE FROM ${table} AS t WHERE id IN (${ids})`;
    expect(await accessOf(plain)).toBe("ALL");
    const left = ids.map(String);
    const sent = ours.delete(ids.length).replaceAll("?", () => left.shift() ?? "NULL");
    expect(await accessOf(sent)).toBe("range");
  });

  async function accessOf(sql: string): Promise<string | null | undefined> {
    const [row] = await session.query(`EXPLAIN FORMAT=TRADITIONAL ${sql}`);
    return row?.["type"];
  }
});
