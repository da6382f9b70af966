import type { Connection } from "mysql2/promise";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MysqlAddress } from "../../connectors/mysql/client.ts";
import { type MysqlPreflightOptions, mysqlPreflight } from "../../connectors/mysql/preflight.ts";
import { openServers, type Servers } from "../../docker/servers.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import { TableStatements } from "../../sinks/mysql/table-statements.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { connect, PreflightSystem } from "./preflight-system.ts";

/** As no source should be: each flag is one finding. */
const WRONG_FLAGS = [
  "--gtid-mode=OFF",
  "--enforce-gtid-consistency=OFF",
  "--binlog-row-image=MINIMAL",
  "--binlog-row-metadata=MINIMAL",
  "--binlog-row-value-options=PARTIAL_JSON",
  "--binlog-format=STATEMENT",
  "--binlog-order-commits=OFF",
  "--binlog-ignore-db=other",
  "--binlog-expire-logs-seconds=600",
  "--sync-binlog=0",
  "--innodb-flush-log-at-trx-commit=2",
  "--log-replica-updates=OFF",
  "--local-infile=0",
  "--max-allowed-packet=4M",
  "--innodb-native-foreign-keys=ON",
  "--performance-schema-instrument=wait/lock/metadata/sql/mdl=OFF",
];

describeWithOwnServers("preflight of the servers themselves", ["mysql"], () => {
  let servers: Servers;
  let wrong: MysqlAddress;
  let right: MysqlAddress;
  let admin: Connection;

  beforeAll(async () => {
    servers = await openServers();
    [wrong, right] = await Promise.all([
      servers.mysql({ name: "wrong", gtid: false, flags: WRONG_FLAGS }),
      servers.mysql({ name: "right", flags: ["--auto-increment-increment=1"] }),
    ]);
    admin = await connect(wrong);
  });
  afterAll(async () => {
    await admin?.end();
    await servers?.close();
  });

  const preflight = (change: Partial<MysqlPreflightOptions> = {}) =>
    mysqlPreflight({
      source: wrong,
      target: wrong,
      draySchema: { source: "dray", target: "dray" },
      installationId: null,
      tenant: "acme",
      schemas: [],
      fencedSchemas: [],
      consents: [],
      guardedUpsert: (table) => new TableStatements(table).upsert(1),
      signal: AbortSignal.timeout(60_000),
      ...change,
    });
  const ids = (findings: readonly Finding[], severity: Finding["severity"]) =>
    [...new Set(findings.filter((finding) => finding.severity === severity).map((finding) => finding.id))]
      // Whether a test server has a second administrator depends on where it comes from.
      .filter((id) => id !== "mysql.dray-writers")
      .sort();

  const PERSISTED = [
    "mysql.binlog-format",
    "mysql.binlog-order-commits",
    "mysql.binlog-retention",
    "mysql.binlog-row-image",
    "mysql.binlog-row-metadata",
    "mysql.binlog-row-value-options",
    "mysql.flush-log",
    "mysql.instruments",
    "mysql.max-allowed-packet",
    "mysql.sync-binlog",
  ];
  const RESTART = [
    "mysql.binlog-filters",
    "mysql.gtid-consistency",
    "mysql.gtid-mode",
    "mysql.log-replica-updates",
    "mysql.same-server",
  ];

  test("M2, M4, M6, M8, C8: every wrong setting is told at once, and the fix SQL mends what SQL can", async () => {
    const findings = await preflight();
    expect(ids(findings, "error")).toEqual([...PERSISTED, ...RESTART].sort());
    expect(ids(findings, "warning")).toEqual(["mysql.local-infile", "mysql.target-gtid-mode"]);
    const consented = await preflight({ consents: ["relaxed-durability", "short-retention"] });
    for (const id of ["mysql.sync-binlog", "mysql.flush-log", "mysql.binlog-retention"]) {
      expect(ids(findings, "error")).toContain(id);
      expect(ids(consented, "error")).not.toContain(id);
      expect(ids(consented, "warning")).toContain(id);
    }
    for (const finding of findings) for (const statement of finding.fixSql ?? []) await admin.query(statement);
    expect(ids(await preflight(), "error")).toEqual(RESTART);
    expect(ids(await preflight(), "warning")).toEqual(["mysql.target-gtid-mode"]);
  });

  test("M1: a server that is read-only is refused on either side", async () => {
    await admin.query("SET GLOBAL super_read_only = ON");
    const findings = await preflight({ target: right });
    expect(ids(findings, "error")).toContain("mysql.super-read-only");
    expect(ids(findings, "error")).toContain("mysql.read-only");
    await admin.query("SET GLOBAL super_read_only = OFF");
    await admin.query("SET GLOBAL read_only = OFF");
    const writable = ids(await preflight({ target: right }), "error");
    expect(writable).not.toContain("mysql.read-only");
    expect(writable).not.toContain("mysql.same-server");
  });

  test("C9: where both clusters count alike, ids collide and the move is refused", async () => {
    const system = await PreflightSystem.create({ source: wrong, target: right });
    try {
      const findings = (await system.preflight()).filter((finding) => finding.id === "mysql.key-class");
      expect(findings.map((finding) => [finding.subject.split(".")[1], finding.severity])).toEqual([
        ["users (id)", "error"],
        ["orders (id)", "error"],
        ["companies (id)", "info"],
      ]);
      expect(findings[0]?.finding).toMatch(/colliding: .*1\/1 at the source and 1\/1 at the target/);
    } finally {
      await system.drop();
    }
  });

  test("A9: cascades that the source does not log as rows are refused", async () => {
    const system = await PreflightSystem.create({ source: wrong, target: right });
    const found = async () =>
      (await system.preflight())
        .filter((finding) => finding.id === "mysql.silent-cascade")
        .map((finding) => finding.finding);
    try {
      expect(await found()).toEqual([]);
      await system.run("source", [
        "ALTER TABLE {s}.orders DROP FOREIGN KEY {s}_user",
        "ALTER TABLE {s}.orders ADD CONSTRAINT {s}_casc FOREIGN KEY (user_id) REFERENCES {s}.users (id) ON DELETE CASCADE",
      ]);
      expect(await found()).toMatchObject([expect.stringMatching(/ON DELETE CASCADE .* does not log/)]);
    } finally {
      await system.drop();
    }
  });

  test("M7: a prepared XA transaction from before the start is refused; a neighbour's is none of our business", async () => {
    const system = await PreflightSystem.create({ source: right, target: wrong });
    const found = async () =>
      (await system.preflight())
        .filter((finding) => finding.id === "mysql.prepared-xa")
        .map((finding) => finding.finding);
    const prepare = (xid: string, statement: string) =>
      system.run("source", [`XA START '${xid}'`, statement, `XA END '${xid}'`, `XA PREPARE '${xid}'`]);
    try {
      await prepare("n1", "INSERT INTO {s}.audit VALUES (1, 'x')");
      expect(await found()).toEqual([]);
      await system.run("source", ["XA ROLLBACK 'n1'"]);
      await prepare("x1", "UPDATE {s}.orders SET total = 6 WHERE id = 1");
      expect((await found()).join()).toMatch(/prepared XA transaction.*orders/);
      await system.run("source", ["XA ROLLBACK 'x1'"]);
      expect(await found()).toEqual([]);
    } finally {
      await system.drop();
    }
  });
});
