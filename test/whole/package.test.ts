import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-package-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: readonly string[], cwd: string, environment: NodeJS.ProcessEnv = {}) {
  const env = Object.fromEntries(
    Object.entries({ ...process.env, ...environment }).filter(([name]) => !/^(npm_|NODE_OPTIONS|VITEST)/.test(name)),
  );
  return spawnSync(command, [...args], { cwd, env, encoding: "utf8" });
}

/** A Node of another age, where this machine has one. */
function oldNode(): string | null {
  for (const path of (process.env["PATH"] ?? "").split(delimiter)) {
    const command = join(path, "node");
    if (!existsSync(command)) continue;
    const { stdout } = run(command, ["-p", "process.versions.node"], root);
    if (Number.parseInt(stdout, 10) < 24) return command;
  }
  return null;
}

/** The checkout without its build, so that nothing is built into the tree that others test at the same time. */
function checkout(): string {
  const copy = join(folder, "checkout");
  mkdirSync(copy);
  for (const name of readdirSync(root)) {
    if (["node_modules", "dist", ".git", "dray-data"].includes(name)) continue;
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

describe("the package", () => {
  test("is built, packed, installed elsewhere, and says its version there", () => {
    const copy = checkout();
    const packed = run("npm", ["pack", "--silent", "--pack-destination", folder], copy);
    expect(packed.status, packed.stderr).toBe(0);
    const [tarball] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
    const listed = run("tar", ["-tzf", join(folder, tarball ?? "")], folder)
      .stdout.trim()
      .split("\n");
    expect(listed).toEqual(
      expect.arrayContaining(["package/package.json", "package/bin/dray.js", "package/dist/cli/main.js"]),
    );
    expect(listed.filter((path) => /\.ts$|^package\/(test|demo|docker|bench)\//.test(path))).toEqual([]);

    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "package.json"), "{}\n");
    const installed = run(
      "npm",
      ["install", "--no-audit", "--no-fund", "--prefer-offline", join(folder, tarball ?? "")],
      elsewhere,
    );
    expect(installed.status, installed.stderr).toBe(0);
    const dray = run(process.execPath, [join(elsewhere, "node_modules", ".bin", "dray"), "--version"], elsewhere);
    expect({ ...dray, pid: 0 }).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("in a checkout the same command runs the TypeScript", () => {
    const dray = run(process.execPath, [join(root, "bin", "dray.js"), "--version"], tmpdir());
    expect({ ...dray, pid: 0 }).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  test.skipIf(oldNode() === null)("a Node that is too old is told in one line, with the remedy", () => {
    const dray = run(oldNode() ?? "", [join(root, "bin", "dray.js"), "--version"], root);
    expect(dray.status).toBe(2);
    expect(dray.stdout).toBe("");
    expect(dray.stderr).toMatch(/^dray needs Node 24 or later and this is v\d+[^\n]*: install Node 24[^\n]*\n$/);
  });
});

describe("the way from nothing", () => {
  /** A project of its own: its lock file names no package, and its Node is the one that runs this test. */
  function project(name: string): string {
    const home = join(folder, name);
    mkdirSync(join(home, "bin"), { recursive: true });
    cpSync(join(root, "bin", "bootstrap.js"), join(home, "bin", "bootstrap.js"));
    const manifest = { name, version: "1.0.0", type: "module", devDependencies: { node: "file:own-node" } };
    writeFileSync(join(home, "package.json"), JSON.stringify(manifest));
    mkdirSync(join(home, "own-node", "bin"), { recursive: true });
    symlinkSync(process.execPath, join(home, "own-node", "bin", "node"));
    writeFileSync(
      join(home, "own-node", "package.json"),
      JSON.stringify({ name: "node", version: "24.0.0", bin: "bin/node" }),
    );
    expect(run("npm", ["install", "--package-lock-only", "--silent"], home).status).toBe(0);
    writeFileSync(
      join(home, "main.js"),
      "console.log(process.version, process.argv.slice(2).join());process.exitCode = 7;\n",
    );
    return home;
  }
  const starter = oldNode() ?? process.execPath;
  const boot = (home: string) => run(starter, [join(home, "bin", "bootstrap.js"), "main.js", "a", "b"], home);

  test("installs once, goes on under the project's own Node, and hands on arguments and exit code", () => {
    const home = project("once");
    const first = boot(home);
    expect(first.stderr).toContain("npm ci");
    expect({ stdout: first.stdout, status: first.status }).toEqual({ stdout: `${process.version} a,b\n`, status: 7 });
    const second = boot(home);
    expect({ stdout: second.stdout, stderr: second.stderr, status: second.status }).toEqual({
      stdout: first.stdout,
      stderr: "",
      status: 7,
    });
    const lock = readFileSync(join(home, "package-lock.json"), "utf8");
    writeFileSync(join(home, "package-lock.json"), `${lock}\n`);
    expect(boot(home).stderr).toContain("npm ci");
  });

  test("two runs at once install one after the other, and a dead run's lock is broken", () => {
    const home = project("twice");
    writeFileSync(join(home, ".bootstrap-lock"), "4194304");
    const script = `"$0" bin/bootstrap.js main.js & "$0" bin/bootstrap.js main.js; wait`;
    const both = run("sh", ["-c", script, starter], home);
    expect(both.stdout).toBe(`${process.version} \n`.repeat(2));
    expect(both.stderr.match(/npm ci/g)).toHaveLength(1);
    expect(existsSync(join(home, ".bootstrap-lock"))).toBe(false);
  });

  test("an install that fails is said, and is tried again the next time", () => {
    const home = project("fails");
    const lock = readFileSync(join(home, "package-lock.json"), "utf8");
    writeFileSync(join(home, "package-lock.json"), "{}");
    expect(boot(home)).toMatchObject({ status: 2, stdout: "" });
    expect(existsSync(join(home, ".bootstrap-lock"))).toBe(false);
    writeFileSync(join(home, "package-lock.json"), lock);
    expect(boot(home).status).toBe(7);
  });

  test("a signal reaches the program", () => {
    const home = project("signal");
    writeFileSync(
      join(home, "main.js"),
      "process.on('SIGTERM', () => process.exit(9)); console.log('up'); setInterval(() => {}, 1000);\n",
    );
    const script = `"$0" bin/bootstrap.js main.js > out & pid=$!; until grep -q up out; do sleep 0.1; done; kill -TERM $pid; wait $pid; echo $?`;
    expect(run("sh", ["-c", script, starter], home).stdout).toBe("9\n");
  });
});
