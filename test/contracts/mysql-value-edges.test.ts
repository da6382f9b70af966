import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quoteIdentifier } from "../../connectors/mysql/client.ts";
import { boundFromKey, boundLiterals, keyBytes, keysAreOrdered, keyValues } from "../../connectors/mysql/key-bytes.ts";
import { buildTableSpec, pagingIndex, readTables } from "../../connectors/mysql/schema-reader.ts";
import { keyColumns, type TableSpec } from "../../connectors/mysql/table-spec.ts";
import { canonicalTenant, tenantPredicate, tenantText } from "../../connectors/mysql/tenant-key.ts";
import { comparableParameter, literal } from "../../connectors/mysql/values.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { comparable, keyHexOf, Roads, shown } from "./mysql-roads.ts";

describeWithMysql("MySQL values at the edges", (mysql) => {
  let roads: Roads;
  beforeAll(async () => {
    roads = await Roads.open(mysql);
  });
  afterAll(async () => {
    await roads?.close();
  });

  const insert = (spec: TableSpec, id: number, value: string) =>
    roads.source.run(`INSERT INTO ${roads.table(spec.name)} (tenant, id, v) VALUES (7, ${id}, ${value})`);

  describe("W6: an ENUM's invalid value, index 0", () => {
    const invalid = async (spec: TableSpec) => {
      await roads.source.run("SET SESSION sql_mode = ''");
      await insert(spec, 1, "'no such label'").finally(() =>
        roads.source.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"),
      );
    };
    test("is carried where no label can be taken for a number", async () => {
      const spec = await roads.create("enum_letters", "v ENUM('a','b2','c')");
      const from = await roads.position();
      await invalid(spec);
      const { rows, body } = await roads.selected(spec);
      const [image] = await roads.streamed(spec, from, 1);
      expect(shown([image?.row ?? []])).toEqual(shown(rows));
      expect(shown(rows)).toEqual([["7", "1", "0"]]);
      expect(await roads.loadIntoTarget(spec, body)).toEqual({ rows: 1, skipped: 0, warnings: 0 });
      expect(await roads.fingerprint("target", spec)).toEqual(["7|1|0:"]);
      await roads.truncate("target", spec);
      await roads.upsertIntoTarget(spec, rows);
      expect(await roads.fingerprint("target", spec)).toEqual(await roads.fingerprint("source", spec));
    });
    test("is refused loudly, never changed, where a label looks like a number", async () => {
      const spec = await roads.create("enum_digits", "v ENUM('0','2','1')");
      await invalid(spec);
      const { rows, body } = await roads.selected(spec);
      await roads.target.run("START TRANSACTION");
      const loaded = await roads.loadIntoTarget(spec, body);
      expect(loaded.warnings + loaded.skipped).toBeGreaterThan(0); // A5: the caller rolls this back
      await roads.target.run("ROLLBACK");
      await expect(roads.upsertIntoTarget(spec, rows)).rejects.toMatchObject({ code: "MYSQL_REFUSED" });
      expect(await roads.fingerprint("target", spec)).toEqual([]);
    });
  });

  describe("W6: JSON that its text cannot carry is refused on both roads", () => {
    const opaque = [
      ["DATE", "JSON_ARRAY(CAST('2020-01-02' AS DATE))"],
      ["DATETIME", "JSON_OBJECT('at', CAST('2020-01-02 03:04:05.678901' AS DATETIME(6)))"],
      ["TIME", "JSON_ARRAY(CAST('-101:02:03' AS TIME))"],
      ["TIMESTAMP", "JSON_ARRAY(TIMESTAMP('2020-01-02 03:04:05'))"],
      ["binary", "JSON_ARRAY(CAST('ab' AS BINARY))"],
      ["bits", "JSON_ARRAY(b'101')"],
      ["a root DATE", "CAST(CAST('2020-01-02' AS DATE) AS JSON)"],
    ] as const;
    for (const [i, [name, value]] of opaque.entries()) {
      test(`${name} inside JSON`, async () => {
        const spec = await roads.create(`opaque${i}`, "v JSON");
        const from = await roads.position();
        await insert(spec, 1, value);
        await expect(roads.selected(spec)).rejects.toMatchObject({ code: "JSON_NEEDS_PROOF" });
        await expect(roads.selected(spec, "proving")).rejects.toMatchObject({ code: "VALUE_REFUSED" });
        await expect(roads.streamed(spec, from, 1)).rejects.toMatchObject({ code: "VALUE_REFUSED" });
      });
    }
    for (const [i, digits] of [
      "1.000000000000000000001",
      "12345678901234567890123",
      "-9223372036854775809",
    ].entries()) {
      test(`a DECIMAL of more digits than a double inside JSON: ${digits}`, async () => {
        const spec = await roads.create(`decimal${i}`, "v JSON");
        const from = await roads.position();
        await insert(spec, 1, `JSON_ARRAY(CAST('${digits}' AS DECIMAL(60,25)))`);
        await expect(roads.selected(spec)).rejects.toMatchObject({ code: "VALUE_REFUSED" });
        await expect(roads.selected(spec, "proving")).rejects.toMatchObject({ code: "VALUE_REFUSED" });
        await expect(roads.streamed(spec, from, 1)).rejects.toMatchObject({ code: "VALUE_REFUSED" });
      });
    }
    test("strings that only look like it pass once they are proven", async () => {
      const spec = await roads.create("lookalike", "v JSON");
      const from = await roads.position();
      await insert(spec, 1, `'["2020-01-02", "2020-01-02 03:04:05.000000", "-10:00:00.000000", "base64:type15:YWI="]'`);
      await insert(spec, 2, "NULL");
      await insert(spec, 3, "'null'");
      await expect(roads.selected(spec)).rejects.toMatchObject({ code: "JSON_NEEDS_PROOF" });
      const { rows, body } = await roads.selected(spec, "proving");
      const images = await roads.streamed(spec, from, 3);
      expect(
        comparable(
          spec,
          images.map(({ row }) => row),
        ),
      ).toEqual(comparable(spec, rows));
      expect(await roads.loadIntoTarget(spec, body)).toEqual({ rows: 3, skipped: 0, warnings: 0 });
      expect(await roads.fingerprint("target", spec)).toEqual(await roads.fingerprint("source", spec));
    });
  });

  test("M8, W6: generated, invisible, dropped and re-added columns and functional indexes do not shift the image", async () => {
    const name = "shapes";
    const ddl = [
      `CREATE TABLE ${roads.table(name)} (
        c1 INT, tenant VARCHAR(20) NOT NULL, v1 INT AS (c1 + 1) VIRTUAL, s1 VARCHAR(20) AS (CONCAT('s', c1)) STORED,
        gone INT, id BINARY(3) NOT NULL, c2 VARCHAR(10) CHARACTER SET latin1, c3 BLOB, c4 BIT(3), c5 INT INVISIBLE DEFAULT 5,
        g POINT AS (POINT(c1, 1)) VIRTUAL, c6 JSON, n BIGINT NOT NULL, PRIMARY KEY (id, n), KEY by_tenant (tenant),
        KEY functional ((c1 * 2)), UNIQUE KEY both_ (c1, (UPPER(c2))))`,
      `ALTER TABLE ${roads.table(name)} DROP COLUMN gone, ALGORITHM=INSTANT`,
      `ALTER TABLE ${roads.table(name)} ADD COLUMN c7 DATETIME(3) AFTER tenant, ADD COLUMN c8 TINYINT UNSIGNED, ALGORITHM=INSTANT`,
    ];
    for (const session of [roads.source, roads.target]) for (const statement of ddl) await session.run(statement);
    const spec = await roads.spec(name);
    expect(spec.uniqueIndexes).toEqual([{ name: "both_", columns: ["c1", "(expression)"] }]);
    const from = await roads.position();
    await roads.source.run(
      `INSERT INTO ${roads.table(name)} (c1, tenant, id, c2, c3, c4, c5, c6, n, c7, c8) VALUES
        (1, 'acme', x'000000', 'é', x'ff0a5c', b'101', 9, '{"a": 1.0}', -1, '2024-01-01 00:00:00.123', 255),
        (NULL, 'ACME', x'00ff00', NULL, NULL, NULL, NULL, NULL, 9007199254740993, NULL, NULL)`,
    );
    const { rows, body } = await roads.selected(spec);
    const images = await roads.streamed(spec, from, 2);
    expect(
      comparable(
        spec,
        images.map(({ row }) => row),
      ),
    ).toEqual(comparable(spec, rows));
    expect(images.map(({ tenant }) => tenant)).toEqual(["acme", "ACME"]);
    expect(images.map(({ key }) => key)).toEqual(["0000007fffffffffffffff", "00ff008020000000000001"]);
    expect(images.map(({ key }) => key)).toEqual(rows.map((row) => keyHexOf(spec, row)));
    expect(await roads.loadIntoTarget(spec, body)).toEqual({ rows: 2, skipped: 0, warnings: 0 });
    expect(await roads.fingerprint("target", spec)).toEqual(await roads.fingerprint("source", spec));
  });

  describe("W5: keys", () => {
    const keys = [
      ["TINYINT", ["-128", "-1", "0", "127"]],
      ["INT UNSIGNED ZEROFILL", ["0", "5", "4294967295"]],
      ["MEDIUMINT", ["-8388608", "0", "8388607"]],
      ["BIGINT", ["-9223372036854775808", "-9007199254740993", "-4294967297", "-1", "0", "9223372036854775807"]],
      ["BIGINT UNSIGNED", ["0", "9007199254740993", "9223372036854775808", "18446744073709551615"]],
      ["BINARY(3)", ["x'000000'", "x'000001'", "x'610000'", "x'ffffff'"]],
      ["VARBINARY(3)", ["x''", "x'00'", "x'6100'", "x'61'"]],
      ["DECIMAL(20,2)", ["-1.50", "0.00", "99999999999999999.99"]],
      ["VARCHAR(9)", ["'a'", "'b '", "'é'", "'日本'"]],
      ["VARCHAR(9) CHARACTER SET latin1", ["'a'", "'é'"]],
      ["CHAR(3)", ["'a'", "'b'"]],
      ["DATE", ["'0000-00-00'", "'2020-02-31'"]],
      ["DATETIME(3)", ["'2020-02-28 01:02:03.004'", "'0000-00-00 00:00:00.000'"]],
      ["TIMESTAMP(6)", ["'1970-01-01 00:00:01.000001'"]],
      ["TIME(2)", ["'-00:00:00.01'", "'-01:00:00.00'", "'838:59:59.00'"]],
      ["YEAR", ["'0000'", "2155"]],
      ["ENUM('2','1','x')", ["1", "2", "3"]],
      ["BIT(64)", ["0", "18446744073709551615"]],
    ] as const;
    for (const [i, [type, values]] of keys.entries()) {
      test(`${type}: the same from both roads, found again by literal and parameter through the index`, async () => {
        const spec = await roads.create(`key${i}`, "v INT", `tenant INT NOT NULL, k ${type} NOT NULL PRIMARY KEY`);
        const table = roads.table(spec.name);
        const from = await roads.position();
        for (const value of values) await roads.source.run(`INSERT INTO ${table} VALUES (7, ${value}, 1)`);
        const { rows } = await roads.selected(spec);
        const images = await roads.streamed(spec, from, values.length);
        const fromSelect = rows.map((row) => keyHexOf(spec, row));
        expect(images.map(({ key }) => key).sort()).toEqual([...fromSelect].sort());
        expect(new Set(fromSelect).size).toBe(values.length);
        if (keysAreOrdered(spec)) expect(fromSelect).toEqual([...fromSelect].sort());
        const [column] = keyColumns(spec);
        if (!column) throw new Error("no key");
        for (const row of rows) {
          const value = row[1] ?? new Uint8Array();
          expect(shown([keyValues(spec, keyBytes(spec)([value]))])).toEqual(shown([[value]]));
          const bound = boundFromKey(spec, [value]);
          expect(JSON.parse(JSON.stringify(bound))).toEqual(bound);
          expect(boundLiterals(spec, bound)).toEqual([literal(column, value)]);
          const count = `SELECT COUNT(*) AS n FROM ${table} WHERE k = `;
          const [byLiteral] = await roads.source.query(`${count}${literal(column, value)}`);
          const [byParameter] = await roads.source.executeQuery(`${count}${comparableParameter(column)}`, [value]);
          expect([byLiteral?.["n"], byParameter?.["n"]], type).toEqual(["1", "1"]);
          const hex = `x'${Buffer.from(value).toString("hex")}'`;
          for (const comparison of [literal(column, value), comparableParameter(column).replace("?", hex)]) {
            const [plan] = await roads.source.query(
              `EXPLAIN FORMAT=TRADITIONAL SELECT * FROM ${table} WHERE k = ${comparison}`,
            );
            expect(plan?.["key"], `${type} ${comparison}`).toBe("PRIMARY");
          }
        }
      });
    }
    test("keys that differ in bytes but not by collation are different KeyBytes, also over several columns", async () => {
      const spec = await roads.create(
        "composite",
        "v INT",
        "tenant INT NOT NULL, a VARCHAR(9) NOT NULL, b VARCHAR(9) NOT NULL, PRIMARY KEY (a, b)",
      );
      const keyOf = keyBytes(spec);
      const pairs = [
        ["a", "bc"],
        ["ab", "c"],
        ["A", "bc"],
        ["a", "bc "],
        ["", "abc"],
      ];
      const texts = pairs.map((pair) => Buffer.from(keyOf(pair.map((text) => Buffer.from(text)))).toString("hex"));
      expect(new Set(texts).size).toBe(pairs.length);
      expect(keysAreOrdered(spec)).toBe(false);
    });
    for (const type of ["FLOAT", "DOUBLE", "SET('a','b')"]) {
      test(`${type} keys are refused`, async () => {
        const name = `refused_${type.slice(0, 3)}`;
        const spec = await roads.create(name, "v INT", `tenant INT NOT NULL, k ${type} NOT NULL PRIMARY KEY`);
        expect(() => keyBytes(spec)).toThrowError(expect.objectContaining({ code: "COLUMN_REFUSED" }));
      });
    }
    test("a prefix in the primary key is refused", async () => {
      const ddl = `CREATE TABLE ${roads.table("prefix")} (tenant INT, k TEXT NOT NULL, PRIMARY KEY (k(10)), KEY (tenant))`;
      await roads.source.run(ddl);
      await expect(roads.spec("prefix")).rejects.toMatchObject({ code: "SCHEMA_MISMATCH" });
    });
  });

  describe("T1: whose row it is, is said by bytes", () => {
    const cases = [
      ["VARCHAR(20)", "acme", ["'acme'", "'ACME'", "'acme '", "'acmé'"], ["'acme'"]],
      [
        "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "acme",
        ["'acme'", "'ACME'", "'acme '"],
        ["'acme'"],
      ],
      ["CHAR(20) CHARACTER SET ascii", "acme", ["'acme'", "'ACME'"], ["'acme'"]],
      ["VARCHAR(20) CHARACTER SET latin1", "acme", ["'acme'", "'ACME'"], ["'acme'"]],
      ["VARCHAR(20)", "ключ '\\\"", ["'ключ \\'\\\\\"'", "'КЛЮЧ \\'\\\\\"'"], ["'ключ \\'\\\\\"'"]],
      ["BIGINT UNSIGNED", "0018446744073709551615", ["18446744073709551615", "0"], ["18446744073709551615"]],
      ["INT ZEROFILL", "7", ["7", "70"], ["7"]],
      [
        "BINARY(16)",
        "00112233-4455-6677-8899-aabbccddeeff",
        ["x'00112233445566778899aabbccddeeff'", "x'00'"],
        ["x'00112233445566778899aabbccddeeff'"],
      ],
      ["BINARY(4)", "0x61000000", ["'a'", "'A'", "'a '"], ["'a'"]],
      ["VARBINARY(9)", "acme", ["'acme'", "'ACME'", "'acme '", "x'61636d6500'"], ["'acme'"]],
    ] as const;
    for (const [i, [type, tenant, all, own]] of cases.entries()) {
      test(`${type}, ${tenant}`, async () => {
        const spec = await roads.create(`tenant${i}`, "v INT", `tenant ${type} NOT NULL, id INT NOT NULL PRIMARY KEY`);
        const table = roads.table(spec.name);
        const from = await roads.position();
        for (const [id, value] of all.entries())
          await roads.source.run(`INSERT INTO ${table} VALUES (${value}, ${id}, 1)`);
        const [count] = await roads.source.query(
          `SELECT COUNT(*) AS n FROM ${table} AS t WHERE ${tenantPredicate(spec, tenant, "t")}`,
        );
        expect(count?.["n"]).toBe(String(own.length));
        const column = spec.columns[0];
        if (!column) throw new Error("no column");
        const wanted = tenantText(canonicalTenant(column, tenant));
        const images = await roads.streamed(spec, from, all.length);
        expect(images.filter((image) => image.tenant === wanted)).toHaveLength(own.length);
        const [plan] = await roads.source.query(
          `EXPLAIN FORMAT=TRADITIONAL SELECT v FROM ${table} FORCE INDEX (by_tenant) WHERE ${tenantPredicate(spec, tenant)}`,
        );
        expect(plan?.["key"]).toBe("by_tenant");
      });
    }
  });

  test("W7: the paging index fixes the tenant and goes on with the primary key", async () => {
    const shapes: readonly (readonly [string, string | null])[] = [
      ["tenant INT, id INT, PRIMARY KEY (id)", null],
      ["tenant INT, id INT, PRIMARY KEY (id), KEY k (tenant)", "k"],
      ["tenant INT, id INT, PRIMARY KEY (id), KEY k (tenant, id)", "k"],
      ["tenant INT, id INT, PRIMARY KEY (tenant, id), KEY k (tenant)", "PRIMARY"],
      ["tenant INT, id INT, PRIMARY KEY (id, tenant), KEY k (tenant)", "k"],
      ["tenant INT, id INT, x INT, PRIMARY KEY (id, x), KEY k (tenant, x)", null],
      ["tenant INT, id INT, x INT, PRIMARY KEY (id, x), KEY k (tenant, id)", "k"],
      ["tenant INT, id INT, x INT, PRIMARY KEY (id), KEY k (tenant, x)", null],
      ["tenant INT, id INT, PRIMARY KEY (id), KEY k (tenant) INVISIBLE", null],
      ["tenant INT, id INT, PRIMARY KEY (id), KEY k (tenant DESC)", null],
      ["tenant VARCHAR(99), id INT, PRIMARY KEY (id), KEY k (tenant(5))", null],
    ];
    for (const [i, [columns]] of shapes.entries())
      await roads.source.run(`CREATE TABLE ${roads.table(`page${i}`)} (${columns})`);
    const tables = await readTables(roads.source, roads.schema);
    for (const [i, [columns, expected]] of shapes.entries()) {
      const table = tables.find((candidate) => candidate.name === `page${i}`);
      if (!table) throw new Error(`no table ${i}`);
      expect(pagingIndex(table, { kind: "column", column: "tenant" }), columns).toBe(expected);
    }
    const root = tables.find((table) => table.name === "page0");
    if (!root) throw new Error("no table");
    expect(pagingIndex(root, { kind: "root" })).toBe("PRIMARY");
    expect(() =>
      buildTableSpec(root, { belonging: { kind: "column", column: "tenant" }, targetSchema: "x" }),
    ).toThrowError(expect.objectContaining({ code: "SCHEMA_MISMATCH" }));
  });

  test("a schema is read with its triggers, foreign keys, partitions and labels", async () => {
    const t = (name: string) => roads.table(name);
    await roads.source.run(`CREATE TABLE ${t("parent")} (id INT PRIMARY KEY, tenant INT, KEY (tenant))`);
    await roads.source.run(
      `CREATE TABLE ${t("child")} (id INT PRIMARY KEY, tenant INT, parent_id INT, s SET('a','b''c','d\\\\','"'), KEY (tenant),
        CONSTRAINT ${quoteIdentifier(`fk_${roads.schema}`)} FOREIGN KEY (parent_id) REFERENCES ${t("parent")} (id) ON DELETE CASCADE)`,
    );
    await roads.source.run(
      `CREATE TRIGGER ${t("trigger_one")} BEFORE INSERT ON ${t("child")} FOR EACH ROW SET NEW.id = NEW.id`,
    );
    await roads.source.run(`CREATE TABLE ${t("parted")} (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3`);
    const tables = new Map((await readTables(roads.source, roads.schema)).map((table) => [table.name, table]));
    const child = tables.get("child");
    expect(child?.columns.find((column) => column.name === "s")?.labels).toEqual(["a", "b'c", "d\\", '"']);
    expect(child?.triggers).toEqual(["trigger_one"]);
    expect(child?.foreignKeys).toMatchObject([{ columns: ["parent_id"], parentTable: "parent", onDelete: "CASCADE" }]);
    expect(tables.get("parted")?.partitions).toBe(3);
    expect(child?.engine).toBe("InnoDB");
  });
});
