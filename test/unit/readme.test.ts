import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { USAGE as BENCH_USAGE } from "../../bench/options.ts";
import { COMMANDS, commandNamed } from "../../cli/commands.ts";
import { readServerConfig } from "../../console/server-config.ts";
import { ReferenceServer } from "../../cutover/adapters/reference-server.ts";
import { USAGE as DEMO_USAGE } from "../../demo/options.ts";
import { systemClock } from "../../pipeline/clock.ts";
import { checkNames, readManifest } from "../../pipeline/manifest-check.ts";
import { partNames, partOf, README_PARTS, withPart } from "../setup/readme-parts.ts";

const root = resolve(import.meta.dirname, "../..");
const file = join(root, "README.md");
const readme = readFileSync(file, "utf8");

describe("the README's generated parts", () => {
  test("are the ones that can be generated", () => {
    expect(partNames(readme).sort()).toEqual(Object.keys(README_PARTS).sort());
  });

  test.each(Object.entries(README_PARTS))("%s says what the code says", async (name, make) => {
    const text = await make();
    if (process.env["UPDATE"] === "1") writeFileSync(file, withPart(readFileSync(file, "utf8"), name, text));
    expect(partOf(readFileSync(file, "utf8"), name), "UPDATE=1 npm test -- test/unit/readme.test.ts rewrites it").toBe(
      text,
    );
  });
});

test("every dependency has a line that says what it is for, and every line a dependency", () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const lines = section("Dependencies").matchAll(/^\| `([^`]+)` \| (\S.*) \|$/gm);
  const told = new Map([...lines].map((line) => [line[1] ?? "", line[2] ?? ""]));
  expect([...told.keys()].sort()).toEqual([...Object.keys(dependencies), ...Object.keys(devDependencies)].sort());
  const marked = [...told].filter(([, what]) => what.endsWith("; development only")).map(([name]) => name);
  expect(marked.sort()).toEqual(Object.keys(devDependencies).sort());
});

test("every promise names tests, and they are there", () => {
  const rows = [...section("Promises").matchAll(/^\| (\S.*) \| ([^|]*) \|$/gm)].slice(1);
  expect(rows.length).toBeGreaterThan(10);
  for (const [, promise = "", shownBy = ""] of rows) {
    const tests = [...shownBy.matchAll(/`(test\/[^`]+\.test\.ts)`/g)].map((match) => match[1] ?? "");
    expect(tests, promise).not.toEqual([]);
    expect(
      tests.filter((path) => !existsSync(join(root, path))),
      promise,
    ).toEqual([]);
  }
});

test.each(["README.md", "pipeline/README.md", "sinks/README.md", "cutover/README.md"])(
  "links of %s lead somewhere",
  (path) => {
    const text = readFileSync(join(root, path), "utf8");
    const links = [...text.matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)].map((match) => match[1] ?? "");
    expect(links.filter((link) => !existsSync(resolve(root, dirname(path), link)))).toEqual([]);
  },
);

test("the configuration and the manifest of the first move are right", () => {
  const env = { DRAY_EU1_PASSWORD: "a", DRAY_US1_PASSWORD: "b", DRAY_ROUTER_TOKEN: "c" };
  const server = readServerConfig({ text: block("yaml dray.yaml"), file: "dray.yaml", env, dataDir: null });
  expect(server.findings).toEqual([]);
  const manifest = readManifest({ text: block("yaml shop.yaml"), file: "shop.yaml" });
  expect(manifest.findings).toEqual([]);
  if (manifest.manifest === null) throw new Error("no manifest");
  const adapters = { router: { canFence: true, canRoute: true, enforcedByDatabase: false } };
  expect(Object.keys(server.config?.adapters ?? {})).toEqual(Object.keys(adapters));
  expect(checkNames(manifest.manifest, { adapters, probes: [] }, manifest.locate)).toEqual([]);
});

