import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { importProblems } from "./import-rules.ts";

/** A text file of the project, its path relative to the root with slashes. */
export type SourceFile = { readonly path: string; readonly text: string };

const SKIPPED_FOLDERS = new Set(["node_modules", "dist", ".git", "dray-data"]);
const MAX_LINES = 400;
/** Kinds of tests, and what they are made of. A new folder here is a decision, not an accident. */
const TEST_FOLDERS = /^test\/(unit|contracts|properties|crash|races|issues|memory|model|whole|setup|mutants)\//;
const HELPER = /(\.contract\.ts|^test\/setup\/)/;

/** Every breach of the rules of the house that neither compiler nor linter sees, one line each. */
export function houseProblems(root: string): string[] {
  const files = sourceFiles(root);
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
  };
  return [
    ...importProblems(files, new Set(Object.keys(manifest.dependencies ?? {}))),
    ...strayTests(files),
    ...onlyTests(files),
    ...longFiles(files),
    ...fileNames(files),
    ...foreignReferences(files),
  ];
}

export function sourceFiles(root: string): SourceFile[] {
  const files: SourceFile[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const full = join(folder, entry.name);
      if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name)) walk(full);
      else if (entry.isFile() && statSync(full).size < 2_000_000) {
        files.push({ path: relative(root, full).split(sep).join("/"), text: readFileSync(full, "utf8") });
      }
    }
  };
  walk(root);
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** A test that no pattern of the runner matches never runs, and nobody sees it. */
export function strayTests(files: readonly SourceFile[]): string[] {
  const problems: string[] = [];
  for (const { path, text } of files) {
    if (!/\.[cm]?[jt]sx?$/.test(path)) continue;
    const isTest = path.endsWith(".test.ts");
    if (isTest && !TEST_FOLDERS.test(path)) problems.push(`${path}: a test outside of the known folders below test/`);
    if (isTest) continue;
    // A verb of the product may well be called test; below test/ such a name is a slip.
    const looks = path.startsWith("test/")
      ? /([-_.]tests?|[-_.]spec)\.[cm]?[jt]sx?$/
      : /\.(tests?|spec)\.[cm]?[jt]sx?$/;
    if (looks.test(path)) problems.push(`${path}: looks like a test; name it *.test.ts`);
    const declares = /from\s+["']vitest["']/.test(text) && /^\s*(test|it)(\.\w+)*\(/m.test(text);
    if (declares && !HELPER.test(path)) problems.push(`${path}: declares tests; name it *.test.ts or *.contract.ts`);
    if (path.startsWith("test/") && !TEST_FOLDERS.test(path))
      problems.push(`${path}: not in a known folder below test/`);
  }
  const contracts = files.filter(({ path }) => path.endsWith(".contract.ts"));
  for (const { path } of contracts) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (!files.some((file) => file.path.endsWith(".test.ts") && file.text.includes(`/${name}"`))) {
      problems.push(`${path}: no test file runs this contract`);
    }
  }
  return problems;
}

export function onlyTests(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => /\.(test|contract)\.ts$/.test(path))
    .filter(({ text }) => /\b(test|it|describe)(\.\w+)*\.only\b/.test(withoutStrings(text)))
    .map(({ path }) => `${path}: a test marked as the only one hides all others`);
}

export function longFiles(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => /\.[jt]s$/.test(path))
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${MAX_LINES}; split it`);
}

export function fileNames(files: readonly SourceFile[]): string[] {
  const problems: string[] = [];
  for (const { path } of files) {
    if (!path.endsWith(".ts")) continue;
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*\.ts$/.test(name)) problems.push(`${path}: not in kebab-case`);
    if (/(^|\/)(index|utils?|helpers?|common|misc)(\.ts$|\/)/.test(path))
      problems.push(`${path}: name it by what is in it`);
  }
  return problems;
}

/** A clone must stand alone: no file outside of it, and no registry but the one each machine is set up with. */
export function foreignReferences(files: readonly SourceFile[]): string[] {
  const dot = "\\.";
  const hosts = [
    ["registry", "npmjs", "org"],
    ["maven", "apache", "org"],
    ["maven", "org"],
    ["deb", "debian", "org"],
    ["pypi", "org"],
    ["proxy", "golang", "org"],
  ];
  const patterns = [
    new RegExp(`${dot}${dot}/${"shared"}(?![\\w.-])`),
    ...hosts.map((parts) => new RegExp(`\\b${parts.join(dot)}\\b`)),
  ];
  const problems: string[] = [];
  for (const { path, text } of files) {
    for (const pattern of patterns) {
      const found = pattern.exec(text);
      if (found !== null) problems.push(`${path}: refers to ${found[0]}`);
    }
  }
  return problems;
}

function withoutStrings(text: string): string {
  return text.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}
