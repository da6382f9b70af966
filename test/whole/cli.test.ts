import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunningServer } from "../../console/open-server.ts";
import type { Listen } from "../../cutover/server-settings.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { type Ended, openMemoryServer, runDray } from "../setup/command-line.ts";
import { MemoryService } from "../setup/memory-service.ts";

const PATIENT = { timeout: 60_000 };
const DRAY = resolve(import.meta.dirname, "../../bin/dray.js");
let folder: string;
let service: MemoryService;
let server: RunningServer;
const children = new Set<ChildProcess>();

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dray-cli-"));
  service = new MemoryService();
  server = await openWith({ kind: "unix", path: join(folder, "dray-data/dray.sock") }, "dray-data");
  writeFileSync(join(folder, "shop.yaml"), "name: shop\n");
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await server.close();
  rmSync(folder, { recursive: true });
});

const openWith = (listen: Listen, data: string) => openMemoryServer(service, listen, join(folder, data));
const dray = (args: readonly string[], env: Record<string, string> = {}, typed?: string) =>
  runDray(folder, args, env, typed);

function spawnDray(
  args: readonly string[],
  env: Record<string, string> = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const { DRAY_URL: _, DRAY_TOKEN: __, ...clean } = process.env;
  const child = spawn(process.execPath, [DRAY, ...args], { cwd: folder, env: { ...clean, ...env } });
  children.add(child);
  child.stdin?.end();
  let [stdout, stderr] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    stdout += part;
  });
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    stderr += part;
  });
  const ended = new Promise<Ended>((done) => {
    child.once("close", (code) => {
      children.delete(child);
      done({ code, stdout, stderr });
    });
  });
  return { child, ended };
}
const start = () => [
  "start",
  "--manifest",
  join(folder, "shop.yaml"),
  "--tenant",
  "acme",
  "--from",
  "eu1",
  "--to",
  "eu2",
];
const json = (ended: Ended): Record<string, unknown> => {
  expect(ended.stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(ended.stdout) as Record<string, unknown>;
};

describe("K4: a move by the command line", () => {
  test("start, list, status, journal: for people, and as one line of JSON; each says what can be done next", async () => {
    const started = await dray(start());
    expect([started.code, started.stderr]).toEqual([0, ""]);
    expect(started.stdout).toContain("shop-acme has started\n");
    expect(started.stdout.trimEnd().split("\n").at(-1)).toBe("next: dray status shop-acme --watch");
    expect(service.asked[0]?.at(-1)).toEqual({ by: expect.stringMatching(/.+@.+/), role: "admin" });
    expect(service.asked[0]?.[1]).toMatchObject({
      manifest: "name: shop\n",
      manifestFile: join(folder, "shop.yaml"),
      name: null,
    });
    const [list, status, journal] = await Promise.all([
      dray(["list", "--json"]),
      dray(["status", "shop-acme"]),
      dray(["journal", "shop-acme", "--json"]),
    ]);
    expect(json(list)).toMatchObject([{ move: "shop-acme", phase: "copying" }]);
    expect(status.stdout).toContain("shop-acme: copying, eu1 -> eu2");
    expect(status.stdout).toContain("[##########..........] shop.users: copying, 1,500 of about 3,000 rows");
    expect(status.stdout).toContain("500 rows/s, 1.0 MiB/s, eta 3 s");
    expect(status.stdout).toContain("waiting: copy: threads 41 > 40");
    expect(status.stdout).toContain(
      "verification: 100% verified (3000 rows), 2 dirty keys, 0 differences; rollback: unavailable (not in this version)",
    );
    expect(json(journal)).toMatchObject([{ seq: 1, event: "create" }]);
  });

  test("each other verb asks for what it was told", async () => {
    await dray(start());
    const verbs: readonly (readonly [readonly string[], readonly unknown[]])[] = [
      [
        ["pause", "shop-acme"],
        ["pause", "shop-acme"],
      ],
      [
        ["skip", "shop-acme", "--seq", "41"],
        ["skip", "shop-acme", { seq: 41, lane: null }],
      ],
      [
        ["recopy", "shop-acme", "--table", "shop.users"],
        ["recopy", "shop-acme", "shop.users"],
      ],
      [
        ["resolve", "shop-acme", "--owner", "to", "--confirm", "shop-acme"],
        ["resolve", "shop-acme", "to"],
      ],
      [
        ["abort", "shop-acme", "--json"],
        ["abort", "shop-acme"],
      ],
    ];
    const answers = await Promise.all(verbs.map(([args]) => dray(args)));
    expect(answers.map((answer) => answer.code)).toEqual(verbs.map(() => 0));
    const asked = service.asked.map((call) => JSON.stringify(call.slice(0, -1)));
    for (const [, call] of verbs) expect(asked).toContain(JSON.stringify(call));
    const closed = await dray(["close", "shop-acme"]);
    expect(closed.stdout).toContain("DELETE FROM shop.users WHERE tenant_id = 'acme'");
    const log = await dray(["log", "shop-acme", "--bodies", "--json"]);
    expect(json(log)).toMatchObject([{ seq: 1, body: { rows: [[1]] } }]);
    const headers = await dray(["log", "shop-acme"]);
    expect(headers.stdout).toContain("1  1970-01-01T00:00:00.000Z  changes  shop.users +1  80 B  u:1-5\n");
  });

  test("manifest init writes no file over, check and preflight refuse with 3 and say what to mend", async () => {
    const init = [
      "manifest",
      "init",
      "--cluster",
      "eu1",
      "--schema",
      "shop, billing",
      "--out",
      join(folder, "new.yaml"),
    ];
    expect((await dray(init)).code).toBe(0);
    expect(service.asked[0]).toEqual(["manifestInit", "eu1", ["shop", "billing"]]);
    expect(readFileSync(join(folder, "new.yaml"), "utf8")).toBe("name: shop\n");
    const again = await dray(init);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining("new.yaml cannot be written (EEXIST)")]);
    const check = await dray(["manifest", "check", "--manifest", join(folder, "shop.yaml"), "--cluster", "eu1"]);
    expect(check.code).toBe(3);
    expect(check.stdout).toBe(
      "shop.yaml:7:9: error: table `shop.users` is not classified\n    Add the line: users: {column: tenant_id}\n",
    );
    service.preflightPasses = false;
    const preflight = await dray(["preflight", ...start().slice(1), "--fix-sql"]);
    expect(preflight.code).toBe(3);
    expect(preflight.stdout).toBe(
      "-- on eu1: eu1 binlog_format: binlog_format is STATEMENT\nSET PERSIST binlog_format = 'ROW';\n",
    );
    service.adapterPasses = false;
    const adapter = await dray(["adapter", "test", "http://127.0.0.1/", "--tenant", "nobody", "--to", "eu1"]);
    expect([adapter.code, adapter.stdout]).toEqual([1, expect.stringContaining("FAILED  fence")]);
  });
});

