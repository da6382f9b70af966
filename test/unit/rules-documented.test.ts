import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { sourceFiles } from "../setup/house-rules.ts";

const root = resolve(import.meta.dirname, "../..");
const PAGES = ["pipeline/README.md", "sinks/README.md", "cutover/README.md"];
/** The letters of the rules: log, marks, windows, tenants, apply, verify, cutover, control. */
const CITED = /\b[LMWTAVCK][1-9]\d?\b/g;

type Rule = { readonly id: string; readonly page: string; readonly text: string; readonly tests: readonly string[] };

const rules: readonly Rule[] = PAGES.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/^\| ([A-Z]\d+) \| (.*) \| ([^|]*) \|$/gm)].map((row) => ({
    id: row[1] ?? "",
    page,
    text: row[2] ?? "",
    tests: [...(row[3] ?? "").matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ""),
  })),
);

test("every rule that code, an error or a test cites has a line", () => {
  const told = new Set(rules.map(({ id }) => id));
  const missing = sourceFiles(root)
    .filter(({ path }) => path.endsWith(".ts"))
    .flatMap(({ path, text }) => [...new Set(text.match(CITED) ?? [])].map((id) => ({ id, path })))
    .filter(({ id }) => !told.has(id));
  expect(missing).toEqual([]);
});

test("no rule has two lines, and a page's text cites no rule without one", () => {
  const ids = rules.map(({ id }) => id);
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
  const cited = rules.flatMap(({ id, page, text }) => (text.match(CITED) ?? []).map((other) => ({ id, page, other })));
  expect(cited.filter(({ other }) => !ids.includes(other))).toEqual([]);
});

describe("a rule's line names tests that are there, and one of them cites it", () => {
  test.each(rules.map((rule) => [rule.id, rule] as const))("%s", (id, rule) => {
    expect(rule.tests).not.toEqual([]);
    for (const path of rule.tests) expect(existsSync(join(root, path)), `${rule.page}: ${path}`).toBe(true);
    expect(rule.tests.some((path) => new RegExp(`\\b${id}\\b`).test(textOf(path)))).toBe(true);
  });
});

describe("an incident's line names rules that have one, and tests that are there", () => {
  const page = readFileSync(join(root, "cutover/README.md"), "utf8");
  const section = /^## What happened to others.*$([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(page)?.[1] ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("|") && !/^\|( what happened |-)/.test(line));
  const told = new Set(rules.map(({ id }) => id));

  test("there are some", () => expect(lines.length).toBeGreaterThan(20));

  test.each(lines)("%s", (line) => {
    const [, cited = "", shownBy = ""] = /^\| [^|]+ \| ([^|]+) \| ([^|]+) \|$/.exec(line) ?? [];
    expect(cited).toMatch(/^[A-Z]\d+(, [A-Z]\d+)*$/);
    expect(cited.split(", ").filter((id) => !told.has(id))).toEqual([]);
    expect(shownBy).toMatch(/^`[^`]+`(, `[^`]+`)*$/);
    const tests = [...shownBy.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    expect(tests.filter((path) => !/^test\/.+\.(test|contract)\.ts$/.test(path))).toEqual([]);
    expect(tests.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });
});

/** A test's text with that of the files below test/ that it is made of. */
function textOf(path: string, seen = new Set<string>()): string {
  if (seen.has(path) || !existsSync(join(root, path))) return "";
  seen.add(path);
  const text = readFileSync(join(root, path), "utf8");
  const parts = [...text.matchAll(/from "(\.[^"]+\.ts)"/g)].map((match) => join(dirname(path), match[1] ?? ""));
  return [text, ...parts.filter((part) => part.startsWith("test/")).map((part) => textOf(part, seen))].join("\n");
}