test("every command that the README shows is one, with its flags", async () => {
  const shown = [...readme.matchAll(/(?:^|`)(dray [a-z][^`\n]*)/gm)].map((match) => match[1] ?? "");
  expect(shown.length).toBeGreaterThan(20);
  for (const line of shown) {
    const words = line.split(/\s+/).slice(1);
    const name = commandNamed(words);
    expect(name, line).not.toBeNull();
    const flags = Object.values<string>((await COMMANDS[name ?? ""]?.())?.default.flags ?? {});
    const known = [...flags.map((flag) => flag.split(" ")[0] ?? ""), "--json", "--data-dir", "--help"];
    const given = [...line.matchAll(/--[a-z-]+/g)].map(([flag]) => flag);
    expect(
      given.filter((flag) => !known.includes(flag)),
      line,
    ).toEqual([]);
  }
});

test("the options of demo and bench are ones that they take", () => {
  const flags = (text: string) => [...new Set(text.match(/(?<![\w-])--[a-z][a-z-]*/g))].sort();
  const shown = section("The two commands");
  const demo = shown.slice(shown.indexOf("### `npm run demo`"), shown.indexOf("### `npm test`"));
  expect(flags(demo)).toEqual(flags(DEMO_USAGE.replace("npm run demo -- ", "")));
  expect(flags(BENCH_USAGE)).toEqual(expect.arrayContaining(flags(section("What it reaches"))));
});

describe("the HTTP adapter's OpenAPI", () => {
  const page = parse(readFileSync(join(root, "cutover/adapters/adapter.openapi.yaml"), "utf8"));
  const shape = (name: string) => z.fromJSONSchema(page.components.schemas[name]);

  const CALLS = [
    ["fence", 1, 200],
    ["pin", 1, 200],
    ["unfence", 1, 200],
    ["fence", 1, 409],
    ["route", 2, 200],
    ["retire", 2, 200],
  ] as const;

  test("fits what the reference server takes and answers", async () => {
    const folder = mkdtempSync(join(tmpdir(), "dray-readme-"));
    const options = { token: "t", tenants: { acme: "eu1" }, journalFile: join(folder, "j"), clock: systemClock };
    const server = await ReferenceServer.open(options);
    const headers = { authorization: "Bearer t", "content-type": "application/json" };
    const seen: unknown[] = [];
    try {
      for (const [action, generation, status] of CALLS) {
        const expiresInMs = action === "fence" ? 60_000 : null;
        const call = { move: "m", tenant: "acme", action, to: "us1", generation, expiresInMs };
        expect(shape("Call").safeParse(call).error, action).toBeUndefined();
        const put = await fetch(server.url, { method: "PUT", headers, body: JSON.stringify(call) });
        const answer: unknown = await put.json();
        expect(put.status, action).toBe(status);
        expect(shape(status === 409 ? "Refusal" : "Reading").safeParse(answer).error, action).toBeUndefined();
        const got = await fetch(`${server.url}?tenant=acme`, { headers });
        expect(shape("Reading").safeParse(await got.json()).error, action).toBeUndefined();
        seen.push((answer as { readonly state: string }).state);
      }
    } finally {
      await server.close();
      rmSync(folder, { recursive: true });
    }
    expect(seen).toEqual(["fenced", "pinned", "open", "open", "routed", "retired"]);
  });

  test("names the actions and states that the README explains", () => {
    const rows = [...section("The HTTP adapter").matchAll(/^\| `([a-z]+)` \| `([a-z]+)` \|/gm)];
    const { Call, Reading } = page.components.schemas;
    expect(rows.map((row) => row[1]).sort()).toEqual([...Call.properties.action.enum].sort());
    expect(rows.map((row) => row[2]).sort()).toEqual([...Reading.properties.state.enum].sort());
  });
});

/** The text below a heading of the second order, up to the next. */
function section(heading: string): string {
  const from = readme.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`the README has no section ${heading}`);
  const to = readme.indexOf("\n## ", from + 1);
  return readme.slice(from, to < 0 ? undefined : to);
}

function block(info: string): string {
  const found = new RegExp(`^\`\`\`${info}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(readme);
  if (found === null) throw new Error(`the README has no block ${info}`);
  return found[1] ?? "";
}
