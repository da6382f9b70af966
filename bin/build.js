// TypeScript to dist/, for the package: what is published runs without type stripping, which Node refuses to do below
// node_modules.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
rmSync(dist, { recursive: true, force: true });
const compiler = join(root, "node_modules", ".bin", "tsc");
const { status } = spawnSync(compiler, ["-p", join(root, "tsconfig.build.json")], { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

// The compiler rewrites the endings of imports only. A worker named by a URL must take its own file's ending.
for (const path of readdirSync(dist, { recursive: true })) {
  if (!path.endsWith(".js")) continue;
  const [named] = /new URL\([^)]*\.ts["'`],\s*import\.meta\.url\)/.exec(readFileSync(join(dist, path), "utf8")) ?? [];
  if (named === undefined) continue;
  process.stderr.write(`dist/${path}: ${named} is not in the package; use extname(import.meta.url)\n`);
  process.exit(1);
}
