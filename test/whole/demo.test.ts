import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Kafka, logLevel } from "kafkajs";
import { createConnection } from "mysql2/promise";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  describeWithKafka,
  describeWithMysql,
  describeWithOwnServers,
  type SharedMysql,
  sharedMysql,
} from "../setup/shared-servers.ts";

const DEMO = resolve(import.meta.dirname, "../../demo/main.ts");
/** So few that a run is short; then the rules about pace and least numbers of writes may make the exit code 3. */
const SMALL = ["--rows", "6000", "--tps", "200", "--json"];
vi.setConfig({ testTimeout: 300_000 });

type Line = Record<string, unknown> & { steps: Record<string, number> };
type Ended = { readonly code: number | null; readonly line: Line; readonly told: string };

let folder: string;
const running = new Set<ChildProcess>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dd-"));
});
afterEach(() => {
  for (const child of running) child.kill("SIGTERM");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** The demo as a process, with all that it leaves behind in a folder of the test's. */
function start(args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", DEMO, ...args], {
    env: { ...process.env, ...env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  let [stdout, told] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    stdout += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    told += part;
  });
  const ended = new Promise<Ended>((done, failed) => {
    child.once("close", (code) => {
      running.delete(child);
      try {
        done({ code, told, line: JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Line });
      } catch (error) {
        failed(new Error(`the demo ended with ${code} and no line of JSON\n${told}`, { cause: error }));
      }
    });
  });
  return { child, ended, told: () => told };
}

function given(mysql: SharedMysql): Record<string, string> {
  const url = ({ host, port, user, password }: SharedMysql["a"]) =>
    `mysql://${user}${password === "" ? "" : `:${encodeURIComponent(password)}`}@${host}:${port}`;
  return { DRAY_TEST_MYSQL_URL_A: url(mysql.a), DRAY_TEST_MYSQL_URL_B: url(mysql.b) };
}

/** Schemas and accounts of demos, on servers that go on without them. */
async function leftBehind(mysql: SharedMysql): Promise<string[]> {
  const found: string[] = [];
  for (const { host, port, user, password } of [mysql.a, mysql.b]) {
    const connection = await createConnection({ host, port, user, password, rowsAsArray: true });
    const [rows] = await connection.query(
      `SELECT schema_name FROM information_schema.schemata WHERE schema_name REGEXP '^(shop|dray)_[0-9a-f]{8}$'
       UNION SELECT user FROM mysql.user WHERE user REGEXP '^(shop_app|dray_move)_'`,
    );
    found.push(...(rows as string[][]).flat());
    await connection.end();
  }
  return found;
}

const STEPS = ["fence", "quiesce", "drain", "verify", "pin", "drain-again", "prepare", "confirm", "commit", "route"];
const CLEAN = { lost_writes: 0, differences: 0, neighbours_changed: 0 };
const KEYS =
  "log rows copy_rows_per_s verified_rows lag_at_gate_s pause_ms app_pause_ms steps rollback_pause_ms rollback_app_pause_ms second_pause_ms acknowledged_writes unknown_writes lost_writes differences neighbours_changed seconds";

function expectWell({ code, line, told }: Ended, log: string): void {
  expect(line, told).toMatchObject({ log, rows: 6000, ...CLEAN });
  expect([0, 3], told).toContain(code);
  expect(Object.keys(line).join(" ")).toBe(KEYS);
  expect(Object.keys(line.steps)).toEqual(STEPS);
  const numbers =
    "copy_rows_per_s verified_rows pause_ms app_pause_ms rollback_pause_ms rollback_app_pause_ms second_pause_ms acknowledged_writes seconds";
  for (const key of numbers.split(" ")) {
    expect([key, line[key]]).toEqual([key, expect.any(Number)]);
    expect(line[key]).toBeGreaterThan(0);
  }
  expect(line["lag_at_gate_s"]).toEqual(expect.any(Number));
  expect(told.includes("too little to prove anything"), told).toBe(code === 3);
  // 0 leaves nothing; anything else leaves what a person wants to look at, and says where.
  expect(readdirSync(folder).length).toBe(code === 0 ? 0 : 1);
  if (code === 3) expect(told).toContain(`kept for a look: ${join(folder, readdirSync(folder)[0] ?? "")}`);
}

describeWithMysql("npm run demo", (mysql) => {
  test("C10: two tenants are moved under load, one after the other, and every row is as the ledger says", async () => {
    const ended = await start([...SMALL, "--cutovers", "2"], given(mysql)).ended;
    expectWell(ended, "embedded");
    for (const tenant of ["acme", "birch"]) {
      for (const name of ["cutover", "rollback", "second cutover"])
        expect(ended.told).toContain(`the ${name} of ${tenant}:`);
    }
    const checked = [...ended.told.matchAll(/ the check after the ([a-z ]+):/g)].map(([, name]) => name);
    const journey = ["cutover", "rollback", "second cutover", "finish"];
    expect(checked, ended.told).toEqual([...journey, ...journey]);
    expect(
      ended.told.match(/rows compared: 0 writes lost, 0 rows differ, 0 of neighbours changed, 0 strays/g),
    ).toHaveLength(8);
    expect(ended.told.match(/rows removed at the source, 0 left there/g)).toHaveLength(2);
    expect(await leftBehind(mysql)).toEqual([]);
  });

  test.each([
    ["lost", "lost_writes", "invoices"],
    ["difference", "differences", "orders"],
    ["neighbour", "neighbours_changed", "orders"],
  ] as const)("--sabotage %s: exit 1, and the row is named", async (kind, field, table) => {
    const { code, line, told } = await start([...SMALL, "--sabotage", kind], given(mysql)).ended;
    // Each acknowledged write of the row that is gone is lost: its insert, and an update where it had one.
    const found = kind === "lost" ? expect.toSatisfy((writes: number) => writes >= 1) : 1;
    expect(line, told).toMatchObject({ ...CLEAN, [field]: found });
    const [, key = ""] = new RegExp(`sabotage: ${table} (\\d+) on the target is altered`).exec(told) ?? [];
    expect(told).toMatch(new RegExp(`   ${kind}: ${table} ${key} of \\w+ on the target: `));
    expect(code, told).toBe(1);
  });

  test("--sabotage target-row: the product's verification names it, the gate stays closed, and the check agrees", async () => {
    const { code, line, told } = await start([...SMALL, "--sabotage", "target-row"], given(mysql)).ended;
    const [, key = ""] = /sabotage: orders (\d+) on the target is altered/.exec(told) ?? [];
    expect(told).toMatch(new RegExp(`   found by the product: \\w+\\.orders \\w+=${key}: differing in items`));
    expect(told).toMatch(new RegExp(`   dray cutover: refused with exit code 3, .*\\.orders \\w+=${key} differing`));
    expect(told).toContain(`   difference: orders ${key} of acme on the target: copy that follows: differs in items`);
    expect(told).not.toContain("committed");
    const unreached = {
      lag_at_gate_s: null,
      pause_ms: null,
      rollback_pause_ms: null,
      second_pause_ms: null,
      steps: {},
    };
    expect(line, told).toMatchObject({ ...CLEAN, ...unreached, differences: 1 });
    expect(line["verified_rows"]).toBeGreaterThan(1000);
    expect(code, told).toBe(1);
  });

  test("--sabotage stray: exit 1, both rows are named, and the product has raised its alarm (C: watch)", async () => {
    const { code, line, told } = await start([...SMALL, "--sabotage", "stray"], given(mysql)).ended;
    expect(line, told).toMatchObject({ lost_writes: 0, neighbours_changed: 0 });
    const keys = [...told.matchAll(/the source acknowledged a write to users (\d+)/g)].map(([, key]) => key);
    expect(keys, told).toHaveLength(2);
    for (const key of keys) expect(told).toContain(`stray: users ${key} of acme on the source: acknowledged`);
    expect(told).toMatch(/the product's alarm: STRAY_WRITE .*\(2 times\)/);
    expect(code, told).toBe(1);
  });
});

describeWithOwnServers("npm run demo on servers of its own", ["mysql"], () => {
  test.runIf(process.platform === "linux")("nothing that it started outlives its SIGKILL", async () => {
    const demo = start(SMALL, {});
    const ended = demo.ended.catch((error: unknown) => error);
    await vi.waitFor(() => expect(demo.told()).toMatch(/is streaming/), { timeout: 200_000, interval: 100 });
    const commands = ours().map(({ command }) => command);
    for (const part of ["dray.js serve", "router.ts", "application.ts", "mysqld"]) {
      expect(commands.filter((command) => command.includes(part)).length, part).toBeGreaterThan(0);
    }
    demo.child.kill("SIGKILL");
    await vi.waitFor(() => expect(ours()).toEqual([]), { timeout: 60_000, interval: 250 });
    await ended;
  });
});

describeWithKafka("npm run demo with Kafka's log", ({ brokers }) => {
  test("one tenant is moved through a broker, at which no topic is left", async () => {
    const env = { ...given(await sharedMysql()), DRAY_TEST_KAFKA_BROKERS: brokers.join(",") };
    const ended = await start([...SMALL, "--log", "kafka"], env).ended;
    expectWell(ended, "kafka");
    const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    const topics = await admin.listTopics();
    await admin.disconnect();
    expect(topics.filter((name) => name.startsWith("dray-demo-"))).toEqual([]);
  });
});

/** Processes that carry this test's folder in their environment. */
function ours(): { readonly pid: number; readonly command: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        if (!readFileSync(`/proc/${name}/environ`, "utf8").split("\0").includes(`TMPDIR=${folder}`)) return [];
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
        return [{ pid: Number(name), command }];
      } catch {
        return [];
      }
    });
}
