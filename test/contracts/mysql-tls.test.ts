import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectMysql, type MysqlAddress, type MysqlSession } from "../../connectors/mysql/client.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { drain, NEVER, StreamHarness } from "./mysql-stream.ts";

const DDL = ["CREATE TABLE rows_ (id INT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, body MEDIUMTEXT, KEY (tenant, id))"];
const ROWS = 400;
const BODY = "b".repeat(2_000);

/** MySQL makes itself an authority and a certificate at its first start; a server of somebody else keeps them to itself. */
describeWithMysql("MySQL by TLS", ({ a }) => {
  let harness: StreamHarness;
  let plain: MysqlSession;
  let authority: string | null = null;

  beforeAll(async () => {
    authority = await authorityOf(a);
    plain = await connectMysql(a, { side: "source" });
    harness = await StreamHarness.open(byTls(a, authority), DDL, { rows_: "tenant" });
  });
  afterAll(async () => {
    await harness?.close();
    await plain?.close();
  });

  test("rows are read, loaded and written as by TCP alone", async (context) => {
    if (authority === null) return context.skip("the server's certificates cannot be read here");
    const session = await harness.client();
    const [status] = await session.query("SHOW STATUS LIKE 'Ssl_cipher'");
    expect(status?.["Value"]).not.toBe("");
    const text = Array.from({ length: ROWS }, (_, i) => `${i}\tacme\t${BODY}\n`).join("");
    const load = `LOAD DATA LOCAL INFILE 'x' INTO TABLE ${harness.schema}.rows_`;
    expect(await session.loadData(load, Buffer.from(text))).toMatchObject({ rows: ROWS, skipped: 0, warnings: 0 });
    let bytes = 0;
    await session.eachRow({
      sql: `SELECT id, body FROM ${harness.schema}.rows_`,
      onRow: (_, start, end) => {
        bytes += end - start;
      },
    });
    expect(bytes).toBeGreaterThan(ROWS * BODY.length);
    expect(await session.write(`DELETE FROM ${harness.schema}.rows_ WHERE id < ?`, [Buffer.from("100")])).toBe(100);
  });

  test("M1: the binlog is read by TLS too", async (context) => {
    if (authority === null) return context.skip("the server's certificates cannot be read here");
    const connector = harness.connector();
    const source = harness.lane("tls");
    const feed = await connector.attach(source, null, 1, NEVER);
    await plain.run(`INSERT INTO ${harness.schema}.rows_ VALUES (7001, 'tls', 'x')`);
    const events = await drain(connector, feed, source);
    expect(events.flatMap((event) => (event.type === "changes" ? event.changes : []))).toHaveLength(1);
    const readers = await plain.query(
      `SELECT DISTINCT t.CONNECTION_TYPE AS how FROM performance_schema.threads t
       JOIN performance_schema.session_connect_attrs c ON c.PROCESSLIST_ID = t.PROCESSLIST_ID
       WHERE t.PROCESSLIST_COMMAND LIKE 'Binlog Dump%' AND c.ATTR_VALUE = '${harness.draySchema}'`,
    );
    expect(readers).toEqual([{ how: "SSL/TLS" }]);
    await connector.close();
  });

  test("a certificate of another authority is refused for good; `verify: false` accepts it", async (context) => {
    const other = rootCertificates[0] ?? "";
    if (authority === null) return context.skip("the server's certificates cannot be read here");
    const refused = await connectMysql(byTls(a, other), { side: "source" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "MYSQL_REFUSED", problem: { retry: "never" } });
    const lax = await connectMysql({ ...a, tls: { ca: other, verify: false } }, { side: "source" });
    expect(await lax.query("SELECT 1 AS one")).toEqual([{ one: "1" }]);
    await lax.close();
  });
});

async function authorityOf(address: MysqlAddress): Promise<string | null> {
  const session = await connectMysql(address, { side: "source" });
  const [row] = await session.query("SELECT @@datadir AS folder, @@ssl_ca AS file");
  await session.close();
  try {
    return readFileSync(join(row?.["folder"] ?? "", row?.["file"] ?? ""), "utf8");
  } catch {
    return null;
  }
}

function byTls(address: MysqlAddress, ca: string | null): MysqlAddress {
  return ca === null ? address : { ...address, tls: { ca, verify: true } };
}
