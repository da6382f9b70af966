import { randomBytes } from "node:crypto";
import type { Connection } from "mysql2/promise";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { discoverTables } from "../../connectors/mysql/discover-tables.ts";
import { MysqlGenerationBook } from "../../connectors/mysql/generation-book.ts";
import { ensureDraySchema } from "../../connectors/mysql/installation.ts";
import { bindNamed } from "../../connectors/mysql/named-parameters.ts";
import { readTables } from "../../connectors/mysql/schema-reader.ts";
import { SqlAdapter, type SqlAdapterOptions } from "../../cutover/adapters/sql-adapter.ts";
import { testAdapter } from "../../cutover/adapters/test-kit.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import { connect } from "./preflight-system.ts";

const signal = AbortSignal.timeout(300_000);
const TENANT = 'o\'ne\\ "two"';

describeWithMysql("the SQL adapter", (mysql) => {
  const prefix = `sa_${randomBytes(4).toString("hex")}`;
  const [app, dray] = [`${prefix}_app`, `${prefix}_dray`];
  const open: SqlAdapter[] = [];
  let admin: Connection;
  let covered: readonly CoveredTable[];

  beforeAll(async () => {
    admin = await connect(mysql.a);
    await admin.query(`CREATE SCHEMA ${app}`);
    await admin.query(`USE ${app}`);
    await admin.query(
      "CREATE TABLE tenants (id VARCHAR(40) PRIMARY KEY, fenced INT NOT NULL, home VARCHAR(20), calls INT NOT NULL)",
    );
    await admin.query("CREATE TABLE hooked (id INT PRIMARY KEY)");
    await admin.query("CREATE TABLE orders (id INT PRIMARY KEY, tenant_id VARCHAR(40) NOT NULL, KEY (tenant_id))");
    await admin.query(
      "CREATE TRIGGER hook AFTER INSERT ON hooked FOR EACH ROW INSERT INTO orders VALUES (NEW.id, 'x')",
    );
    const session = await connectMysql(mysql.a, { side: "source" });
    await ensureDraySchema(session, { schema: dray, installationId: "11111111-2222-3333-4444-555555555555" });
    const live = new Map([[app, await readTables(session, app)]]);
    const tables = [{ name: "orders", belonging: { kind: "column", column: "tenant_id" } as const }];
    covered = discoverTables([{ source: app, target: app, tables }], live, "source").tables;
    await session.close();
  });
  beforeEach(async () => {
    await admin.query("DELETE FROM tenants");
    await admin.query("INSERT INTO tenants VALUES (?, 0, 'a', 0), ('neighbour', 0, 'a', 0)", [TENANT]);
  });
  afterAll(async () => {
    await Promise.all(open.map((adapter) => adapter.close()));
    await admin.query(`DROP SCHEMA IF EXISTS ${app}`);
    await admin.query(`DROP SCHEMA IF EXISTS ${dray}`);
    await admin.end();
  });

  const update = (set: string) => `UPDATE ${app}.tenants SET ${set}, calls = calls + 1 WHERE id = :tenant`;
  const STATEMENTS = {
    fence: [update("fenced = :generation")],
    unfence: [update("fenced = 0")],
    retire: [update("fenced = :generation")],
    route: [update("home = :to, fenced = 0")],
  };
  const adapterAt = (address: MysqlAddress, change: Partial<SqlAdapterOptions> = {}) => {
    const adapter = new SqlAdapter({
      name: "router",
      timeoutMs: 5_000,
      enforcedByDatabase: false,
      statements: STATEMENTS,
      book: new MysqlGenerationBook({ address, draySchema: dray, cluster: "a" }),
      clock: systemClock,
      ...change,
    });
    open.push(adapter);
    return adapter;
  };
  const call = (generation: number, move = randomBytes(4).toString("hex")) => ({
    move,
    tenant: TENANT,
    to: "b",
    generation,
    expiresInMs: null,
  });
  const tenant = async () => {
    const [rows] = await admin.query("SELECT fenced, home, calls FROM tenants WHERE id = ?", [TENANT]);
    return (rows as unknown[])[0];
  };
  const neighbour = async () => {
    const [rows] = await admin.query("SELECT fenced, home, calls FROM tenants WHERE id = 'neighbour'");
    return (rows as unknown[])[0];
  };

  test("C4: passes the adapters' test kit", async () => {
    const adapter = adapterAt(mysql.a);
    const report = await testAdapter({ adapter, tenant: TENANT, to: "a", move: "kit", signal });
    expect(report.checks.filter((check) => check.verdict === "failed")).toEqual([]);
    expect(report.passed).toBe(true);
    expect(await neighbour()).toEqual({ fenced: 0, home: "a", calls: 0 });
  });

  test("C4: the tenant is a parameter, a repeat runs nothing again, a late call changes nothing", async () => {
    const adapter = adapterAt(mysql.a);
    const first = call(3);
    expect(await adapter.fence(first, signal)).toMatchObject({
      kind: "done",
      by: "answer",
      reading: { state: "fenced", generation: 3 },
    });
    expect(await adapter.fence(first, signal)).toMatchObject({ kind: "done", by: "answer" });
    expect(await tenant()).toEqual({ fenced: 3, home: "a", calls: 1 });
    expect(await adapter.unfence(first, signal)).toMatchObject({ kind: "done", reading: { state: "open" } });
    expect(await adapter.fence(first, signal)).toMatchObject({
      kind: "refused",
      reading: { state: "open", generation: 3 },
    });
    expect(await adapter.fence({ ...first, generation: 2 }, signal)).toMatchObject({ kind: "refused" });
    expect(await adapter.route({ ...first, generation: 2 }, signal)).toMatchObject({ kind: "refused" });
    expect(await tenant()).toEqual({ fenced: 0, home: "a", calls: 2 });
    expect(await neighbour()).toEqual({ fenced: 0, home: "a", calls: 0 });
  });

  test("C4: of a fence and an unfence of one generation at once, the tenant is never left fenced", async () => {
    const [one, two] = [adapterAt(mysql.a), adapterAt(mysql.a)];
    for (let round = 1; round <= 20; round++) {
      const at = call(round);
      const [fenced, unfenced] = await Promise.all([one.fence(at, signal), two.unfence(at, signal)]);
      expect(unfenced.kind).toBe("done");
      expect(["done", "refused"]).toContain(fenced.kind);
      expect(await tenant()).toMatchObject({ fenced: 0 });
      expect(await one.read(at, signal)).toMatchObject({ kind: "read", reading: { state: "open", generation: round } });
    }
  });

  test("an answer that is lost is read back before it counts", async () => {
    const { proxy, address } = await CuttingProxy.to(mysql.a);
    const adapter = adapterAt(address);
    const at = call(1);
    await adapter.read(at, signal);
    proxy.cutAfter("COMMIT");
    const outcome = await adapter.fence(at, signal);
    expect(proxy.cuts).toBe(1);
    expect(outcome).toMatchObject({ kind: "done", by: "read-back", reading: { state: "fenced", generation: 1 } });
    expect(await tenant()).toEqual({ fenced: 1, home: "a", calls: 1 });
    proxy.break();
    expect(await adapter.unfence(at, signal)).toMatchObject({ kind: "unknown", reading: null });
    expect(await adapter.read(at, signal)).toMatchObject({ kind: "unknown" });
    proxy.close();
  });

  test("a call that is locked out ends with its timeout, is unknown, and has changed nothing", async () => {
    const adapter = adapterAt(mysql.a, { timeoutMs: 200 });
    const blocker = await connect(mysql.a);
    await blocker.query("BEGIN");
    await blocker.query(`UPDATE ${app}.tenants SET calls = 0`);
    const at = call(1);
    expect(await adapter.fence(at, signal)).toMatchObject({ kind: "unknown" });
    await blocker.query("ROLLBACK");
    await blocker.end();
    expect(await tenant()).toEqual({ fenced: 0, home: "a", calls: 0 });
    expect(await adapter.fence(at, signal)).toMatchObject({ kind: "done" });
  });

  test("statements and generation are one transaction: where one statement fails, nothing stands", async () => {
    const broken = { ...STATEMENTS, fence: [update("fenced = 1"), `INSERT INTO ${app}.nowhere VALUES (1)`] };
    const adapter = adapterAt(mysql.a, { statements: broken });
    const at = call(1);
    expect(await adapter.fence(at, signal)).toMatchObject({
      kind: "unknown",
      reading: { state: "open", generation: 0 },
    });
    expect(await tenant()).toEqual({ fenced: 0, home: "a", calls: 0 });
  });

  test("C4: the dry-run refuses a statement that writes a covered table, by itself or by a trigger, and leaves nothing", async () => {
    const clean = adapterAt(mysql.a);
    expect(await clean.dryRun(call(0), covered, signal)).toEqual([]);
    const statements = {
      ...STATEMENTS,
      fence: [`UPDATE ${app}.orders SET tenant_id = :tenant WHERE id = 1`],
      unfence: [`INSERT INTO ${app}.hooked VALUES (7)`],
      retire: [`DELETE FROM ${app}.nowhere`],
      route: ["ALTER TABLE orders READ ONLY", "UPDATE t SET a = :who", "UPDATE t SET a = 1; UPDATE t SET a = 2"],
    };
    const findings = await adapterAt(mysql.a, { statements }).dryRun(call(0), covered, signal);
    expect(findings.map((finding) => [finding.id, finding.rule])).toEqual([
      ["mysql.fence-touches-data", "C4"],
      ["mysql.fence-touches-data", "C4"],
      ...Array.from({ length: 4 }, () => ["mysql.sql-adapter-statement", "C4"]),
    ]);
    expect(findings[1]?.finding).toMatch(/FENCE_TOUCHES_DATA: the statement writes .*orders/);
    expect(findings[4]?.finding).toMatch(/:who is not known; known are :tenant, :move, :to, :generation/);
    const [rows] = await admin.query(
      `SELECT (SELECT COUNT(*) FROM hooked) hooked, (SELECT COUNT(*) FROM orders) orders`,
    );
    expect(rows).toEqual([{ hooked: 0, orders: 0 }]);
    expect(await tenant()).toEqual({ fenced: 0, home: "a", calls: 0 });
  });

  test("names stand for parameters outside of quotes and comments only", () => {
    const sql =
      "UPDATE `a:tenant` SET b = ':tenant', c = \":to\" /* :move ? */ WHERE d = :tenant AND e = :generation -- :to\n";
    const bound = bindNamed(sql, { tenant: "x", generation: 4, to: "b", move: "m" });
    expect(bound.parameters).toEqual(["x", 4]);
    expect(bound.sql).toBe(
      "UPDATE `a:tenant` SET b = ':tenant', c = \":to\" /* :move ? */ WHERE d = ? AND e = ? -- :to\n",
    );
    expect(() => bindNamed("DELETE FROM t WHERE a = ?", {})).toThrow(/bare \?/);
    expect(() => bindNamed("CALL p()", {})).toThrow(/SQL_ADAPTER_STATEMENT/);
  });
});
