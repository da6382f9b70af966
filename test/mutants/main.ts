// `npm run mutants [-- NAME…]`: takes one guarantee away at a time, in a copy of the tree, and shows which test notices.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openServers } from "../../docker/servers.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const NOT_COPIED = new Set(["node_modules", ".git", "dist", "dray-data"]);

type Verdict = "killed" | "survived";
type Report = {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
};

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter(({ name }) => wanted.length === 0 || wanted.some((word) => name.includes(word)));
if (chosen.length === 0) {
  console.error(`no mutant is called so; there are:\n${MUTANTS.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}

const tree = mkdtempSync(join(tmpdir(), "dray-mutants-"));
const servers = await openServers({ log: (line) => console.error(line) });
try {
  cpSync(ROOT, tree, {
    recursive: true,
    filter: (path) => !NOT_COPIED.has(path.slice(ROOT.length).split("/")[0] ?? ""),
  });
  symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
  const url = async (name: string, offset: number) =>
    (await servers.mysql({ name, flags: ["--auto-increment-increment=2", `--auto-increment-offset=${offset}`] })).url();
  const env = { DRAY_TEST_MYSQL_URL_A: await url("mysql-a", 1), DRAY_TEST_MYSQL_URL_B: await url("mysql-b", 2) };
  const verdicts: (readonly [Mutant, Verdict])[] = [];
  for (const mutant of chosen) {
    // A test that is red anyway would prove nothing.
    const before = await runTest(mutant, env);
    if (before.numPassedTests === 0 || before.numFailedTests > 0) {
      throw new Error(`"${mutant.test.name}" in ${mutant.test.file} is not green without the mutant`);
    }
    const verdict = await withMutant(mutant, async () => {
      const { numFailedTests } = await runTest(mutant, env);
      return numFailedTests > 0 ? ("killed" as const) : ("survived" as const);
    });
    verdicts.push([mutant, verdict]);
    console.error(`${verdict}: ${mutant.name}`);
  }
  console.log(table(verdicts));
  process.exitCode = verdicts.every(([, verdict]) => verdict === "killed") ? 0 : 1;
} finally {
  await servers.close();
  rmSync(tree, { recursive: true, force: true });
}

async function withMutant<T>({ name, file, find, replace }: Mutant, work: () => Promise<T>): Promise<T> {
  const path = join(tree, file);
  const text = readFileSync(path, "utf8");
  if (text.split(find).length !== 2) {
    throw new Error(`${name}: ${file} holds its text ${text.split(find).length - 1} times instead of once`);
  }
  writeFileSync(
    path,
    text.replace(find, () => replace),
  );
  try {
    return await work();
  } finally {
    writeFileSync(path, text);
  }
}

async function runTest({ test }: Mutant, env: Readonly<Record<string, string>>): Promise<Report> {
  const output = join(tree, "report.json");
  rmSync(output, { force: true });
  const pattern = test.name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const vitest = join(tree, "node_modules", "vitest", "vitest.mjs");
  const args = [vitest, "run", test.file, "-t", pattern, "--reporter=json", `--outputFile=${output}`];
  const child = spawn(process.execPath, args, {
    cwd: tree,
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "ignore"],
  });
  await new Promise((resolve) => child.once("close", resolve));
  return JSON.parse(readFileSync(output, "utf8")) as Report;
}

function table(verdicts: readonly (readonly [Mutant, Verdict])[]): string {
  const width = Math.max(...verdicts.map(([{ name }]) => name.length));
  return verdicts
    .map(([{ name, test }, verdict]) => `${name.padEnd(width)}  ${verdict.padEnd(8)}  ${test.name} (${test.file})`)
    .join("\n");
}