describe("cutover", () => {
  test("without a terminal and --yes it exits 2 and asks the server nothing", async () => {
    await dray(start());
    const refused = await dray(["cutover", "shop-acme", "--json"]);
    expect(refused.code).toBe(2);
    expect(json(refused)).toMatchObject({
      error: { code: "USAGE", message: "cutover without a terminal needs --yes" },
    });
    expect(service.asked.map(([name]) => name)).toEqual(["start"]);
    const resolved = await dray(["resolve", "shop-acme", "--owner", "to"]);
    expect([resolved.code, resolved.stderr]).toEqual([2, expect.stringContaining("the move's name typed again")]);
  });

  test("limits are seconds; steps go to stderr as they happen, the result to stdout; the code says how it ended", async () => {
    await dray(start());
    const done = await dray(["cutover", "shop-acme", "--yes", "--max-lag", "0.5", "--max-pause", "2"]);
    expect(done.code).toBe(0);
    expect(done.stderr).toBe("fence started adapter=router\nfence done\n");
    expect(done.stdout).toContain("shop-acme: committed\n  yes     lag: 0.004 s (limit 1 s)\n");
    expect(done.stdout).toContain(
      "  pause 12.5 ms\n  verification: 100% verified (3000 rows), 2 dirty keys, 0 differences; rollback: unavailable",
    );
    expect(service.asked.at(-1)?.[2]).toEqual({
      dryRun: false,
      maxLagSeconds: 0.5,
      maxPauseMs: 2000,
      acceptUnverified: false,
    });
    const codes = { aborted: 1, refused: 3, "needs-person": 5 } as const;
    for (const [outcome, code] of Object.entries(codes)) {
      service.outcome = outcome as keyof typeof codes;
      const ended = await dray(["cutover", "shop-acme", "--yes", "--json"]);
      expect([json(ended)["outcome"], ended.code]).toEqual([outcome, code]);
    }
    const dry = await dray(["cutover", "shop-acme", "--dry-run", "--json"]);
    expect([json(dry)["outcome"], dry.code]).toEqual(["would-run", 0]);
  });

  test("on a terminal the gate is shown and the move's name is typed again", async () => {
    await dray(start());
    const wrong = await dray(["cutover", "shop-acme"], {}, "yes");
    expect([wrong.code, wrong.stdout]).toEqual([2, ""]);
    expect(wrong.stderr).toContain("  yes     lag: 0.004 s (limit 1 s)\nshop-acme: tenant acme is fenced at eu1");
    expect(wrong.stderr).toContain(
      "verification: 100% verified (3000 rows), 2 dirty keys, 0 differences; rollback: unavailable (not in this version)",
    );
    expect(service.asked.filter(([name]) => name === "cutover").map((call) => call[2])).toMatchObject([
      { dryRun: true },
    ]);
    const right = await dray(["cutover", "shop-acme"], {}, "shop-acme");
    expect([right.code, right.stdout]).toEqual([0, expect.stringContaining("shop-acme: committed")]);
    const resolved = await dray(["resolve", "shop-acme", "--owner", "from"], {}, "shop-acme");
    expect(resolved.code).toBe(0);
  });

  test("a client that is killed in the midst of it does not stop it", async () => {
    await dray(start());
    const { promise, resolve: release } = Promise.withResolvers<void>();
    service.beforeResult = promise;
    const { child, ended } = spawnDray(["cutover", "shop-acme", "--yes"]);
    await new Promise((seen) => child.stderr?.once("data", seen));
    child.kill("SIGKILL");
    await ended;
    expect(service.cutoversEnded).toBe(0);
    release();
    await expect.poll(() => service.cutoversEnded, PATIENT).toBe(1);
  });
});

