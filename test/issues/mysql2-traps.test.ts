import { Readable } from "node:stream";
import { type Connection, createConnection } from "mysql2/promise";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectMysql } from "../../connectors/mysql/client.ts";
import { batch, MysqlTarget, soon } from "../contracts/mysql-target.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const HOSTILE = "x', 7); -- ";

/** What mysql2 3.24 does if it is used as its examples do, each beside what Drayage does with it. */
describeWithMysql("traps of mysql2", (mysql) => {
  let target: MysqlTarget;
  let raw: Connection;
  let table: string;

  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
    await target.create("t", "id INT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, v VARCHAR(200), KEY p (tenant, id)");
    table = target.table("t");
    const { host, port, user, password } = mysql.b;
    raw = await createConnection({ host, port, user, password, flags: ["+LOCAL_FILES"] });
  });
  beforeEach(() => target.sql.run(`DELETE FROM ${table}`));
  afterAll(async () => {
    raw?.destroy();
    await target?.close();
  });

  const load = () => `LOAD DATA LOCAL INFILE 'x' INTO TABLE ${table}`;
  const countRows = async () => (await target.rows("t")).length;

  test("A5: a LOAD DATA stream that breaks ends the file, half a row and all; ours sends a body that is whole", async () => {
    const breaking = async function* () {
      yield Buffer.from("1\tacme\tone\n2\tacme\thalf of");
      throw new Error("the source went away");
    };
    const { host, port, user, password } = mysql.b;
    const other = await createConnection({ host, port, user, password, flags: ["+LOCAL_FILES"] });
    other.on("error", () => {});
    const sql = { sql: load(), infileStreamFactory: () => Readable.from(breaking()) };
    await expect(other.query(sql)).rejects.toThrow();
    await expect.poll(() => target.rows("t")).toEqual(["1 acme one", "2 acme half of"]);
    other.destroy();
    await target.sql.run(`DELETE FROM ${table}`);

    const session = await connectMysql(mysql.b, { side: "sink" });
    await session.run("START TRANSACTION");
    const body = Buffer.from(Array.from({ length: 100_000 }, (_, i) => `${i}\tacme\tvalue\n`).join(""));
    const cut = new AbortController();
    const loading = session.loadData(load(), body, cut.signal);
    await new Promise((resolve) => setTimeout(resolve, 20));
    cut.abort();
    await expect(loading).rejects.toMatchObject({ code: "MYSQL_TRANSIENT" });
    expect(session.isLost).toBe(true);
    // Nor does it hang there with its locks.
    await raw.query(`INSERT INTO ${table} VALUES (1, 'acme', 'free')`);
    expect(await target.rows("t")).toEqual(["1 acme free"]);
  });

  test("A5: a LOAD DATA stream of strings fails in mysql2; ours hands over bytes", async () => {
    const { host, port, user, password } = mysql.b;
    const other = await createConnection({ host, port, user, password, flags: ["+LOCAL_FILES"] });
    const broken = new Promise<unknown>((resolve) => {
      const answer = other.query({ sql: load(), infileStreamFactory: () => Readable.from(["1\tacme\ttext\n"]) });
      other.on("error", resolve);
      answer.then(() => resolve(null), resolve);
      process.once("uncaughtException", resolve);
    });
    expect(await broken).toBeInstanceOf(Error);
    other.destroy();
    await target.sql.run(`DELETE FROM ${table}`);
    const session = await connectMysql(mysql.b, { side: "sink" });
    expect(await session.loadData(load(), Buffer.from("1\tacme\ttext\n"))).toMatchObject({ rows: 1 });
    await session.close();
  });

  test("A6: under NO_BACKSLASH_ESCAPES a placeholder of query() becomes SQL; ours keeps it a value, in any mode", async () => {
    await raw.query("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'");
    await raw.query(`INSERT INTO ${table} VALUES (2, ?, 'mine')`, [HOSTILE]);
    expect(await target.rows("t")).toEqual(["2 x\\ 7"]);
    await raw.query("SET SESSION sql_mode = DEFAULT");
    await target.sql.run(`DELETE FROM ${table}`);

    const session = await connectMysql(mysql.b, { side: "sink" });
    const [mode] = await session.query("SELECT @@SESSION.sql_mode AS mode");
    expect(mode?.["mode"]).not.toContain("NO_BACKSLASH_ESCAPES");
    await session.run("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'");
    await session.execute(`INSERT INTO ${table} VALUES (2, 'acme', ?)`, [Buffer.from(HOSTILE)]);
    expect(await target.rows("t")).toEqual([`2 acme ${HOSTILE}`]);
    await session.close();
  });

  test("A3: a prepared statement takes 65,535 parameters; a batch of more rows is split, and is one transaction", async () => {
    const rows = 65_535 / 3 + 1;
    const values = Array.from({ length: rows }, (_, i) => [i, "acme", "v"]);
    const sql = `INSERT INTO ${table} VALUES ${values.map(() => "(?, ?, ?)").join(", ")}`;
    await expect(raw.execute(sql, values.flat())).rejects.toThrow();
    const sink = await target.open(target.lane("acme"));
    const changes = values.map(([id]) => target.change("t", "insert", [String(id), "acme", "v"]));
    await sink.applyChanges(batch(1, changes), soon());
    expect(await countRows()).toBe(rows);
    await sink.close();
  });
});
