import { posix } from "node:path";
import type { SourceFile } from "./house-rules.ts";

export type Import = { readonly specifier: string; readonly typeOnly: boolean };

type Rule = {
  /** Files the rule is about; the first rule that fits a file is its only one. */
  readonly from: RegExp;
  /** What they may import besides their own folder, given the file's path. Anything not matched is refused. */
  readonly may: (path: string) => readonly RegExp[];
  /** What they may import as types only. */
  readonly mayAsType?: readonly RegExp[];
  /** Packages they may not import though the product depends on them. */
  readonly neverPackages?: RegExp;
};

const CONSOLE = /^console\//;
const PIPELINE = /^pipeline\//;
const SHARED_PARTS = /^(connectors|sinks)\/[^/]+\.ts$/;
const STORE_PACKAGES = /^(mysql2|@vlasky\/zongji|mongodb)(\/|$)/;
/** Client, value and `dray` schema code of a store, which its sink may use; its readers it may not. */
const STORE_WORDS =
  "(client|values|key-bytes|row-codec|column-types|table-spec|identifier|tenant-key|load-text|parse-load-text|dray-schema|control-session|outcome|gtid-set)";

const RULES: readonly Rule[] = [
  { from: /^pipeline\//, may: () => [PIPELINE], neverPackages: STORE_PACKAGES },
  { from: /^connectors\/[^/]+\.ts$/, may: () => [PIPELINE, /^connectors\/[^/]+\.ts$/], neverPackages: STORE_PACKAGES },
  { from: /^connectors\/[^/]+\//, may: (path) => [PIPELINE, /^connectors\/[^/]+\.ts$/, folderOf(path, 2)] },
  { from: /^sinks\/[^/]+\.ts$/, may: () => [PIPELINE, SHARED_PARTS], neverPackages: STORE_PACKAGES },
  {
    from: /^sinks\/[^/]+\//,
    may: (path) => [
      PIPELINE,
      SHARED_PARTS,
      folderOf(path, 2),
      new RegExp(`^connectors/${path.split("/")[1]}/${STORE_WORDS}\\.ts$`),
    ],
  },
  // The composition root and the registry of stores are the only ones that see concrete classes.
  {
    from: /^cutover\/((stores|dray)\.ts$|stores\/)/,
    may: () => [PIPELINE, /^(connectors|sinks|cutover)\//],
  },
  {
    from: /^cutover\//,
    may: () => [PIPELINE, SHARED_PARTS, /^cutover\//],
    neverPackages: STORE_PACKAGES,
  },
  { from: /^console\//, may: () => [PIPELINE, /^(console|cutover)\//], neverPackages: STORE_PACKAGES },
  // The one verb that is a server and no client.
  { from: /^cli\/serve\.ts$/, may: () => [PIPELINE, /^(cli|console|cutover)\//] },
  {
    from: /^cli\//,
    may: () => [/^cli\//, /^pipeline\/errors\.ts$/],
    // The words of the API's answers, and nothing that runs.
    mayAsType: [CONSOLE, /^cutover\/move-service\.ts$/],
    neverPackages: STORE_PACKAGES,
  },
  { from: /^docker\//, may: () => [/^docker\//] },
  // What checks the product imports nothing of it.
  { from: /^demo\//, may: () => [/^(demo|docker|bin)\//] },
  // The one measure that takes a part of the product by itself: how a large lane of the log is opened.
  { from: /^bench\/log-opening\.ts$/, may: () => [/^(bench|pipeline)\//] },
  { from: /^bench\//, may: () => [/^(bench|docker|demo|bin)\//] },
];

/** Product code, that is shipped: it may import declared dependencies and Node's modules only. */
const PRODUCT = /^(pipeline|connectors|sinks|cutover|console|cli)\//;

export function importProblems(files: readonly SourceFile[], dependencies: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  for (const { path, text } of files) {
    if (!path.endsWith(".ts")) continue;
    const rule = RULES.find(({ from }) => from.test(path));
    for (const { specifier, typeOnly } of importsOf(text)) {
      if (specifier.startsWith(".")) {
        const target = posix.normalize(posix.join(posix.dirname(path), specifier));
        const allowed = rule === undefined ? [] : [...rule.may(path), ...(typeOnly ? (rule.mayAsType ?? []) : [])];
        if (rule !== undefined && !allowed.some((pattern) => pattern.test(target)))
          problems.push(`${path}: may not import ${target}`);
        continue;
      }
      if (specifier.startsWith("node:")) continue;
      const name = packageName(specifier);
      if (PRODUCT.test(path) && !dependencies.has(name))
        problems.push(`${path}: ${name} is not among the dependencies`);
      if (rule?.neverPackages?.test(specifier) === true)
        problems.push(`${path}: may not import ${specifier}: it knows no store`);
    }
  }
  return problems;
}

/** All ways to name another module: import, export … from, import(), a worker's URL. */
export function importsOf(text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`\\])\/\/.*$/gm, "$1");
  const found: Import[] = [];
  for (const match of code.matchAll(/^\s*(import|export)(\s+type)?\s(?:[^"'`;]*?\sfrom\s+)?["']([^"'\n]+)["']/gm)) {
    found.push({ specifier: match[3] ?? "", typeOnly: match[2] !== undefined });
  }
  for (const match of code.matchAll(/\bimport\(\s*["'`]([^"'`\n]+)["'`]\s*[,)]/g)) {
    found.push({ specifier: match[1] ?? "", typeOnly: false });
  }
  for (const match of code.matchAll(/\bnew URL\(\s*["'`](\.[^"'`\n$]*\.[jt]s)["'`]\s*,\s*import\.meta\.url/g)) {
    found.push({ specifier: match[1] ?? "", typeOnly: false });
  }
  return found;
}

function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

function folderOf(path: string, depth: number): RegExp {
  return new RegExp(`^${path.split("/").slice(0, depth).join("/")}/`);
}