describe("exit codes", () => {
  test("5 while an alarm is open, and the alarm is the first line", async () => {
    await dray(start());
    const status = await service.status("shop-acme");
    const alarm = {
      id: 1,
      move: "shop-acme",
      code: "STRAY_WRITE",
      message: "a write at the source",
      facts: {},
      raisedAtMs: 0,
      times: 2,
    };
    service.moves.set("shop-acme", { ...status, alarms: [alarm] });
    const [text, line] = await Promise.all([dray(["status", "shop-acme"]), dray(["status", "shop-acme", "--json"])]);
    expect([text.code, line.code]).toEqual([5, 5]);
    expect(text.stdout.split("\n")[0]).toBe("ALARM STRAY_WRITE: a write at the source (2 times)");
    expect(json(line)).toMatchObject({ alarms: [{ code: "STRAY_WRITE" }] });
  });

  test("4 where another operator holds the move, who is named; 3 refused; 1 failed; 2 unknown or wrong", async () => {
    await dray(start());
    const cases = [
      [new DrayError("MOVE_HELD", { by: "bob@desk" }), 4, "bob@desk"],
      [
        new DrayError("PREFLIGHT_REFUSED", {
          findings: [{ severity: "error", subject: "eu1", finding: "no ROW", remedy: "Set it." }],
        }),
        3,
        "  eu1: error: no ROW\n      Set it.",
      ],
      [new DrayError("ILLEGAL_STEP", { phase: "closed", next: ["dray list"] }), 1, "next: dray list"],
      [new DrayError("MYSQL_UNREACHABLE", { server: "eu1" }), 1, "eu1"],
    ] as const;
    for (const [failure, code, text] of cases) {
      service.failure = failure;
      const ended = await dray(["pause", "shop-acme"]);
      expect([ended.code, ended.stdout, ended.stderr]).toEqual([code, "", expect.stringContaining(text)]);
      expect(ended.stderr).toContain(failure.problem.remedy);
    }
    const unknown = await dray(["pause", "none", "--json"]);
    expect([unknown.code, json(unknown)["error"]]).toEqual([2, expect.objectContaining({ code: "MOVE_UNKNOWN" })]);
    const wrong = [
      ["start"],
      ["recopi", "shop-acme"],
      ["skip", "shop-acme", "--seq", "x"],
      ["pause"],
      ["start", "--tenant"],
    ];
    const ended = await Promise.all(wrong.map((args) => dray(args)));
    expect(ended.map(({ code, stdout }) => [code, stdout])).toEqual(wrong.map(() => [2, ""]));
    expect(ended[0]?.stderr).toContain("--manifest <file>: is needed\n--tenant <key>: is needed");
    expect(ended[1]?.stderr).toContain("Did you mean recopy?");
  });

  test("no server: 1, with where it was looked for and what to do", async () => {
    const nobody = await dray(["list", "--data-dir", join(folder, "nowhere"), "--json"]);
    expect(nobody.code).toBe(1);
    const { error } = json(nobody);
    expect(error).toMatchObject({
      code: "SERVER_UNREACHABLE",
      message: expect.stringContaining("nowhere/dray.sock (ENOENT)"),
    });
    expect((await dray(["list"], { DRAY_URL: "ftp://x" })).code).toBe(2);
  });
});

