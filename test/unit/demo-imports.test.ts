import { readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

/** Every file that a file imports, and theirs; packages by name. */
function reach(file: string, files = new Set<string>(), packages = new Set<string>()) {
  if (files.has(file)) return { files, packages };
  files.add(file);
  for (const [, name = ""] of readFileSync(file, "utf8").matchAll(/(?:from|import\()\s*"([^"]+)"/g)) {
    if (name.startsWith(".")) reach(resolve(dirname(file), name), files, packages);
    else if (!name.startsWith("node:")) packages.add(name);
  }
  return { files, packages };
}

test.each(["check", "application", "router", "sabotage"])("demo/%s.ts imports nothing of the product", (name) => {
  const { files, packages } = reach(resolve(root, `demo/${name}.ts`));
  expect([...files].map((file) => relative(root, file)).filter((file) => !file.startsWith("demo/"))).toEqual([]);
  expect([...packages].filter((found) => !found.startsWith("mysql2"))).toEqual([]);
  expect(files.size).toBeGreaterThan(1);
});
