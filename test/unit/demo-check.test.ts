import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type CheckResult, check, type Finding, type MovedTenant } from "../../demo/check.ts";
import { type ApplicationHandle, type Child, startApplication, startRouter } from "../../demo/children.ts";
import { takeImage } from "../../demo/image.ts";
import { readLedger } from "../../demo/ledger.ts";
import { openMoment } from "../../demo/moment.ts";
import { connect, type ServerAddress } from "../../demo/mysql.ts";
import { appPauseMs } from "../../demo/report.ts";
import { sabotage } from "../../demo/sabotage.ts";
import { type Cell, columnList, type Side, serverFlags, TABLES } from "../../demo/schema.ts";
import { seedSide } from "../../demo/seed.ts";
import { writeBeforeCommit } from "../../demo/stray.ts";
import { openServers, type Servers } from "../../docker/servers.ts";

/**
 * The demo's application, router and check prove themselves without the product: the tenant is moved by plain SQL while
 * it is fenced. No false alarm on a right move, and each kind of damage is found and named.
 */
vi.setConfig({ testTimeout: 60_000 });
const ROWS = 4000;
const TENANT = "acme";
const TOKEN = "t";
const TO_TARGET = { to: "target", askedAtMs: 0 } as const;
let servers: Servers;
let hosts: Readonly<Record<Side, Omit<ServerAddress, "schema">>>;
let folder: string;