test("K4: --version, help and the schema need no server", async () => {
  const [version, help, schema] = await Promise.all([
    spawnDray(["--version"]).ended,
    dray(["cutover", "--help"]),
    dray(["manifest", "schema", "--json"]),
  ]);
  expect([version.code, version.stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  expect([help.code, help.stdout]).toEqual([0, expect.stringContaining("--max-pause <seconds>")]);
  expect(json(schema)).toMatchObject({ title: "Drayage manifest" });
  expect(json(await dray(["config", "schema", "--json"]))).toMatchObject({ title: "Drayage server configuration" });
});

test("K5: over TCP with DRAY_URL: the local server's token is found, a wrong one is refused", async () => {
  const tcp = await openWith({ kind: "tcp", host: "127.0.0.1", port: 0 }, "tcp-data");
  try {
    const DRAY_URL = tcp.address;
    expect((await dray(["list", "--data-dir", join(folder, "tcp-data")], { DRAY_URL })).code).toBe(0);
    const refused = await dray(["list", "--json"], { DRAY_URL, DRAY_TOKEN: "wrong" });
    expect([refused.code, json(refused)]).toEqual([1, { error: expect.objectContaining({ code: "UNAUTHORIZED" }) }]);
    const { read } = JSON.parse(readFileSync(join(folder, "tcp-data/tokens.json"), "utf8")) as { read: string };
    const low = await dray(start(), { DRAY_URL, DRAY_TOKEN: read });
    expect([low.code, low.stderr]).toEqual([1, expect.stringContaining("ROLE_TOO_LOW")]);
  } finally {
    await tcp.close();
  }
});

test("status --watch tells changes as they come, and Ctrl-C ends it without a failure", async () => {
  await dray(start());
  const { child, ended } = spawnDray(["status", "shop-acme", "--watch", "--json"]);
  await expect.poll(() => service.watching, PATIENT).toBe(1);
  child.kill("SIGINT");
  const { code, stdout } = await ended;
  expect(code).toBe(0);
  expect(JSON.parse(stdout.split("\n")[0] ?? "")).toMatchObject({ type: "status", status: { move: "shop-acme" } });
  await expect.poll(() => service.watching, PATIENT).toBe(0);
});

test("config check: a literal secret and a missing one are refused with their place; serve refuses the same", async () => {
  const text =
    'clusters:\n  eu1: {kind: mysql, host: h, user: u, password: hunter2}\n  eu2: {kind: mysql, host: h, user: u, password: "$' +
    '{env:NOT_SET}"}\n';
  writeFileSync(join(folder, "server.yaml"), text);
  for (const args of [["config", "check"], ["serve"]]) {
    const refused = await dray([...args, "--config", join(folder, "server.yaml")]);
    expect(refused.code).toBe(3);
    expect(refused.stdout).toContain(
      "server.yaml:2:40: error: `clusters.eu1.password`: a secret must not stand in the file",
    );
    expect(refused.stdout).toContain("the environment variable NOT_SET is not set");
    expect(`${refused.stdout}${refused.stderr}`).not.toContain("hunter2");
  }
  writeFileSync(join(folder, "server.yaml"), text.replace("hunter2", '"$' + '{env:EU1}"'));
  const right = await dray(["config", "check", "--config", join(folder, "server.yaml"), "--json"], {
    EU1: "x",
    NOT_SET: "y",
  });
  expect([right.code, json(right)]).toEqual([0, { passed: true, findings: [] }]);
});
