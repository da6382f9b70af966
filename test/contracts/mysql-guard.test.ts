import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectMysql } from "../../connectors/mysql/client.ts";
import { keyColumns } from "../../connectors/mysql/table-spec.ts";
import type { ChangeOp } from "../../pipeline/entry.ts";
import type { LaneSink } from "../../sinks/sink.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { batch, MysqlTarget, type Row, soon, type Value } from "./mysql-target.ts";

/** Key types of A1, each with two keys and, where a collation takes another key for the first, that one. */
const KEYS: readonly { readonly type: string; readonly keys: readonly [Value, Value]; readonly alike?: Value }[] = [
  { type: "BIGINT", keys: ["9007199254740993", "-9223372036854775808"] },
  { type: "BIGINT UNSIGNED", keys: ["18446744073709551615", "9007199254740993"] },
  { type: "INT UNSIGNED ZEROFILL", keys: ["5", "4294967295"] },
  { type: "DECIMAL(30,5)", keys: ["123456789012345678901234.56789", "-0.00001"] },
  { type: "VARCHAR(40)", keys: ["acme", "zoe"], alike: "ACME" },
  {
    type: "VARCHAR(40) CHARACTER SET latin1",
    keys: [Buffer.from([0x63, 0xe9]), "zoe"],
    alike: Buffer.from([0x43, 0xc9]),
  },
  { type: "CHAR(8) CHARACTER SET ascii", keys: ["acme", "zoe"], alike: "Acme" },
  { type: "BINARY(3)", keys: [Buffer.from([0xff, 0, 1]), Buffer.from([0, 0, 0])] },
  { type: "VARBINARY(9)", keys: [Buffer.from("a\\'\0"), Buffer.from([0xff])] },
  { type: "DATE", keys: ["2024-02-29", "0000-00-00"] },
  { type: "DATETIME(6)", keys: ["2024-02-29 23:59:59.000001", "2024-02-29 23:59:59.000002"] },
  { type: "TIMESTAMP(3)", keys: ["2024-02-29 23:59:59.001", "2024-02-29 23:59:59.002"] },
  { type: "TIME(2)", keys: ["-00:00:00.01", "838:59:59.00"] },
  { type: "YEAR", keys: ["2024", "0000"] },
  { type: "ENUM('a','b')", keys: ["1", "2"] },
  { type: "BIT(64)", keys: ["18446744073709551615", "0"] },
];

