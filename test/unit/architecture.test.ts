import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { houseProblems } from "../setup/house-rules.ts";
import { importsOf } from "../setup/import-rules.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-house-"));
  put("package.json", JSON.stringify({ dependencies: { mysql2: "1.0.0", zod: "1.0.0" } }));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

test("the project keeps the rules of the house", () => {
  expect(houseProblems(root)).toEqual([]);
});

const importing = (path: string, specifier: string): [string, string] => [path, `import { a } from "${specifier}";\n`];

describe("imports", () => {
  test.each([
    importing("pipeline/a.ts", "../connectors/connector.ts"),
    importing("pipeline/log/a.ts", "../../sinks/sink.ts"),
    importing("pipeline/a.ts", "mysql2/promise"),
    importing("connectors/mysql/a.ts", "../../sinks/sink.ts"),
    importing("connectors/mysql/a.ts", "../mongo/client.ts"),
    importing("sinks/mysql/a.ts", "../../connectors/mysql/binlog-reader.ts"),
    importing("sinks/mysql/a.ts", "../../connectors/mongo/values.ts"),
    importing("sinks/applier.ts", "./mysql/sink.ts"),
    importing("cutover/coordinator.ts", "../connectors/mysql/connector.ts"),
    importing("cutover/gate.ts", "mysql2"),
    importing("cutover/gate.ts", "../console/api.ts"),
    importing("console/api.ts", "../connectors/connector.ts"),
    importing("cli/status.ts", "../cutover/coordinator.ts"),
    importing("cli/status.ts", "../console/api.ts"),
    importing("demo/check.ts", "../pipeline/entry.ts"),
    importing("bench/copy.ts", "../cutover/dray.ts"),
    importing("docker/servers.ts", "../pipeline/clock.ts"),
    importing("pipeline/a.ts", "../test/setup/run.ts"),
    importing("pipeline/a.ts", "fast-check"),
  ])("%s: %j is refused", (path, text) => {
    put(path, text);
    expect(houseProblems(folder)).toEqual([expect.stringContaining(path)]);
  });

  test.each([
    importing("pipeline/log/a.ts", "../entry.ts"),
    importing("connectors/mysql/preflight/a.ts", "../../../pipeline/errors.ts"),
    importing("connectors/mysql/preflight/a.ts", "../client.ts"),
    importing("sinks/mysql/a.ts", "../../connectors/mysql/values.ts"),
    importing("sinks/mysql/a.ts", "mysql2/promise"),
    importing("cutover/stores.ts", "../connectors/mysql/connector.ts"),
    importing("cutover/coordinator.ts", "../sinks/sink.ts"),
    importing("cli/serve.ts", "../cutover/dray.ts"),
    importing("test/unit/a.test.ts", "../../cutover/dray.ts"),
    importing("cutover/stores/mysql.ts", "../../connectors/mysql/connector.ts"),
    ["cli/a.ts", 'import type { MoveStatus } from "../cutover/move-service.ts";\n'] as [string, string],
    ["cli/a.ts", 'import type { Answer } from "../console/answers.ts";\n'] as [string, string],
  ])("%s: %j is allowed", (path, text) => {
    put(path, text);
    expect(houseProblems(folder)).toEqual([]);
  });

  test("every way to name a module is seen, comments are not", () => {
    const text = [
      'import a, { type B } from "./one.ts";',
      'import type {\n  C,\n} from "./two.ts";',
      'import "./three.ts";',
      'export { d } from "./four.ts";',
      'export * from "./five.ts";',
      'const e = await import("./six.ts");',
      'new Worker(new URL("./seven.ts", import.meta.url));',
      '// import "./eight.ts";',
      '/* import "./nine.ts"; */',
    ].join("\n");
    expect(importsOf(text).map(({ specifier }) => specifier)).toEqual(
      ["one", "two", "three", "four", "five", "six", "seven"].map((name) => `./${name}.ts`),
    );
    expect(importsOf(text).filter(({ typeOnly }) => typeOnly)).toEqual([{ specifier: "./two.ts", typeOnly: true }]);
  });
});

describe("stray and hidden tests", () => {
  const body = 'import { test } from "vitest";\ntest("a", () => {});\n';
  test.each([
    ["test/issues/gh-181.ts", body],
    ["test/unit/a.spec.ts", body],
    ["test/unit/a-test.ts", ""],
    ["test/other/a.test.ts", body],
    ["pipeline/a.test.ts", body],
    ["test/contracts/a.contract.ts", body],
    ["test/unit/a.test.ts", body.replace("test(", `test.${"only"}(`)],
  ])("%s is found", (path, text) => {
    put(path, text);
    expect(houseProblems(folder).join("\n")).toContain(path);
  });
});

describe("files", () => {
  const above = "..";
  test.each([
    ["pipeline/long.ts", "export {};\n".repeat(401)],
    ["pipeline/index.ts", ""],
    ["pipeline/utils/a.ts", ""],
    ["pipeline/CamelCase.ts", ""],
    ["docs/a.md", `see ${above}/shared/notes.md`],
    ["package-lock.json", `{"resolved": "https://${["registry", "npmjs", "org"].join(".")}/zod"}`],
  ])("%s is refused", (path, text) => {
    put(path, text);
    expect(houseProblems(folder)).toEqual([expect.stringContaining(path)]);
  });

  test("400 lines are not too many", () => {
    put("pipeline/long.ts", "export {};\n".repeat(400));
    expect(houseProblems(folder)).toEqual([]);
  });
});

describe("compiler and linter", () => {
  const planted = (name: string, args: readonly string[]) => {
    for (const file of ["tsconfig.json", "biome.json"]) cpSync(join(root, file), join(folder, file));
    put(".gitignore", "node_modules\n");
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    const { stdout, stderr } = spawnSync(join(root, "node_modules", ".bin", name), [...args], {
      cwd: folder,
      encoding: "utf8",
    });
    return stdout + stderr;
  };

  test("a type error is found", () => {
    put("pipeline/a.ts", 'export const a: number = "text";\n');
    expect(planted("tsc", ["-p", "."])).toContain("TS2322");
  });

  test.each([
    ["noFloatingPromises", 'import { b } from "./b.ts";\n\nb();\n'],
    [
      "useExhaustiveSwitchCases",
      'export function f(k: "x" | "y"): number {\n  switch (k) {\n    case "x":\n      return 1;\n  }\n  return 2;\n}\n',
    ],
    ["noExplicitAny", "export const a: any = 1;\n"],
    ["noDefaultExport", "export default 1;\n"],
    ["noImportCycles", 'import { b } from "./b.ts";\n\nexport const a = b;\n'],
  ])("%s is found", (rule, text) => {
    put("pipeline/a.ts", text);
    const cycle = rule === "noImportCycles" ? 'import { a } from "./a.ts";\n\nexport const c = () => a;\n' : "";
    put(
      "pipeline/b.ts",
      `${cycle}${cycle === "" ? "" : "\n"}export async function b(): Promise<number> {\n  return 1;\n}\n`,
    );
    expect(planted("biome", ["check", "."])).toContain(rule);
  });
});
