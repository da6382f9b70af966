import { expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../connectors/mysql/preflight/context.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { PreflightSystem, TENANT } from "./preflight-system.ts";

type Keys = { readonly tenant: readonly string[]; readonly others: readonly string[] };

/** Definitions behind `tenant_id VARCHAR(32) NOT NULL`, and rows as what stands behind the tenant in VALUES. */
const SHAPES: Readonly<Record<string, Keys & { readonly ddl: string; readonly clash: string }>> = {
  "one integer, interleaved": {
    ddl: "id BIGINT UNSIGNED NOT NULL PRIMARY KEY, KEY p (tenant_id, id)",
    tenant: Array.from({ length: 60 }, (_, i) => `${1 + 2 * i}`),
    others: Array.from({ length: 60 }, (_, i) => `${2 + 2 * i}`),
    clash: "61",
  },
  "one integer, below zero and of both remainders": {
    ddl: "id INT NOT NULL PRIMARY KEY, KEY p (tenant_id, id)",
    tenant: Array.from({ length: 60 }, (_, i) => `${3 * i - 90}`),
    others: Array.from({ length: 60 }, (_, i) => `${3 * i - 89}`),
    clash: "-3",
  },
  "two columns": {
    ddl: "a INT NOT NULL, b VARCHAR(20) NOT NULL, PRIMARY KEY (a, b), KEY p (tenant_id, a, b)",
    tenant: Array.from({ length: 60 }, (_, i) => `${i % 3}, 'k${String(i).padStart(3, "0")}'`),
    others: Array.from({ length: 60 }, (_, i) => `${i % 3}, 'k${String(i).padStart(3, "0")}x'`),
    clash: "1, 'k031'",
  },
  "text whose collation ignores case and accents": {
    ddl: "id VARCHAR(20) COLLATE utf8mb4_0900_ai_ci NOT NULL PRIMARY KEY, KEY p (tenant_id, id)",
    tenant: Array.from({ length: 60 }, (_, i) => `'Ärmel${i}'`),
    others: Array.from({ length: 60 }, (_, i) => `'armez${i}'`),
    clash: "'ARMEL7'",
  },
  bytes: {
    ddl: "id BINARY(4) NOT NULL PRIMARY KEY, KEY p (tenant_id, id)",
    tenant: Array.from({ length: 60 }, (_, i) => `UNHEX(LPAD(HEX(${i * 7919}), 8, '0'))`),
    others: Array.from({ length: 60 }, (_, i) => `UNHEX(LPAD(HEX(${i * 7919 + 1}), 8, '0'))`),
    clash: "UNHEX(LPAD(HEX(158380), 8, '0'))",
  },
};

describeWithMysql("clashes of a tenant's keys with those of others in the target (C9, A1)", (mysql) => {
  for (const [name, shape] of Object.entries(SHAPES)) {
    test.each([
      ["nobody else is there", [], 0],
      ["few others are there", shape.others.slice(0, 3), 0],
      ["as many others stand between", shape.others, 0],
      ["a clash is among few", [shape.clash], 1],
      ["a clash is among many", [...shape.others, shape.clash], 1],
    ] as const)(`C9: primary keys of ${name}: %s`, async (_, others, clashes) => {
      await using system = await withTable(mysql, shape.ddl, { tenant: shape.tenant, others });
      // Small pages: every kind of question is asked, and more than one of each.
      for (const batchKeys of [1, 4, 2_000]) {
        const found = (await preflight(system, batchKeys)).filter((one) => one.id === "mysql.clashing-id");
        expect(found.length).toBe(clashes);
      }
    });
  }

  test("C9: the tenant's own rows, already in the target, are no clash", async () => {
    const { ddl, tenant } = SHAPES["one integer, interleaved"] as Keys & { ddl: string };
    await using system = await withTable(mysql, ddl, { tenant, others: [] });
    await system.run("target", [`INSERT INTO {t}.k SELECT * FROM (${rows(tenant, TENANT)}) r`]);
    for (const batchKeys of [1, 2_000]) {
      const found = (await preflight(system, batchKeys)).filter((one) => one.id === "mysql.clashing-id");
      expect(found).toEqual([]);
    }
  });

  test("C9: a neighbour whose key differs in case only is another tenant", async () => {
    const { ddl, tenant } = SHAPES["one integer, interleaved"] as Keys & { ddl: string };
    await using system = await withTable(mysql, ddl, { tenant, others: [] });
    await system.run("target", [`INSERT INTO {t}.k VALUES ('ACME', 7)`]);
    for (const batchKeys of [1, 2_000]) {
      const found = (await preflight(system, batchKeys)).filter((one) => one.id === "mysql.clashing-id");
      expect(found.map((one) => one.finding).join()).toMatch(/rows: 7\.$/);
    }
  });

  test.each([
    ["text", "u VARCHAR(20) NULL", "'Mail{i}'", "'mail{i}x'", "'MAIL9'"],
    ["integers", "u INT NULL", "{i}", "1000 + {i}", "9"],
    ["integers on both sides", "u INT NULL", "2 * {i}", "2 * {i} + 1", "18"],
    ["reals", "u DOUBLE NULL", "{i} / 7", "{i} / 7 + 0.01", "9 / 7"],
  ])("A1: unique values, of which NULL never clashes: %s", async (_, column, mine, theirs, clash) => {
    const value = (text: string, i: number) => `${i}, ${text.replaceAll("{i}", String(i))}`;
    const ids = Array.from({ length: 40 }, (_one, i) => i);
    const tenant = [...ids.map((i) => value(mine, 2 * i + 1)), "901, NULL", "903, NULL"];
    const others = [...ids.map((i) => value(theirs, 2 * i + 2)), "902, NULL", "904, NULL"];
    const ddl = `id INT NOT NULL PRIMARY KEY, ${column}, KEY p (tenant_id, id), UNIQUE KEY once (u)`;
    await using system = await withTable(mysql, ddl, { tenant, others });
    const severities = async () => {
      const all: string[] = [];
      for (const batchKeys of [1, 4, 2_000]) {
        const found = (await preflight(system, batchKeys)).filter((one) => one.id === "mysql.unique-across-tenants");
        all.push(...found.map((one) => `${one.severity} ${/keys (.*)\.$/.exec(one.finding)?.[1] ?? ""}`));
      }
      return all;
    };
    expect(await severities()).toEqual(["warning ", "warning ", "warning "]);
    await system.run("target", [`INSERT INTO {t}.k VALUES ('fjord', 9000, ${clash})`]);
    expect(await severities()).toEqual(["error 9", "error 9", "error 9"]);
  });

  test("C9: neighbours' ids between the tenant's are told apart without reading the tenant's keys", async () => {
    const { ddl } = SHAPES["one integer, interleaved"] as Keys & { ddl: string };
    const numbers = Array.from({ length: 6_000 }, (_, i) => `${i + 1}`);
    const tenant = numbers.filter((_, i) => i % 2 === 0);
    await using system = await withTable(mysql, ddl, { tenant, others: numbers.filter((_, i) => i % 2 === 1) });
    const before = await rowsSent(system);
    await preflight(system, 50);
    const rowsOfEverything = (await rowsSent(system)) - before;
    expect(rowsOfEverything).toBeGreaterThan(0);
    expect(rowsOfEverything).toBeLessThan(tenant.length / 2);
  });
});

/** By the source to Drayage's account, which is this test's own. */
async function rowsSent(system: PreflightSystem): Promise<number> {
  const [found] = await system.admin.source.query(
    `SELECT COALESCE(SUM(SUM_ROWS_SENT), 0) sent FROM performance_schema.events_statements_summary_by_account_by_event_name
      WHERE USER = '${system.names.account}' AND EVENT_NAME = 'statement/sql/select'`,
  );
  return Number((found as { sent: string }[])[0]?.sent);
}

async function withTable(mysql: { readonly a: Address; readonly b: Address }, ddl: string, keys: Keys) {
  const system = await PreflightSystem.create({ source: mysql.a, target: mysql.b });
  await system.install();
  const table = `(tenant_id VARCHAR(32) NOT NULL, ${ddl}) CHARACTER SET utf8mb4`;
  await system.run("source", [`CREATE TABLE {s}.k ${table}`, `INSERT INTO {s}.k ${rows(keys.tenant, TENANT)}`]);
  await system.run("target", [`CREATE TABLE {t}.k ${table}`]);
  if (keys.others.length > 0) await system.run("target", [`INSERT INTO {t}.k ${rows(keys.others, "fjord")}`]);
  return Object.assign(system, { [Symbol.asyncDispose]: () => system.drop() });
}

type Address = Parameters<typeof PreflightSystem.create>[0]["source"];

function rows(keys: readonly string[], tenant: string): string {
  return keys.map((key) => `SELECT '${tenant}', ${key}`).join(" UNION ALL ");
}

async function preflight(system: PreflightSystem, batchKeys: number) {
  return system.preflight({
    schemas: system.schemas({ k: { kind: "column", column: "tenant_id" } }),
    limits: { ...DEFAULT_LIMITS, batchKeys },
    // Without an installation no rows are sent over twins (W6), which here would only cost time.
    installationId: null,
  });
}
