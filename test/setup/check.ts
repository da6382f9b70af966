// `npm run check`: types, lint and format, rules of the house. Everything is checked; the first failure stops nothing.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { houseProblems } from "./house-rules.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = (name: string) => join(root, "node_modules", ".bin", name);

const failed = [
  step("types", () => runs("tsc", ["-p", "."])),
  step("what is packed", () => runs("tsc", ["-p", "tsconfig.build.json", "--noEmit"])),
  step("lint and format", () => runs("biome", ["check", "--error-on-warnings", "--max-diagnostics=100", "."])),
  step("rules of the house", () => {
    const problems = houseProblems(root);
    for (const problem of problems) console.log(`  ${problem}`);
    return problems.length === 0;
  }),
].filter((ok) => !ok).length;
console.log(failed === 0 ? "check: all is well" : `check: ${failed} of 4 failed`);
process.exitCode = failed === 0 ? 0 : 1;

function step(name: string, check: () => boolean): boolean {
  const startedMs = performance.now();
  const ok = check();
  console.log(`${ok ? "ok    " : "FAILED"} ${name} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
  return ok;
}

function runs(name: string, args: readonly string[]): boolean {
  return spawnSync(program(name), [...args], { cwd: root, stdio: "inherit" }).status === 0;
}
