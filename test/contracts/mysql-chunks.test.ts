import { afterAll, beforeAll, expect, test } from "vitest";
import { loadTextKey, parseLoadText } from "../../connectors/mysql/parse-load-text.ts";
import type { TableSpec } from "../../connectors/mysql/table-spec.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { NEVER, StreamHarness } from "./mysql-stream.ts";

const DDL = [
  "CREATE TABLE plain (id BIGINT NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, note TEXT, KEY (tenant, id))",
  "CREATE TABLE pair (tenant VARCHAR(40) NOT NULL, a INT NOT NULL, b BINARY(4) NOT NULL, note TEXT, PRIMARY KEY (tenant, a, b))",
  "CREATE TABLE words (word VARCHAR(40) NOT NULL PRIMARY KEY, tenant VARCHAR(40) NOT NULL, doc JSON, KEY (tenant, word))",
];

describeWithMysql("chunks of a MySQL table (W1, W7)", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, { plain: "tenant", pair: "tenant", words: "tenant" });
    const { sql } = harness;
    const numbers =
      "(WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i FROM n) AS n";
    const tenants = "(SELECT 'acme' AS t UNION SELECT 'other') AS t";
    await sql.run(`INSERT INTO plain SELECT i * 4 + (t = 'other'), t, REPEAT('x', i) FROM ${numbers}, ${tenants}`);
    await sql.run("UPDATE plain SET tenant = 'ACME' WHERE tenant = 'acme' AND id % 5 = 0");
    await sql.run(
      `INSERT INTO pair SELECT t, i DIV 7 - 20, UNHEX(LPAD(HEX(i * 7919), 8, '0')), CONCAT('\t\n', i) FROM ${numbers}, ${tenants}`,
    );
    await sql.run(
      `INSERT INTO words SELECT CONCAT(IF(i % 2, 'Word', 'wörd'), i, t), t, JSON_OBJECT('i', i) FROM ${numbers}, ${tenants}`,
    );
    await sql.run(`UPDATE words SET doc = JSON_OBJECT('d', 12.30) WHERE word LIKE 'Word1%'`);
  });
  afterAll(() => harness?.close());

  test.each(["plain", "pair", "words"])(
    "ranges of %s hold each of the tenant's rows once, and nobody else's",
    async (name) => {
      const connector = harness.connector();
      const source = harness.lane("acme");
      await connector.attach(source, null, 1, NEVER);
      const table = `${harness.schema}.${name}`;
      const spec = harness.tables.find((candidate) => candidate.id === table)?.definition as TableSpec;
      const keyOf = loadTextKey(spec);
      const keys: string[] = [];
      let after: Bound | null = null;
      let ranges = 0;
      for (;;) {
        const upTo: Bound | null = await connector.nextBound(source, table, after, { rows: 60, bytes: 1 << 30 }, NEVER);
        const range = { table, after, upTo };
        const chunk = await connector.readRange(source, range, NEVER);
        const read = chunk.encode(new Set());
        expect(read.rows).toBe(chunk.rows);
        const rows = parseLoadText(spec, read.body);
        if (upTo !== null) expect(rows).toHaveLength(60);
        const found = rows.map(keyOf);
        keys.push(...found);
        const [first] = found;
        if (first !== undefined) {
          const less = chunk.encode(new Set([first]));
          expect(less.rows).toBe(chunk.rows - 1);
          expect(parseLoadText(spec, less.body).map(keyOf)).toEqual(found.slice(1));
        }
        ranges++;
        if (upTo === null) break;
        after = upTo;
      }
      expect(ranges).toBeGreaterThan(5);
      const counts = await connector.countRows(source, NEVER);
      expect(keys).toHaveLength(counts[table] ?? -1);
      expect(new Set(keys).size).toBe(keys.length);
      const [row] = await harness.sql.query(`SELECT COUNT(*) AS n FROM ${table} WHERE CAST(tenant AS BINARY) = 'acme'`);
      expect(String(counts[table])).toBe(row?.["n"]);
      await connector.close();
    },
  );

  test("W7: a byte budget makes smaller pages, by the size of the rows that were read", async () => {
    const connector = harness.connector();
    const source = harness.lane("acme");
    const table = `${harness.schema}.plain`;
    await connector.attach(source, null, 1, NEVER);
    await connector.readRange(source, { table, after: null, upTo: null }, NEVER);
    const upTo = await connector.nextBound(source, table, null, { rows: 100_000, bytes: 16 * 1024 }, NEVER);
    const page = await connector.readRange(source, { table, after: null, upTo }, NEVER);
    const counts = await connector.countRows(source, NEVER);
    expect(page.rows).toBeGreaterThan(10);
    expect(page.rows).toBeLessThan((counts[table] ?? 0) / 2);
    await connector.close();
  });

  test("M2: the fingerprint names server and settings, and is the same twice", async () => {
    const connector = harness.connector();
    const first = await connector.fingerprint(NEVER);
    expect(first).toMatch(/^[-0-9a-f]{36} ordered=1 read_only=0 super_read_only=0/);
    expect(await connector.fingerprint(NEVER)).toBe(first);
    await connector.close();
  });
});
