import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";

const FOLDER = import.meta.dirname;
const ROW = /^\| (?<what>.+) \| \[(?<label>[^\]]+)\]\((?<path>[^)]+)\) \| (?<words>.+) \|$/;
const HEAD = /^\| what |^\|---/;

function rows() {
  const lines = readFileSync(join(FOLDER, "README.md"), "utf8").split("\n");
  const table = lines.filter((line) => line.startsWith("|") && !HEAD.test(line));
  return table.map((line) => {
    const { label = "", path = "", words = "" } = ROW.exec(line)?.groups ?? {};
    return { line, label, path, words };
  });
}

test.each(rows())("$line", ({ label, path, words }) => {
  expect(basename(path)).toBe(label);
  const names = readFileSync(join(FOLDER, path), "utf8").match(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g) ?? [];
  expect(words).not.toBe("");
  expect(
    names.some((name) => name.includes(words)),
    `a test of ${path} has "${words}" in its name`,
  ).toBe(true);
});

test("every file of this folder is listed", () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".test.ts") && name !== "listed.test.ts");
  const listed = new Set(rows().map(({ path }) => path));
  expect(files.filter((name) => !listed.has(name))).toEqual([]);
});
