import { afterAll, beforeAll, expect, test } from "vitest";
import type { MysqlSession } from "../../connectors/mysql/client.ts";
import type { MysqlConnector } from "../../connectors/mysql/connector.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { LaneFeed, LaneSource } from "../../pipeline/source.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { drain, NEVER, StreamHarness, stopOf } from "./mysql-stream.ts";

const DDL = [
  "CREATE TABLE orders (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, doc JSON, note TEXT, KEY (tenant, id))",
  "CREATE TABLE items (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, KEY (tenant, id))",
  "CREATE TABLE stranger (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, KEY (tenant, id))",
];
const WITH_ASIDE = [...DDL, "CREATE TABLE aside (id INT NOT NULL PRIMARY KEY, note TEXT)"];

/* On a server of its own: a change as text that does not say which schemas it wrote to stops every lane there is. */
describeWithOwnServers("what stops a MySQL lane, and no other (M8, C7)", ["mysql"], () => {
  let servers: Servers | undefined;
  let a: MysqlServer;
  let harness: StreamHarness;
  let connector: MysqlConnector;
  let sql: MysqlSession;
  let bystander: { source: LaneSource; feed: LaneFeed };

  beforeAll(async () => {
    servers = await openServers();
    a = await servers.mysql({ name: "stops" });
    harness = await StreamHarness.open(a, DDL, { orders: "tenant", items: "tenant" });
    connector = harness.connector();
    sql = await harness.client();
    // Covers another table of the same schema, so that only its own table's trouble is its trouble.
    const source = { ...harness.lane("calm"), tables: harness.tables.filter((table) => table.id.endsWith(".items")) };
    bystander = { source, feed: await connector.attach(source, null, 1, NEVER) };
  });
  afterAll(async () => {
    await harness?.close();
    await servers?.close();
  });

  async function lane(tenant: string): Promise<{ source: LaneSource; feed: LaneFeed }> {
    const source = { ...harness.lane(tenant), tables: harness.tables.filter((table) => table.id.endsWith(".orders")) };
    return { source, feed: await connector.attach(source, null, 1, NEVER) };
  }

  async function expectStop(feed: LaneFeed, code: string, facts: object = {}): Promise<void> {
    const { error } = await stopOf(feed);
    expect(error).toMatchObject({ code, facts: expect.objectContaining(facts) });
    expect(feed.state().state).toBe("stopped");
    await feed.close();
    // The reader and its other lanes go on, on the same connection.
    await drain(connector, bystander.feed, bystander.source);
    expect(bystander.feed.state()).toMatchObject({ state: "shared", connects: 1 });
  }

  test.each([
    ["ALTER TABLE orders ADD COLUMN extra INT"],
    ["ALTER TABLE orders COMMENT = 'x', DROP COLUMN extra"],
    ["RENAME TABLE orders TO orders_old, orders_old TO orders"],
    ["TRUNCATE TABLE orders"],
    ["CREATE INDEX by_tenant ON orders (tenant)"],
    ["DROP INDEX by_tenant ON orders"],
  ])("%s stops the lane with the statement", async (statement) => {
    const { feed, source } = await lane("ddl");
    await sql.run(statement);
    await expectStop(feed, "DDL_ON_COVERED_TABLE", { lane: source.lane, table: `${harness.schema}.orders` });
  });

  test("what was written before the DDL is given out first", async () => {
    const { feed } = await lane("first");
    await sql.run("INSERT INTO orders (tenant) VALUES ('first')");
    await sql.run("TRUNCATE TABLE orders");
    await sql.run("INSERT INTO orders (tenant) VALUES ('first')");
    const { error, events } = await stopOf(feed);
    expect(error).toMatchObject({ code: "DDL_ON_COVERED_TABLE" });
    expect(events.filter((event) => event.type === "changes")).toHaveLength(1);
  });

  test("DDL on other tables, temporary tables, grants and views pass", async () => {
    const { feed, source } = await lane("passes");
    await sql.run("ALTER TABLE stranger ADD COLUMN orders INT COMMENT 'orders'");
    await sql.run("CREATE TEMPORARY TABLE orders (id INT)");
    await sql.run("DROP TEMPORARY TABLE orders");
    await sql.run("CREATE VIEW orders_view AS SELECT * FROM orders");
    await sql.run("CREATE TABLE copied SELECT * FROM orders");
    await sql.run("DROP TABLE copied");
    await sql.run("INSERT INTO orders (tenant) VALUES ('passes')");
    const events = await drain(connector, feed, source);
    expect(events.filter((event) => event.type === "changes")).toHaveLength(1);
    await feed.close();
  });

  test("text DML stops every lane whose tables it may touch, and no other", async () => {
    const own = await StreamHarness.open(a, WITH_ASIDE, { orders: "tenant", items: "tenant" });
    const far = `${own.schema}_far`;
    const other = await own.client();
    await other.run(`CREATE SCHEMA ${far}`);
    const connector = own.connector();
    const covering = (name: string) => ({
      ...own.lane(`text_${name}`),
      tables: own.tables.filter((table) => table.id.endsWith(`.${name}`)),
    });
    const [orders, items] = [covering("orders"), covering("items")];
    const feed = await connector.attach(orders, null, 1, NEVER);
    const itemsFeed = await connector.attach(items, null, 1, NEVER);
    await other.run(`CREATE TABLE ${far}.t (id INT NOT NULL PRIMARY KEY)`);
    await other.run("SET SESSION binlog_format = STATEMENT, SESSION transaction_isolation = 'REPEATABLE-READ'");
    await other.run(`REPLACE INTO ${far}.t VALUES (1)`);
    await drain(connector, feed, orders); // another schema: nothing of ours
    // The same schema: whose rows they are is certain where nothing hangs on the table.
    for (const statement of ["INSERT INTO aside VALUES (1, 'x')", "UPDATE aside SET note = NOW()", "DELETE FROM aside"])
      await other.run(statement);
    await drain(connector, feed, orders);
    await other.run("INSERT INTO orders (tenant) VALUES ('text')");
    const { error } = await stopOf(feed);
    expect(error).toMatchObject({
      code: "STATEMENT_BASED_CHANGE",
      facts: { statement: expect.stringMatching(/^INSERT INTO/) },
    });
    expect(String(error)).not.toContain("'text'");
    await drain(connector, itemsFeed, items);
    // Which tables this one reads and writes is not looked into.
    await other.run("INSERT INTO aside SELECT 2, 'y'");
    expect((await stopOf(itemsFeed)).error).toMatchObject({ code: "STATEMENT_BASED_CHANGE" });
    await other.run(`DROP SCHEMA ${far}`);
    await own.close();
  });

  test.each([
    ["a trigger", ["CREATE TRIGGER tr AFTER INSERT ON aside FOR EACH ROW INSERT INTO orders (tenant) VALUES ('near')"]],
    [
      "a foreign key",
      ["ALTER TABLE orders ADD aside INT, ADD FOREIGN KEY (aside) REFERENCES aside (id) ON DELETE CASCADE"],
    ],
  ])("text DML of a table that reaches ours by %s stops the lane", async (_, ddl) => {
    const own = await StreamHarness.open(a, WITH_ASIDE, { orders: "tenant" });
    const sql = await own.client();
    for (const statement of ddl) await sql.run(statement);
    await sql.run("SET SESSION binlog_format = STATEMENT, SESSION transaction_isolation = 'REPEATABLE-READ'");
    const tables = await own.readSpecs({ orders: "tenant" });
    const connector = own.connector();
    const feed = await connector.attach({ ...own.lane("near"), tables }, null, 1, NEVER);
    await sql.run("INSERT INTO aside VALUES (1, 'x')");
    expect((await stopOf(feed)).error).toMatchObject({ code: "STATEMENT_BASED_CHANGE" });
    await own.close();
  });

  test("text DML of a table passes no longer once something may have come to hang on it", async () => {
    const own = await StreamHarness.open(a, WITH_ASIDE, { orders: "tenant" });
    const sql = await own.client();
    const connector = own.connector();
    const source = own.lane("later");
    const feed = await connector.attach(source, null, 1, NEVER);
    await sql.run("SET SESSION binlog_format = STATEMENT, SESSION transaction_isolation = 'REPEATABLE-READ'");
    await sql.run("INSERT INTO aside VALUES (1, 'x')");
    await drain(connector, feed, source);
    await sql.run("CREATE TRIGGER tr AFTER DELETE ON aside FOR EACH ROW DELETE FROM orders");
    await sql.run("DELETE FROM aside");
    expect((await stopOf(feed)).error).toMatchObject({ code: "STATEMENT_BASED_CHANGE" });
    await own.close();
  });

  test("text DML from before its reader connected is judged by nothing that was read since", async () => {
    const own = await StreamHarness.open(a, WITH_ASIDE, { orders: "tenant" });
    const sql = await own.client();
    const source = own.lane("earlier");
    const first = own.connector();
    const feed = await first.attach(source, null, 1, NEVER);
    const from = (await drain(first, feed, source)).at(-1)?.position ?? null;
    await first.close();
    await sql.run("CREATE TRIGGER tr AFTER DELETE ON aside FOR EACH ROW DELETE FROM orders");
    await sql.run("INSERT INTO aside VALUES (1, 'x')");
    await sql.run("SET SESSION binlog_format = STATEMENT, SESSION transaction_isolation = 'REPEATABLE-READ'");
    await sql.run("DELETE FROM aside");
    await sql.run("DROP TRIGGER tr");
    const again = await own.connector().attach(source, from, 2, NEVER);
    expect((await stopOf(again)).error).toMatchObject({ code: "STATEMENT_BASED_CHANGE" });
    await own.close();
  });

  test.each([
    [
      "a trigger",
      (own: string, far: string) => [
        `CREATE TRIGGER ${far}.tr AFTER INSERT ON ${far}.t FOR EACH ROW INSERT INTO ${own}.orders (tenant) VALUES ('hidden')`,
      ],
      "INSERT INTO t VALUES (2)",
    ],
    [
      "a view",
      (own: string, far: string) => [`CREATE VIEW ${far}.v AS SELECT * FROM ${own}.orders`],
      "UPDATE v SET note = 'z'",
    ],
    [
      "a function",
      (own: string, far: string) => [
        `CREATE FUNCTION ${far}.f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO ${own}.orders (tenant) VALUES ('hidden'); RETURN 3; END`,
      ],
      "INSERT INTO t VALUES (f())",
    ],
    [
      "a function that a SELECT calls",
      (own: string, far: string) => [
        `CREATE FUNCTION ${far}.f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO ${own}.orders (tenant) VALUES ('hidden'); RETURN 3; END`,
      ],
      "DO f()",
    ],
  ])("text DML in another schema that reaches ours by %s stops the lane", async (_, ddl, statement) => {
    const far = `${harness.schema}_far`;
    const other = await harness.client();
    await other.run(`CREATE SCHEMA ${far}`);
    await other.run(`CREATE TABLE ${far}.t (id INT NOT NULL PRIMARY KEY)`);
    await other.run("INSERT INTO orders (tenant) VALUES ('hidden')");
    for (const text of ddl(harness.schema, far)) await other.run(text);
    await other.run(`USE ${far}`);
    const { feed } = await lane("hidden");
    await other.run("SET SESSION binlog_format = STATEMENT, SESSION transaction_isolation = 'REPEATABLE-READ'");
    await other.run(statement);
    expect((await stopOf(feed)).error).toMatchObject({ code: "STATEMENT_BASED_CHANGE" });
    await feed.close();
    await other.run(`DROP SCHEMA ${far}`);
    await bystander.feed.close();
    bystander = { source: bystander.source, feed: await connector.attach(bystander.source, null, 1, NEVER) };
  });

  test("an image without all columns stops the lanes of its table", async () => {
    const { feed } = await lane("minimal");
    await sql.run("INSERT INTO orders (tenant, note) VALUES ('minimal', 'x'), ('stranger', 'x')");
    const other = await harness.client();
    await other.run("SET SESSION binlog_row_image = MINIMAL");
    await other.run("UPDATE orders SET note = 'y' WHERE tenant = 'stranger'");
    await expectStop(feed, "INCOMPLETE_ROW_IMAGE", { table: `${harness.schema}.orders` });
  });

  test("a partial JSON update stops the lanes of its table", async () => {
    const { feed } = await lane("partial");
    await sql.run(`INSERT INTO orders (tenant, doc) VALUES ('partial', '{"a": 1, "long": "${"x".repeat(100)}"}')`);
    const other = await harness.client();
    await other.run("SET SESSION binlog_row_value_options = 'PARTIAL_JSON'");
    await other.run("UPDATE orders SET doc = JSON_SET(doc, '$.a', 2) WHERE tenant = 'partial'");
    await expectStop(feed, "PARTIAL_ROW_UPDATE", { table: `${harness.schema}.orders` });
  });

  test("M7: XA with rows of the tenant stops its lane at PREPARE; prepared neighbours and one-phase commits do not", async () => {
    const { feed, source } = await lane("xa");
    const other = await harness.client();
    const xa = async (name: string, statement: string, end: readonly string[]) => {
      for (const text of [`XA START '${name}'`, statement, `XA END '${name}'`, ...end]) await other.run(text);
    };
    const prefix = harness.schema;
    await xa(`${prefix}n`, "INSERT INTO orders (tenant) VALUES ('neighbour')", [
      `XA PREPARE '${prefix}n'`,
      `XA COMMIT '${prefix}n'`,
    ]);
    await xa(`${prefix}o`, "INSERT INTO orders (tenant) VALUES ('xa')", [`XA COMMIT '${prefix}o' ONE PHASE`]);
    const events = await drain(connector, feed, source);
    expect(events.filter((event) => event.type === "changes")).toHaveLength(1);
    await xa(`${prefix}p`, "INSERT INTO orders (tenant) VALUES ('xa')", [`XA PREPARE '${prefix}p'`]);
    await expectStop(feed, "XA_NOT_YET");
    await other.run(`XA ROLLBACK '${prefix}p'`);
  });

  test("C7: what an applier of the same move wrote is not carried back; another move's is ordinary data", async () => {
    const own = await lane("loop");
    const twin = { ...own.source, move: "other-move", lane: "other-move.db.f1" as LaneSource["lane"] };
    const twinFeed = await connector.attach(twin, null, 1, NEVER);
    await sql.run("START TRANSACTION");
    await sql.run(
      `INSERT INTO ${harness.draySchema}.applied (lane, first_seq, last_seq) VALUES ('move-loop.db.r2', 1, 1)`,
    );
    await sql.run("INSERT INTO orders (tenant) VALUES ('loop')");
    await sql.run("COMMIT");
    const mine = await drain(connector, own.feed, own.source);
    const theirs = await drain(connector, twinFeed, twin);
    expect(mine.filter((event) => event.type === "changes")).toHaveLength(0);
    expect(theirs.filter((event) => event.type === "changes")).toHaveLength(1);
    await own.feed.close();
    await twinFeed.close();
  });

  test.each([
    ["before", (dray: string) => [dray, "INSERT INTO orders (tenant) VALUES ('foreign')"]],
    ["after", (dray: string) => ["INSERT INTO orders (tenant) VALUES ('foreign')", dray]],
  ])("C7: a row of Drayage's schema %s the tenant's in one transaction stops the lane", async (_, statements) => {
    const { feed } = await lane("foreign");
    const dray = `INSERT INTO ${harness.draySchema}.watermark (lane, seq) VALUES (UUID(), 1)`;
    await sql.run("START TRANSACTION");
    for (const statement of statements(dray)) await sql.run(statement);
    await sql.run("COMMIT");
    await expectStop(feed, "FOREIGN_DRAY_WRITE");
  });

  test("M1: another process's marks are not marks", async () => {
    const { feed, source } = await lane("forged");
    await sql.run(
      `INSERT INTO ${harness.draySchema}.mark (scope, epoch, nonce, kind) VALUES ('${source.lane}', 1, RANDOM_BYTES(16), 'high')`,
    );
    const events = await drain(connector, feed, source);
    expect(events.filter((event) => event.type === "mark" && event.mark.kind === "high")).toHaveLength(0);
    await feed.close();
  });

  test("a table that is not what the move began with stops its lanes only", async () => {
    const { source, feed } = await lane("changed");
    await feed.close();
    const tables = source.tables.map((table) => {
      const definition = structuredClone(table.definition) as { columns: { name: string }[] };
      const [, second] = definition.columns.slice(2);
      if (second) second.name = "renamed";
      return { ...table, definition };
    });
    const changed = await connector.attach({ ...source, tables }, null, 1, NEVER);
    await sql.run("INSERT INTO orders (tenant) VALUES ('anybody')");
    await expectStop(changed, "SCHEMA_CHANGED", { table: `${harness.schema}.orders` });
  });
});
