import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectMysql, type MysqlSession, quoteTable, SESSION_SETTINGS } from "../../connectors/mysql/client.ts";
import { classifyMysqlError } from "../../connectors/mysql/mysql-errors.ts";
import { longLength, NULL_LENGTH } from "../../connectors/mysql/text-rows.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

describeWithMysql("MySQL sessions", (mysql) => {
  const schema = `dray_test_client_${process.pid}_${Math.floor(Math.random() * 1e9)}`;
  const table = quoteTable(schema, "t");
  let one: MysqlSession;
  let two: MysqlSession;
  beforeAll(async () => {
    one = await connectMysql(mysql.b, { side: "sink", attributes: { lane: "m.db.f1", epoch: "7" } });
    two = await connectMysql(mysql.b, { side: "sink" });
    await one.run(`CREATE SCHEMA ${schema}`);
    await one.run(`CREATE TABLE ${table} (id INT PRIMARY KEY, u INT UNIQUE, s VARCHAR(5))`);
  });
  afterAll(async () => {
    await two?.close();
    const last = await connectMysql(mysql.b, { side: "sink" });
    await last.run(`DROP SCHEMA IF EXISTS ${schema}`);
    await last.close();
    await one?.close();
  });
  const caught = async (work: Promise<unknown>) => {
    const error = await work.then(
      () => null,
      (failure: unknown) => failure,
    );
    if (!isDrayError(error)) throw new Error(`no DrayError: ${error}`);
    return { code: error.code, text: `${error.message}`, failure: classifyMysqlError(error), facts: error.facts };
  };

  test("A6: sets its own settings, whatever the server's are, and A7 carries attributes", async () => {
    const [row] = await one.query("SELECT @@sql_mode AS m, @@time_zone AS z, @@foreign_key_checks AS f");
    expect(row).toMatchObject({ z: "+00:00", f: "0" });
    expect(row?.["m"]?.split(",").sort()).toEqual((SESSION_SETTINGS["sql_mode"] as string).split(",").sort());
    const attributes = await one.query(
      `SELECT ATTR_NAME AS n, ATTR_VALUE AS v FROM performance_schema.session_connect_attrs WHERE PROCESSLIST_ID = ${one.connectionId}`,
    );
    expect(Object.fromEntries(attributes.map((attribute) => [attribute["n"], attribute["v"]]))).toMatchObject({
      lane: "m.db.f1",
      epoch: "7",
      program_name: "drayage",
    });
    expect(one.serverUuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(one.serverUuid).toBe(two.serverUuid);
  });

  test("A5: LOAD DATA says what it skipped and warned of, and takes a body of several slices whole", async () => {
    const load = (body: string) =>
      one.loadData(`LOAD DATA LOCAL INFILE 'x' INTO TABLE ${table} CHARACTER SET binary (id, u, s)`, Buffer.from(body));
    await one.run("START TRANSACTION");
    const many = Array.from({ length: 200_000 }, (_, i) => `${i}\t${i}\tabcde\n`).join("");
    expect(many.length).toBeGreaterThan(3 << 20);
    expect(await load(many)).toEqual({ rows: 200_000, skipped: 0, warnings: 0 });
    expect(await load("1\t300000\ta\n300001\t5\tb\n")).toMatchObject({ rows: 2, skipped: 2, warnings: 2 });
    expect((await load("300002\t300002\ttoolong\n")).warnings).toBe(1);
    expect(await load("")).toEqual({ rows: 0, skipped: 0, warnings: 0 });
    await one.run("ROLLBACK");
    expect(await one.query(`SELECT COUNT(*) AS n FROM ${table}`)).toEqual([{ n: "0" }]);
  });

  test("A5: a LOAD DATA that throws destroys its connection and leaves nothing behind", async () => {
    const session = await connectMysql(mysql.b, { side: "sink" });
    await session.run("START TRANSACTION");
    await session.run(`INSERT INTO ${table} VALUES (1, 1, 'a')`);
    const sql = `LOAD DATA LOCAL INFILE 'x' INTO TABLE ${quoteTable(schema, "missing")}`;
    expect(await caught(session.loadData(sql, Buffer.from("1\n")))).toMatchObject({ code: "MYSQL_REFUSED" });
    expect(session.isLost).toBe(true);
    await expect.poll(() => one.query(`SELECT COUNT(*) AS n FROM ${table}`)).toEqual([{ n: "0" }]);
  });

  describe("A8: errors are told apart", () => {
    test("a lock wait is transient, a duplicate is the guard's, and no row value gets into the text (K5)", async () => {
      await one.run(`REPLACE INTO ${table} VALUES (1, 987654, 'a')`);
      await one.run("SET SESSION innodb_lock_wait_timeout = 1");
      await two.run("START TRANSACTION");
      await two.run(`UPDATE ${table} SET s = 'b' WHERE id = 1`);
      const wait = await caught(one.run(`UPDATE ${table} SET s = 'c' WHERE id = 1`));
      expect(wait).toMatchObject({ code: "MYSQL_TRANSIENT", failure: { kind: "transient", connectionLost: false } });
      await two.run("ROLLBACK");
      const duplicate = await caught(one.run(`INSERT INTO ${table} VALUES (2, 987654, 'a')`));
      expect(duplicate).toMatchObject({ code: "MYSQL_GUARD", failure: { kind: "guard", code: "ER_DUP_ENTRY" } });
      expect(duplicate.text).not.toContain("987654");
      const range = await caught(one.query("SELECT EXP(710) AS x"));
      expect(range.failure).toMatchObject({ kind: "guard", code: "ER_DATA_OUT_OF_RANGE" });
      const syntax = await caught(one.run(`INSERT INTO ${table} VALUES (3, 3, 'too long a text')`));
      expect(syntax).toMatchObject({ code: "MYSQL_REFUSED", failure: { kind: "final" } });
    });
    test("a killed connection is lost, and stays lost", async () => {
      const session = await connectMysql(mysql.b, { side: "sink" });
      const sleeping = caught(session.query("SELECT SLEEP(30) AS s"));
      await expect
        .poll(
          async () =>
            (
              await one.query(
                `SELECT 1 AS x FROM performance_schema.threads WHERE PROCESSLIST_ID = ${session.connectionId} AND PROCESSLIST_INFO LIKE 'SELECT SLEEP%'`,
              )
            ).length,
        )
        .toBe(1);
      await one.run(`KILL ${session.connectionId}`);
      expect((await sleeping).failure).toMatchObject({ kind: "transient", connectionLost: true });
      expect(await caught(session.query("SELECT 1 AS x"))).toMatchObject({ code: "MYSQL_TRANSIENT" });
      await session.close();
    });
    test("a read-only server and a read-only schema are transient", async () => {
      await one.run(`ALTER SCHEMA ${schema} READ ONLY = 1`);
      const schemaError = await caught(one.run(`INSERT INTO ${table} VALUES (5, 5, 'a')`));
      await one.run(`ALTER SCHEMA ${schema} READ ONLY = 0`);
      expect(schemaError.failure).toMatchObject({ kind: "transient", code: "ER_SCHEMA_READ_ONLY" });
    });
    test("a wrong password and an unreachable server are named, without the password", async () => {
      const denied = await caught(
        connectMysql({ ...mysql.b, user: "nobody", password: "s3cret!" }, { side: "source" }),
      );
      expect(denied).toMatchObject({ code: "MYSQL_ACCESS_DENIED" });
      expect(JSON.stringify(denied)).not.toContain("s3cret!");
      const nowhere = await caught(connectMysql({ ...mysql.b, port: 1 }, { side: "source" }));
      expect(nowhere).toMatchObject({ code: "MYSQL_UNREACHABLE", failure: { kind: "transient" } });
      expect(nowhere.facts["server"]).toBe(`${mysql.b.host}:1`);
    });
    test("an aborted statement ends at once and frees its locks", async () => {
      const session = await connectMysql(mysql.b, { side: "sink" });
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 50);
      const failure = await caught(session.query("SELECT SLEEP(30) AS s", abort.signal));
      expect(failure).toMatchObject({ code: "MYSQL_TRANSIENT", failure: { code: "MYSQL_STATEMENT_ABORTED" } });
      expect(session.isLost).toBe(true);
    });
  });

  async function eachRow(sql: string): Promise<(Buffer | null)[][]> {
    const rows: (Buffer | null)[][] = [];
    await one.eachRow({ sql, onRow: (packet, start, end) => void rows.push(valuesOf(packet, start, end)) });
    return rows;
  }

  test("raw rows are the server's bytes, whole or streamed", async () => {
    const sql = "SELECT 18446744073709551615 AS a, NULL AS b, _binary x'00ff' AS c UNION ALL SELECT 1, 2, ''";
    const rows = [
      [Buffer.from("18446744073709551615"), null, Buffer.from([0, 255])],
      [Buffer.from("1"), Buffer.from("2"), Buffer.alloc(0)],
    ];
    expect(await one.queryRaw(sql)).toEqual(rows);
    expect(await eachRow(sql)).toEqual(rows);
    expect(await one.executeQuery("SELECT ? AS a, CAST(? AS CHAR) AS b", ["x", 5])).toEqual([{ a: "x", b: "5" }]);
  });

  test("A6: a written row's values are bytes and NULLs as they are, at every length, and errors keep the session", async () => {
    await one.run(
      `CREATE TEMPORARY TABLE ${schema}.dray_write (id INT PRIMARY KEY, a LONGBLOB, b VARCHAR(20) CHARACTER SET latin1)`,
    );
    const insert = (rows: number) => `INSERT INTO ${schema}.dray_write VALUES ${Array(rows).fill("(?,?,?)").join(",")}`;
    const lengths = [0, 1, 23, 24, 250, 251, 65_535, 65_536, 1 << 20, (1 << 24) + 5];
    const [limit] = await one.query("SELECT @@max_allowed_packet AS bytes");
    const fitting = lengths.filter((length) => length + 1000 < Number(limit?.["bytes"]));
    for (const [id, length] of fitting.entries()) {
      const value = Buffer.alloc(length, Buffer.from([0, 255, 0x5c, 0x27]));
      expect(await one.write(insert(1), [Buffer.from(String(id)), value, null])).toBe(1);
      const [row] = await one.queryRaw(`SELECT a, b FROM ${schema}.dray_write WHERE id = ${id}`);
      expect(Buffer.compare(row?.[0] as Buffer, value)).toBe(0);
      expect(row?.[1]).toBeNull();
    }
    // More than eight parameters: the bitmap of NULLs has a second byte.
    const many = Array.from({ length: 10 }, (_, i) => [Buffer.from(String(100 + i)), null, Buffer.from([0xe4])]).flat();
    expect(await one.write(insert(10), many)).toBe(10);
    expect(
      await one.query(
        `SELECT HEX(b) AS b, COUNT(*) AS n FROM ${schema}.dray_write WHERE id >= 100 AND a IS NULL GROUP BY b`,
      ),
    ).toEqual([{ b: "E4", n: "10" }]);
    expect(await one.write(`DELETE FROM ${schema}.dray_write WHERE id = ?`, [Buffer.from("7000")])).toBe(0);
    expect(await caught(one.write(insert(1), [Buffer.from("100"), null, null]))).toMatchObject({ code: "MYSQL_GUARD" });
    expect(await caught(one.write(`DELETE FROM ${schema}.nowhere WHERE id = ?`, [null]))).toMatchObject({
      code: "MYSQL_REFUSED",
    });
    await expect(one.write(insert(2), [null])).rejects.toThrow();
    expect(await one.queryRaw("SELECT 7")).toEqual([[Buffer.from("7")]]);
  });

  test("a session keeps few statements prepared", async () => {
    const prepared = async () => {
      const [row] = await one.query(
        "SELECT COUNT(*) AS n FROM performance_schema.prepared_statements_instances WHERE OWNER_THREAD_ID = PS_CURRENT_THREAD_ID()",
      );
      return Number(row?.["n"]);
    };
    for (let i = 0; i < 300; i++) await one.write(`DO ${i}, ?`, [null]);
    expect(await prepared()).toBe(200);
  });

  test("each row is handed over whole, at every length of a value and wherever a read of the socket ends", async () => {
    const lengths = [0, 1, 250, 251, 252, 65_535, 65_536, 1 << 20, (1 << 24) + 5];
    const [limit] = await one.query("SELECT @@max_allowed_packet AS bytes");
    const fitting = lengths.filter((length) => length < Number(limit?.["bytes"]));
    const values = fitting.map((length) => `REPEAT('x', ${length})`).join(", ");
    const nulls = fitting.map(() => "NULL").join(", ");
    const rows = await eachRow(`SELECT ${values}, NULL UNION ALL SELECT ${nulls}, 'end'`);
    expect(rows.map((row) => row.map((value) => value?.length ?? null))).toEqual([
      [...fitting, null],
      [...fitting.map(() => null), 3],
    ]);
    // Rows of lengths that end at every place of a read, each with its own content.
    const counted = await eachRow(
      "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT /*+ SET_VAR(cte_max_recursion_depth = 1000) */ i, REPEAT(CHAR(97 + i % 26), i * 7 % 1801) FROM n",
    );
    expect(counted.map(([i, text]) => `${i} ${text}`)).toEqual(
      Array.from(
        { length: 900 },
        (_, n) => `${n + 1} ${String.fromCharCode(97 + ((n + 1) % 26)).repeat(((n + 1) * 7) % 1801)}`,
      ),
    );
    const refused = one.eachRow({
      sql: "SELECT 1 UNION ALL SELECT 2",
      onRow: () => {
        throw new Error("not this one");
      },
    });
    await expect(refused).rejects.toThrow(/not this one/);
    expect(await one.queryRaw("SELECT 7")).toEqual([[Buffer.from("7")]]);
    expect((await caught(one.eachRow({ sql: "SELECT nothing", onRow: () => {} }))).text).toMatch(/nothing/);
  });
});

function valuesOf(packet: Buffer, start: number, end: number): (Buffer | null)[] {
  const values: (Buffer | null)[] = [];
  for (let at = start; at < end; ) {
    const first = packet[at] as number;
    const { length, bytes } = first <= NULL_LENGTH ? { length: first, bytes: 1 } : longLength(packet, at);
    at += bytes;
    values.push(first === NULL_LENGTH ? null : Buffer.from(packet.subarray(at, at + length)));
    if (first !== NULL_LENGTH) at += length;
  }
  return values;
}
