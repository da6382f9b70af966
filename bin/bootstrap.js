// The way from nothing: installs what the lock file names when it changed, then goes on in a new process under the
// project's own Node. Runs on Node 18, so it imports nothing but Node's own modules.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const marker = join(modules, ".installed-lock");
const lockFile = join(root, ".bootstrap-lock");
const ownNode = join(modules, "node", "bin", "node");
const own = {
  ...process.env,
  PATH: [join(modules, "node", "bin"), join(modules, ".bin"), process.env.PATH].join(delimiter),
};

const [target, ...args] = process.argv.slice(2);
if (target === undefined) fail("usage: node bin/bootstrap.js FILE [ARGUMENTS]");
if (Number(process.versions.node.split(".")[0]) < 18)
  fail(`Node 18 or later is needed to begin; this is ${process.version}`);
await install();
if (!existsSync(join(root, target))) fail(`${target} is not in this version`);
run();

async function install() {
  if (isInstalled()) return;
  const release = await lock();
  try {
    // Whoever held the lock may have done it.
    if (isInstalled()) return;
    rmSync(marker, { force: true });
    process.stderr.write("installing dependencies (npm ci)\n");
    npm(["ci", "--no-audit", "--no-fund", "--loglevel=error"], root);
    if (!nodeRuns()) installNode();
    writeFileSync(marker, lockHash());
  } finally {
    release();
  }
}

function isInstalled() {
  return existsSync(marker) && readFileSync(marker, "utf8") === lockHash() && existsSync(ownNode);
}

function lockHash() {
  return createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
}

function nodeRuns() {
  return existsSync(ownNode) && spawnSync(ownNode, ["--version"]).status === 0;
}

/** An npm that runs no install scripts leaves the package `node` without its program: it is fetched as a package. */
function installNode() {
  const { version } = JSON.parse(readFileSync(join(modules, "node", "package.json"), "utf8"));
  const appleSilicon = process.platform === "darwin" && process.arch === "arm64";
  const name = `${appleSilicon ? "node-bin" : "node"}-${process.platform}-${process.arch}`;
  const folder = join(modules, ".own-node");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), "{}\n");
  npm(
    ["install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", `${name}@${version}`],
    folder,
  );
  mkdirSync(dirname(ownNode), { recursive: true });
  rmSync(ownNode, { force: true });
  renameSync(join(folder, "node_modules", name, "bin", "node"), ownNode);
  rmSync(folder, { recursive: true, force: true });
  if (!nodeRuns())
    fail(`the package ${name}@${version} has no Node that runs here; install Node 24 and run again under it`);
}

function npm(npmArgs, cwd) {
  const script = process.env.npm_execpath;
  const viaScript = script?.endsWith(".js") && existsSync(script);
  // npm hands its own settings to scripts; those of the outer call (a prefix, a dry run) are not meant for this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(config_(prefix|local_prefix|dry_run|global|omit)|package|lifecycle)/i.test(name),
    ),
  );
  const result = viaScript
    ? spawnSync(process.execPath, [script, ...npmArgs], { cwd, env, stdio: ["ignore", 2, 2] })
    : spawnSync("npm", npmArgs, { cwd, env, stdio: ["ignore", 2, 2] });
  if (result.error) fail(`npm cannot be run: ${result.error.message}`);
  if (result.status !== 0) fail(`npm ${npmArgs[0]} failed; its messages are above`);
}

async function lock() {
  for (let waits = 0; ; waits += 1) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: "wx" });
      process.once("exit", unlock);
      return unlock;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (isStale()) breakLock();
    else {
      if (waits === 4) process.stderr.write("waiting for another run that installs dependencies\n");
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** One at a time, and looked at once more: of two that see a dead owner, the slower must not take the lock of the faster. */
function breakLock() {
  const breaking = `${lockFile}-breaking`;
  try {
    writeFileSync(breaking, "", { flag: "wx" });
  } catch {
    // Whoever broke it was killed half way.
    if (Date.now() - (statSync(breaking, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > 10_000)
      rmSync(breaking, { force: true });
    return;
  }
  if (isStale()) rmSync(lockFile, { force: true });
  rmSync(breaking, { force: true });
}

function unlock() {
  try {
    if (readFileSync(lockFile, "utf8") === String(process.pid)) rmSync(lockFile, { force: true });
  } catch {
    // Gone already.
  }
}

function isStale() {
  try {
    const pid = Number(readFileSync(lockFile, "utf8"));
    // Empty for the moment between its creation and its first byte.
    if (!(pid > 0)) return Date.now() - statSync(lockFile).mtimeMs > 5000;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

function run() {
  const quiet = ["--disable-warning=ExperimentalWarning", "--disable-warning=TimeoutNegativeWarning"];
  const child = spawn(ownNode, [...quiet, join(root, target), ...args], { stdio: "inherit", env: own });
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"]) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to both of us; twice would look like a second, impatient one.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.once("error", (error) => fail(`${ownNode} cannot be run: ${error.message}`));
  child.once("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}
