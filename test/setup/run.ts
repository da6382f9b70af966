// `npm test [-- FILTER...]`: everything on real servers, or the files whose path contains a filter.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { lastLine, type Report, totals } from "./totals.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const args = process.argv.slice(2);
const filters = args.filter((arg) => !arg.startsWith("-"));
const folder = mkdtempSync(join(tmpdir(), "dray-test-report-"));
const file = join(folder, "report.json");

const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const child = spawn(
  process.execPath,
  [
    vitest,
    "run",
    "--reporter=default",
    "--reporter=json",
    "--reporter=./test/setup/last-words.ts",
    `--outputFile.json=${file}`,
    ...args,
  ],
  { cwd: root, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
const exitCode = await new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));

const expected = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".test.ts"))
  .map((path) => join(root, "test", path))
  .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)));
const result = totals(readReport(), expected, { exitCode, byName: args.length > filters.length });
rmSync(folder, { recursive: true, force: true });
for (const problem of result.problems) console.log(`FAILED: ${problem.replace(root, "")}`);
process.exitCode = result.failed === 0 && result.passed > 0 ? 0 : 1;
console.log(lastLine(result));

function readReport(): Report | null {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return null;
  }
}