describeWithMysql("A1: the tenant guard in MySQL", (mysql) => {
  let target: MysqlTarget;
  let seq = 0;
  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
  });
  afterAll(() => target?.close());

  const foreign = { code: "GUARD_FOREIGN_ROW" };

  describe("every key type: own rows are written exactly, a neighbour's never", () => {
    for (const [i, { type, keys, alike }] of KEYS.entries()) {
      test(type, async () => {
        const name = `k${i}`;
        await target.create(name, `id ${type} NOT NULL PRIMARY KEY, tenant INT NOT NULL, v INT, KEY p (tenant, id)`);
        const sink = await target.open({ ...target.lane("7"), tables: [tableOf(name)] });
        const apply = (op: ChangeOp, row: Row) =>
          sink.applyChanges(batch(++seq, [target.change(name, op, row)]), soon());
        const [first, second] = keys;

        await apply("insert", [first, "7", "1"]);
        const written = await target.rows(name);
        await apply("update", [first, "7", "2"]);
        await apply("insert", [second, "7", "3"]);
        const both = await hexRows(name);
        expect(both.length).toBe(2);
        expect((await target.rows(name)).includes((written[0] ?? "").replace(/1$/, "2"))).toBe(true);

        await apply("delete", [second, "7", null]);
        expect((await hexRows(name)).length).toBe(1);
        if (alike !== undefined) {
          // Equal for the collation, another key all the same: neither is written over, nor taken for the other.
          await expect(apply("update", [alike, "7", "9"])).rejects.toMatchObject(foreign);
          await apply("delete", [alike, "7", null]);
          expect((await hexRows(name)).length).toBe(1);
        }
        await target.sql.run(`UPDATE ${target.table(name)} SET tenant = 8`);
        const theirs = await hexRows(name);
        await expect(apply("update", [first, "7", "4"])).rejects.toMatchObject(foreign);
        await expect(apply("delete", [first, "7", null])).rejects.toMatchObject(foreign);
        expect(await hexRows(name)).toEqual(theirs);
        await sink.close();
      });
    }
  });

  test("T1: tenants that a collation takes for one are two", async () => {
    await target.create("ci", "id INT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, v INT, KEY p (tenant, id)");
    const sink = await target.open({ ...target.lane("acme"), tables: [tableOf("ci")] });
    await target.sql.run(`INSERT INTO ${target.table("ci")} VALUES (1, 'ACME', 1), (2, 'acmé', 1), (3, 'acme', 1)`);
    for (const id of ["1", "2"]) {
      await expect(one(sink, "ci", "update", [id, "acme", "2"])).rejects.toMatchObject(foreign);
      await expect(one(sink, "ci", "delete", [id, "acme", "2"])).rejects.toMatchObject(foreign);
    }
    await one(sink, "ci", "update", ["3", "acme", "2"]);
    expect((await sink.clearTable(target.id("ci"), soon())).rows).toBe(1);
    expect(await target.rows("ci")).toEqual(["1 ACME 1", "2 acmé 1"]);
    await sink.close();
  });

  test("a row of the same tenant or of another, met by a unique key, is neither moved nor changed", async () => {
    await target.create(
      "u",
      "id BIGINT PRIMARY KEY, tenant INT NOT NULL, email VARCHAR(40), UNIQUE KEY e (email), KEY p (tenant, id)",
    );
    const sink = await target.open({ ...target.lane("7"), tables: [tableOf("u")] });
    await one(sink, "u", "insert", ["1", "7", "mine"]);
    await one(sink, "u", "insert", ["2", "7", "other"]);
    await target.sql.run(`INSERT INTO ${target.table("u")} VALUES (9, 8, 'theirs')`);
    const before = await target.rows("u");
    const facts = (id: string) => ({ ...foreign, facts: { table: target.id("u"), key: id } });
    // Met by the unique key alone; own row by primary key, and another's, or a neighbour's, by the unique key.
    await expect(one(sink, "u", "insert", ["3", "7", "mine"])).rejects.toMatchObject(facts("3"));
    await expect(one(sink, "u", "insert", ["3", "7", "theirs"])).rejects.toMatchObject(facts("3"));
    await expect(one(sink, "u", "update", ["1", "7", "other"])).rejects.toMatchObject(facts("1"));
    await expect(one(sink, "u", "update", ["1", "7", "theirs"])).rejects.toMatchObject(facts("1"));
    expect(await target.rows("u")).toEqual(before);
    await sink.close();
  });

  test("composite keys: every column is in the condition, and deletes take exactly theirs", async () => {
    await target.create(
      "c",
      "tenant INT NOT NULL, code VARCHAR(10) NOT NULL, no BIGINT NOT NULL, v INT, PRIMARY KEY (tenant, code, no)",
    );
    const sink = await target.open({ ...target.lane("7"), tables: [tableOf("c")] });
    const rows: Row[] = [
      ["7", "a", "1", "1"],
      ["7", "a", "9007199254740993", "2"],
      ["7", "b", "1", "3"],
    ];
    await sink.applyChanges(
      batch(
        ++seq,
        rows.map((row) => target.change("c", "insert", row)),
      ),
      soon(),
    );
    await one(sink, "c", "update", ["7", "a", "1", "4"]);
    await expect(one(sink, "c", "update", ["7", "A", "1", "5"])).rejects.toMatchObject(foreign);
    const after: Row = ["7", "a", "1", null];
    await sink.applyChunk(
      target.chunk({ table: "c", rows: [], seq: ++seq, pass: 1, after, upTo: ["7", "b", "0", null] }),
      soon(),
    );
    expect(await target.rows("c")).toEqual(["7 a 1 4", "7 b 1 3"]);
    await one(sink, "c", "delete", ["7", "b", "1", null]);
    expect(await target.rows("c")).toEqual(["7 a 1 4"]);
    await sink.close();
  });

  test("a root's key is the tenant: its one row and no other", async () => {
    await target.create("tenants", "id VARCHAR(20) PRIMARY KEY, name VARCHAR(20)", { kind: "root" });
    const sink = await target.open({ ...target.lane("acme"), tables: [tableOf("tenants")] });
    await one(sink, "tenants", "insert", ["acme", "one"]);
    await sink.applyChunk(target.chunk({ table: "tenants", rows: [["acme", "two"]], seq: ++seq, pass: 1 }), soon());
    expect(await target.rows("tenants")).toEqual(["acme two"]);
    await target.sql.run(`UPDATE ${target.table("tenants")} SET id = 'ACME'`);
    await expect(one(sink, "tenants", "update", ["acme", "three"])).rejects.toMatchObject(foreign);
    // Another key to the byte: there is no row of ours to delete, and this one stays.
    await one(sink, "tenants", "delete", ["acme", null]);
    expect(await target.rows("tenants")).toEqual(["ACME two"]);
    await sink.close();
  });

  test("T1: a row of another tenant in the log is written by no road", async () => {
    await target.create("w", "id INT PRIMARY KEY, tenant INT NOT NULL, KEY p (tenant, id)");
    const sink = await target.open({ ...target.lane("7"), tables: [tableOf("w")] });
    const code = { code: "GUARD_NOT_TENANT" };
    await expect(one(sink, "w", "insert", ["1", "8"])).rejects.toMatchObject(code);
    await expect(one(sink, "w", "delete", ["1", "8"])).rejects.toMatchObject(code);
    const chunk = target.chunk({ table: "w", rows: [["1", "8"]], seq: ++seq, pass: 1 });
    await expect(sink.applyChunk(chunk, soon())).rejects.toMatchObject(code);
    expect(await target.rows("w")).toEqual([]);
    await sink.close();
  });

  test("a value that the target refuses stops the lane with entry, table and key", async () => {
    await target.create("r", "id INT PRIMARY KEY, tenant INT NOT NULL, v VARCHAR(5), KEY p (tenant, id)");
    const sink = await target.open({ ...target.lane("7"), tables: [tableOf("r")] });
    const changes = ["1", "2"].map((id) => target.change("r", "insert", [id, "7", id === "2" ? "too long" : "short"]));
    const error = { code: "TARGET_REFUSED", facts: { seq: ++seq, table: target.id("r"), key: "2" } };
    await expect(sink.applyChanges(batch(seq, changes), soon())).rejects.toMatchObject(error);
    expect(await target.rows("r")).toEqual([]);
    await sink.close();
  });

  test("a key type whose guard was not tested is refused when the lane opens", async () => {
    await target.create("f", "id INT PRIMARY KEY, tenant INT NOT NULL, KEY p (tenant, id)");
    const spec = target.spec("f");
    const columns = spec.columns.map((column) => ({ ...column, dataType: column.name === "id" ? "double" : "int" }));
    const table = { ...tableOf("f"), definition: { ...spec, columns } };
    expect(keyColumns({ ...spec, columns })[0]?.dataType).toBe("double");
    await expect(target.open({ ...target.lane("7"), tables: [table] })).rejects.toMatchObject({ code: "GUARD_TYPE" });
  });

  test("A6: deletes go by primary key even where the optimizer would rather scan a small table", async () => {
    await target.create("s", "id INT PRIMARY KEY, tenant INT NOT NULL, v INT, KEY p (tenant, id)");
    const ids = Array.from({ length: 64 }, (_, i) => i + 1);
    await target.sql.run(`INSERT INTO ${target.table("s")} VALUES ${ids.map((id) => `(${id}, 7, 0)`)}, (1000, 8, 0)`);
    await target.sql.run(`ANALYZE TABLE ${target.table("s")}`);
    const sink = await target.open({ ...target.lane("7"), tables: [tableOf("s")] });
    const holder = await hold(`SELECT * FROM ${target.table("s")} WHERE id = 1000 FOR UPDATE`);
    const changes = ids.map((id) => target.change("s", "delete", [String(id), "7", null]));
    await sink.applyChanges(batch(++seq, changes), soon());
    await holder.release();
    expect(await target.rows("s")).toEqual(["1000 8 0"]);
    await sink.close();
  });

  function one(sink: LaneSink, name: string, op: ChangeOp, row: Row): Promise<void> {
    return sink.applyChanges(batch(++seq, [target.change(name, op, row)]), soon());
  }

  function tableOf(name: string) {
    const table = target.tables.find(({ id }) => id === target.id(name));
    if (!table) throw new Error(`no table ${name}`);
    return table;
  }

  async function hexRows(name: string): Promise<string[]> {
    const rows = await target.sql.query(`SELECT HEX(id) AS id, tenant, v FROM ${target.table(name)} ORDER BY id`);
    return rows.map((row) => Object.values(row).join(" "));
  }

  /** A neighbour's transaction that holds what the statement locks. */
  async function hold(sql: string): Promise<{ release(): Promise<void> }> {
    const session = await connectMysql(target.address, { side: "source" });
    await session.run("START TRANSACTION");
    await session.query(sql);
    return { release: () => session.close() };
  }
});