beforeAll(async () => {
  servers = await openServers();
  const [source, target] = await Promise.all([
    servers.mysql({ name: "source", flags: serverFlags("source") }),
    servers.mysql({ name: "target", flags: serverFlags("target") }),
  ]);
  hosts = { source, target };
  folder = mkdtempSync(join(tmpdir(), "demo-check-"));
}, 600_000);
afterAll(async () => {
  await servers?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A seeded pair of schemas with its image, in a folder of its own. */
async function world(name: string) {
  const place = join(folder, name);
  mkdirSync(place);
  const addresses = {
    source: { ...hosts.source, schema: `shop_${name}_${process.pid}` },
    target: { ...hosts.target, schema: `shop_${name}_${process.pid}` },
  };
  await Promise.all([
    seedSide({ address: addresses.source, side: "source", rows: ROWS, seed: 7 }),
    seedSide({ address: addresses.target, side: "target", rows: ROWS, seed: 7 }),
  ]);
  await takeImage({ servers: addresses, folder: place });
  const ledgerFile = join(place, "ledger");
  const runAs = async (moved: readonly MovedTenant[]): Promise<CheckResult> => {
    const moment = await openMoment(addresses, ledgerFile);
    try {
      return await check({ moment, imageFolder: place, moved });
    } finally {
      await moment.close();
    }
  };
  const run = (tenants: readonly string[]): Promise<CheckResult> =>
    runAs(tenants.map((tenant) => ({ tenant, switches: [TO_TARGET], left: "frozen" })));
  const sql = async (side: Side, statement: string, parameters: Cell[] = []): Promise<string[][]> => {
    const connection = await connect(addresses[side]);
    try {
      await connection.query("SET foreign_key_checks = 0");
      return (await connection.query(statement, parameters))[0] as unknown as string[][];
    } finally {
      await connection.end();
    }
  };
  return { place, addresses, ledgerFile, run, runAs, sql };
}
type World = Awaited<ReturnType<typeof world>>;

async function copyTenant({ addresses }: World): Promise<void> {
  const from = await connect(addresses.source);
  const to = await connect(addresses.target);
  await to.query("SET foreign_key_checks = 0");
  for (const table of TABLES) {
    const [rows] = await from.query(`SELECT ${columnList(table)} FROM ${table} WHERE tenant_id = ?`, [TENANT]);
    await to.query(`INSERT INTO ${table} (${columnList(table)}) VALUES ?`, [rows]);
  }
  await Promise.all([from.end(), to.end()]);
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const totals = (result: CheckResult) => ({
  lost: result.lostWrites,
  differences: result.differences,
  neighbours: result.neighboursChanged,
  strays: result.strays,
});
const CLEAN = { lost: 0, differences: 0, neighbours: 0, strays: 0 };
const named = ({ findings }: CheckResult): Pick<Finding, "kind" | "side" | "table" | "key">[] =>
  findings.map(({ kind, side, table, key }) => ({ kind, side, table, key }));

async function killApplicationSessions({ addresses }: World, side: Side): Promise<void> {
  const connection = await connect(addresses[side]);
  const [rows] = await connection.query(
    "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID()",
    [addresses[side].schema],
  );
  for (const [id] of rows as unknown as string[][]) await connection.query(`KILL ${id}`).catch(() => {});
  await connection.end();
}

describe("a tenant moved by hand while the application writes", () => {
  let made: World;
  let router: Child;
  let application: ApplicationHandle;

  const put = async (action: string, generation = 1): Promise<void> => {
    const response = await fetch(`${router.url}/tenants`, {
      method: "PUT",
      headers: { authorization: `Bearer ${TOKEN}` },
      body: JSON.stringify({ move: "m", tenant: TENANT, action, generation, to: "target" }),
    });
    if (!response.ok) throw new Error(await response.text());
  };
  /** Acknowledged writes of the tenant at a side grow by so many. */
  const written = async (side: Side, count: number): Promise<void> => {
    const now = async () => (await application.stats()).tenants[TENANT]?.acknowledged[side] ?? 0;
    const begin = await now();
    while ((await now()) < begin + count) await sleep(50);
  };

  beforeAll(async () => {
    made = await world("moved");
    router = await startRouter({ journalFile: join(made.place, "journal"), token: TOKEN });
    application = await startApplication({
      ...made.addresses,
      routerUrl: router.url,
      ledgerFile: made.ledgerFile,
      tps: 200,
      seed: 7,
      focus: TENANT,
    });
    await written("source", 60);
    for (let round = 0; round < 3; round++) {
      await killApplicationSessions(made, "source");
      await written("source", 20);
    }
    await put("fence");
    await sleep(150); // longer than an answer of the router may be acted on
    await copyTenant(made);
    for (const action of ["pin", "route", "retire"]) await put(action);
    await written("target", 60);
    await killApplicationSessions(made, "target");
    await written("target", 20);
    await application.settle();
  }, 120_000);
  afterAll(async () => {
    await application?.stop();
    await router?.stop();
  });

  test("a right move raises no alarm, and all is counted", async () => {
    const result = await made.run([TENANT]);
    expect(result.findings).toEqual([]);
    expect(totals(result)).toEqual(CLEAN);
    const acknowledged = readLedger(made.ledgerFile).filter((entry) => entry.outcome === "acknowledged");
    expect(result.acknowledgedWrites).toBe(acknowledged.length);
    expect(result.movedRows.found).toBe(result.movedRows.expected);
    const [count] = await made.sql("target", "SELECT COUNT(*) FROM orders WHERE tenant_id = ?", [TENANT]);
    expect(Number(count?.[0])).toBeGreaterThan(ROWS / 4);
    for (const tenant of ["birch", "fjord"]) expect(acknowledged.some((entry) => entry.tenant === tenant)).toBe(true);
  });

  test("the pause is what the application saw", () => {
    const pause = appPauseMs(readLedger(made.ledgerFile), { tenant: TENANT, switches: [TO_TARGET] }, 0);
    expect(pause).toBeGreaterThan(150);
    expect(pause).toBeLessThan(30_000);
  });

  test("a move that did not happen shows as the other tenant's rows on the wrong side", async () => {
    const result = await made.run([]);
    expect(result.neighboursChanged).toBeGreaterThan(ROWS / 2);
  });

  for (const kind of ["lost", "difference", "neighbour"] as const) {
    test(`sabotage ${kind} is found, named, and nothing else with it`, async () => {
      const undo = await made.sql("target", "SELECT * FROM invoices WHERE tenant_id = ?", [TENANT]);
      const damage = await sabotage({
        kind,
        servers: made.addresses,
        ledgerFile: made.ledgerFile,
        tenant: TENANT,
        neighbour: "fjord",
      });
      const result = await made.run([TENANT]);
      expect(named(result)).toEqual([{ kind, ...damage }]);
      const { lost, ...others } = totals(result);
      expect(others).toEqual({
        ...{ differences: 0, neighbours: 0, strays: 0 },
        ...(kind === "difference" ? { differences: 1 } : kind === "neighbour" ? { neighbours: 1 } : {}),
      });
      expect(lost > 0).toBe(kind === "lost");
      if (kind === "lost") {
        const row = undo.find(([id]) => id === damage.key) ?? [];
        await made.sql("target", "INSERT INTO invoices VALUES (?)", [row as unknown as Cell]);
      } else {
        await made.sql("target", "UPDATE orders SET items = items - 1 WHERE id = ?", [damage.key]);
      }
      expect(totals(await made.run([TENANT]))).toEqual(CLEAN);
    });
  }

  test("an update that went missing is a lost write; a change at the source's frozen copy a difference", async () => {
    const entry = readLedger(made.ledgerFile).findLast(
      ({ tenant, side, outcome, writes }) =>
        tenant === TENANT && side === "target" && outcome === "acknowledged" && writes.some(isUserUpdate),
    );
    const key = entry?.writes.find(isUserUpdate)?.id ?? "";
    const [frozen] = await made.sql("source", "SELECT rev FROM users WHERE id = ?", [key]);
    const [row] = await made.sql("target", "SELECT * FROM users WHERE id = ?", [key]);
    if (frozen !== undefined) {
      const [old] = await made.sql("source", "SELECT * FROM users WHERE id = ?", [key]);
      await made.sql("target", "REPLACE INTO users VALUES (?)", [old as unknown as Cell]);
      const result = await made.run([TENANT]);
      expect(named(result)).toEqual([{ kind: "lost", side: "target", table: "users", key }]);
      expect(result.lostWrites).toBe(Number(row?.at(-1)) - Number(frozen[0]));
      await made.sql("target", "REPLACE INTO users VALUES (?)", [row as unknown as Cell]);
    }
    await made.sql("source", "UPDATE users SET logins = logins + 1 WHERE id = ?", [key]);
    const result = await made.run([TENANT]);
    expect(named(result)).toEqual([{ kind: "difference", side: "source", table: "users", key }]);
    await made.sql("source", "UPDATE users SET logins = logins - 1 WHERE id = ?", [key]);
  });

  test("a row that is too many is found on either side, whoever it belongs to", async () => {
    const copy = (tenant: string, id: string) =>
      `INSERT INTO users SELECT ${id}, '${tenant}', CONCAT('x', email), name, plan, balance, logins, settings, created_at, seen_at, rev FROM users LIMIT 1`;
    await made.sql("target", copy(TENANT, "9007199254740993"));
    await made.sql("target", copy("birch", "9007199254740995"));
    await made.sql("source", copy("fjord", "9007199254740997"));
    const result = await made.run([TENANT]);
    expect(named(result)).toEqual([
      { kind: "difference", side: "target", table: "users", key: "9007199254740993" },
      { kind: "neighbour", side: "target", table: "users", key: "9007199254740995" },
      { kind: "neighbour", side: "source", table: "users", key: "9007199254740997" },
    ]);
    for (const side of ["source", "target"] as const) {
      await made.sql(side, "DELETE FROM users WHERE id >= 9007199254740993");
    }
  });

  test("a copy that follows must have what the tenant wrote since, and a finished move leaves nothing", async () => {
    const as = (left: MovedTenant["left"]) => made.runAs([{ tenant: TENANT, switches: [TO_TARGET], left }]);
    const atTarget = readLedger(made.ledgerFile).filter(({ tenant, side }) => tenant === TENANT && side === "target");
    const followed = await as("mirror");
    expect(followed.findings.every(({ side }) => side === "source")).toBe(true);
    expect(followed.differences).toBeGreaterThan(0);
    const written = keysOf(atTarget);
    expect(followed.findings.filter(({ key }) => !written.has(key))).toEqual([]);
    const [count] = await made.sql(
      "source",
      `SELECT ${TABLES.map((table) => `(SELECT COUNT(*) FROM ${table} WHERE tenant_id = '${TENANT}')`).join(" + ")}`,
    );
    expect(totals(await as("gone"))).toEqual({ ...CLEAN, differences: Number(count?.[0]) });
  });

  test("who has gone back and forth leaves strays only where it was not asked to be", async () => {
    const entries = readLedger(made.ledgerFile).filter((entry) => entry.tenant === TENANT && entry.side === "target");
    const switchedMs = Math.min(...entries.map(({ acknowledgedAtMs }) => acknowledgedAtMs ?? Number.POSITIVE_INFINITY));
    const back = { to: "source", askedAtMs: switchedMs - 1 } as const;
    const result = await made.runAs([{ tenant: TENANT, switches: [TO_TARGET, back], left: "mirror" }]);
    expect(result.strays).toBe(0);
    expect(result.findings.every(({ kind }) => kind === "lost" || kind === "difference")).toBe(true);
    expect(result.lostWrites).toBeGreaterThan(0);
  });

  test("a write that the source acknowledges behind the fence is a stray, named", async () => {
    const { key } = await application.stray(TENANT);
    const result = await made.run([TENANT]);
    expect(totals(result)).toEqual({ ...CLEAN, strays: 1 });
    expect(named(result)).toEqual([{ kind: "stray", side: "source", table: "users", key }]);
  });
});

describe("a stray write before the commit point", () => {
  test("is made while the outcome's INSERT waits, which then goes on", async () => {
    const at = { ...hosts.source, schema: "dray_stray_test" };
    const product = await connect(at, { inSchema: "not yet" });
    await product.query(`CREATE DATABASE ${at.schema}`);
    await product.query(`CREATE TABLE ${at.schema}.cutover (move VARCHAR(64), generation INT, outcome VARCHAR(16))`);
    const order: string[] = [];
    const stray = writeBeforeCommit({
      source: at,
      productSchema: at.schema,
      fenced: async () => {},
      write: async () => {
        order.push("stray");
        return "row";
      },
      signal: AbortSignal.timeout(30_000),
    });
    await sleep(300);
    expect(order).toEqual([]);
    await product.query(`SELECT * FROM ${at.schema}.cutover`); // reading what stands there never waits
    const insert = product.query(`INSERT INTO ${at.schema}.cutover VALUES ('m', 1, 'COMMITTED')`);
    insert.then(() => order.push("committed")).catch(() => {});
    expect(await stray).toBe("row");
    await insert;
    expect(order).toEqual(["stray", "committed"]);
    await product.end();
  });
});

const keysOf = (entries: readonly { writes: readonly { id: string }[] }[]): Set<string> =>
  new Set(entries.flatMap(({ writes }) => writes.map(({ id }) => id)));
const isUserUpdate = ({ op, table }: { op: string; table: string }) => op === "update" && table === "users";

describe("commits of unknown outcome are looked up on both sides", () => {
  const order = "SELECT id FROM orders WHERE tenant_id = ? ORDER BY id LIMIT 3";
  let made: World;
  let ids: string[];
  let serial = 0;

  /** As the application writes it where the connection was lost while COMMIT ran. */
  const unknown = (side: Side, keys: readonly string[]): void => {
    const writes = keys.map((id) => ({ op: "update", table: "orders", id, values: { items: "77" } }));
    appendFileSync(
      made.ledgerFile,
      `${JSON.stringify({ k: "intent", n: ++serial, tenant: TENANT, side, stray: false, writes })}\n`,
    );
  };
  const apply = (side: Side, key: string) =>
    made.sql(side, "UPDATE orders SET items = 77, rev = rev + 1 WHERE id = ?", [key]);

  beforeAll(async () => {
    made = await world("unknown");
    ids = (await made.sql("source", order, [TENANT])).map(([id = ""]) => id);
    await copyTenant(made);
    appendFileSync(made.ledgerFile, "");
  }, 60_000);

  test("nowhere, or everywhere, is well", async () => {
    unknown("source", [ids[0] ?? ""]);
    expect(await made.run([TENANT])).toMatchObject({ ...{ lostWrites: 0, differences: 0 }, unknownWrites: 1 });
    await apply("source", ids[0] ?? "");
    await apply("target", ids[0] ?? "");
    expect(await made.run([TENANT])).toMatchObject({ ...{ lostWrites: 0, differences: 0 }, unknownWrites: 1 });
  });

  test("committed at the source and not on the target is lost", async () => {
    unknown("source", [ids[1] ?? ""]);
    await apply("source", ids[1] ?? "");
    const result = await made.run([TENANT]);
    expect(result).toMatchObject({ lostWrites: 1, differences: 0 });
    expect(named(result)).toEqual([{ kind: "lost", side: "target", table: "orders", key: ids[1] }]);
    await apply("target", ids[1] ?? "");
  });

  test("half a transaction is a difference, each row named", async () => {
    const [, , third = ""] = ids;
    const [more = ""] = (await made.sql("source", `${order} OFFSET 3`, [TENANT]))[0] ?? [];
    unknown("target", [third, more]);
    await apply("target", third);
    const result = await made.run([TENANT]);
    expect(result).toMatchObject({ lostWrites: 0, differences: 2, unknownWrites: 3 });
    await apply("target", more);
    expect(totals(await made.run([TENANT]))).toEqual(CLEAN);
  });
});
