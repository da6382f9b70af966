import { expect, test } from "vitest";
import { connectMysql } from "../../connectors/mysql/client.ts";
import { TwinStream } from "../../connectors/mysql/preflight/twin-roads.ts";
import { twinsOf } from "../../connectors/mysql/preflight/twin-tables.ts";
import { buildTableSpec, readTables } from "../../connectors/mysql/schema-reader.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import { TableStatements } from "../../sinks/mysql/table-statements.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { HARD_VALUES } from "./mysql-hard-values.ts";
import { PreflightSystem, TENANT } from "./preflight-system.ts";

describeWithMysql("W6: the tenant's rows there and back over twin tables", (mysql) => {
  test("W6: every type with its hardest values comes through both roads", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const manifest: Record<string, { kind: "column"; column: string }> = {};
    // A few columns a table, so that a row holds several values and the sample is one of many.
    for (let at = 0; at < HARD_VALUES.length; at += 6) {
      const some = HARD_VALUES.slice(at, at + 6);
      const columns = some.map(({ type }, i) => `c${i} ${type} NULL`).join(", ");
      const name = `hard_${at}`;
      const ddl = `(tenant_id VARCHAR(32) NOT NULL, id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, ${columns}, KEY (tenant_id))`;
      await system.run("source", [`CREATE TABLE {s}.${name} ${ddl}`]);
      await system.run("target", [`CREATE TABLE {t}.${name} ${ddl}`]);
      await system.run("source", ["SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"]);
      for (const [i, { values }] of some.entries()) {
        const rows = values.map((value) => `('${TENANT}', ${value})`).join(", ");
        await system.run("source", [`INSERT INTO {s}.${name} (tenant_id, c${i}) VALUES ${rows}`]);
      }
      manifest[name] = { kind: "column", column: "tenant_id" };
    }
    const found = roundTrip(await system.preflight({ schemas: system.schemas(manifest) }));
    expect(found.map((finding) => [finding.severity, finding.finding])).toEqual([
      ["info", expect.stringMatching(/^\d\d+ row\(s\) of the tenant came through both roads/)],
    ]);
    expect(await twins(system)).toEqual([]);
  });

  test("W6: generated columns, checks, composite keys and other names of the schema are no obstacle", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const ddl = `(tenant_id VARCHAR(32) NOT NULL, \`a b\` INT NOT NULL, c VARCHAR(20) NOT NULL DEFAULT 'x', d INT AS (\`a b\` * 2) STORED,
      e VARCHAR(40) AS (UPPER(c)) VIRTUAL, f JSON AS (JSON_ARRAY(c)), CHECK (\`a b\` > 0), UNIQUE KEY u (tenant_id, c), PRIMARY KEY (tenant_id, \`a b\`, c))`;
    await system.run("source", [
      `CREATE TABLE {s}.odd ${ddl}`,
      `INSERT INTO {s}.odd (tenant_id, \`a b\`, c) VALUES ('${TENANT}', 1, 'ä'), ('${TENANT}', 2, ''), ('ACME', 3, 'no')`,
    ]);
    await system.run("target", [`CREATE TABLE {t}.odd ${ddl}`]);
    const schemas = system.schemas({ odd: { kind: "column", column: "tenant_id" } });
    expect(roundTrip(await system.preflight({ schemas })).map((finding) => finding.severity)).toEqual(["info"]);
  });

  test("W6: a value that a road cannot carry is told by table and column, never by value", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const ddl = "(tenant_id VARCHAR(32) NOT NULL, id INT NOT NULL PRIMARY KEY, j JSON, KEY (tenant_id))";
    await system.run("source", [
      `CREATE TABLE {s}.k ${ddl}`,
      `INSERT INTO {s}.k VALUES ('${TENANT}', 1, '1'), ('${TENANT}', 2, CAST(CAST('1999-12-31' AS DATE) AS JSON))`,
    ]);
    await system.run("target", [`CREATE TABLE {t}.k ${ddl}`]);
    const schemas = system.schemas({ k: { kind: "column", column: "tenant_id" } });
    const found = roundTrip(await system.preflight({ schemas }));
    expect(found.map((finding) => finding.severity)).toEqual(["error", "error"]);
    expect(found.map((finding) => finding.finding).join("\n")).toMatch(
      /SELECT and LOAD DATA: .*\bj\b[\s\S]*binary log and guarded statement: .*\bj\b/,
    );
    expect(JSON.stringify(found)).not.toContain("1999");
    expect(await twins(system)).toEqual([]);
  });

  test("W6: a column that a road changes is named", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const found = roundTrip(
      await system.preflight({
        guardedUpsert: (table) =>
          new TableStatements(table).upsert(1).replace("`country` = dray_new.`country`", "`country` = 'DE'"),
      }),
    );
    expect(found).toMatchObject([
      {
        severity: "error",
        subject: `${system.names.source}.users`,
        finding: expect.stringMatching(/statement these columns arrive other than they were sent: country\.$/),
      },
    ]);
  });

  test("W6: a missing grant is named, and no twin is made that could not be taken away", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    await system.run("target", [`REVOKE DROP ON \`${system.names.dray.replaceAll("_", "\\_")}\`.* FROM {u}`]);
    const [finding, ...others] = roundTrip(await system.preflight());
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ severity: "error", subject: expect.stringMatching(/^target /) });
    expect(finding?.finding).toMatch(/lacks DROP on /);
    if (finding) await system.applyFixes(finding);
    expect(roundTrip(await system.preflight()).map(({ severity }) => severity)).toEqual(["info"]);
  });

  test("W6: twins are taken away when preflight is ended half way, and those of one that crashed by the next", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const ending = new AbortController();
    const preflight = system.preflight({
      signal: ending.signal,
      guardedUpsert: (table) => {
        ending.abort(new Error("enough"));
        return new TableStatements(table).upsert(1);
      },
    });
    await expect(preflight).rejects.toThrow();
    expect(await twins(system)).toEqual([]);

    for (const side of ["source", "target"] as const) {
      const { dray } = system.names;
      await system.run(side, [
        "SET SESSION timestamp = UNIX_TIMESTAMP() - 600",
        `CREATE TABLE ${dray}.twin_0123456789ab_0 (id INT)`,
        "SET SESSION timestamp = DEFAULT",
        `CREATE TABLE ${dray}.twin_ba9876543210_0 (id INT)`,
      ]);
    }
    await system.preflight();
    // Another preflight may be using the one that was made just now.
    expect(await twins(system)).toEqual(["source twin_ba9876543210_0", "target twin_ba9876543210_0"]);
  });

  test("W6: rows that never come in the binary log are not waited for without end", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    const session = await connectMysql(system.address.source, { side: "source" });
    const table = (await readTables(session, system.names.source)).find(({ name }) => name === "orders");
    if (!table) throw new Error("no table orders");
    const spec = buildTableSpec(table, { belonging: { kind: "column", column: "tenant_id" }, targetSchema: "x" });
    const twins = twinsOf([spec], { source: system.names.dray, target: system.names.dray });
    const { signal } = new AbortController();
    const stream = await TwinStream.open({ address: system.address.source, session, twins, withinMs: 300 }, signal);
    const counts = new Map(twins.map(({ id }) => [id, 1]));
    await expect(stream.rows(counts, signal)).rejects.toThrow(/did not come in the binary log within 300 ms/);
    expect(await stream.rows(new Map(), signal)).toEqual(new Map());
    await stream.close();
    await session.close();
  });

  test("W6: the roads are not taken where the definitions differ already", async () => {
    await using scratch = await scratchSystem(mysql);
    const { system } = scratch;
    await system.run("target", ["ALTER TABLE {t}.orders MODIFY total DECIMAL(12,1) NOT NULL"]);
    const findings = await system.preflight();
    expect(findings.filter((finding) => finding.id === "mysql.definition")).toMatchObject([{ severity: "error" }]);
    expect(roundTrip(findings)).toMatchObject([{ severity: "info", subject: "2 table(s)" }]);
  });
});

function roundTrip(findings: readonly Finding[]): readonly Finding[] {
  return findings.filter((finding) => finding.id === "mysql.round-trip");
}

async function twins(system: PreflightSystem): Promise<readonly string[]> {
  const names: string[] = [];
  for (const side of ["source", "target"] as const) {
    const [rows] = await system.admin[side].query(
      `SELECT TABLE_NAME name FROM information_schema.TABLES WHERE TABLE_SCHEMA = '${system.names.dray}' AND TABLE_NAME LIKE 'twin%'`,
    );
    names.push(...(rows as { name: string }[]).map(({ name }) => `${side} ${name}`));
  }
  return names;
}

async function scratchSystem(mysql: {
  readonly a: Parameters<typeof PreflightSystem.create>[0]["source"];
  readonly b: Parameters<typeof PreflightSystem.create>[0]["source"];
}) {
  const system = await PreflightSystem.create({ source: mysql.a, target: mysql.b });
  await system.install();
  return { system, [Symbol.asyncDispose]: () => system.drop() };
}
