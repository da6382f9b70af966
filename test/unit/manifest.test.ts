import { expect, test } from "vitest";
import type { FileFinding } from "../../pipeline/file-finding.ts";
import type { LiveTable } from "../../pipeline/live-schema.ts";
import { coveredTables, manifestJsonSchema } from "../../pipeline/manifest.ts";
import { checkNames, checkTables, type KnownNames, readManifest } from "../../pipeline/manifest-check.ts";
import { guessBelonging, writeManifest } from "../../pipeline/manifest-init.ts";

const read = (text: string) => readManifest({ text, file: "shop.yaml" });
const told = (findings: readonly FileFinding[]) => findings.map((f) => `${f.place} ${f.message} | ${f.remedy}`);

const whole = `name: shop
stores:
  main:
    kind: mysql
    schemas:
      shop:
        target: shop_eu
        tables:
          tenants: {root: true}
          users: {column: tenant_id}
          countries: {reference: true}
          audit: {ignore: "kept for seven years where it was written"}
      billing:
        tables:
          invoices: {column: account}
fence:
  steps:
    - adapter: router
    - read_only_schema: {schema: shop, tenant_alone: true}
  grace_ms: 100
routing:
  - adapter: router
throttle:
  - {probe: threads, on: to, limit: 40}
consents: [full-scan]
cutover: {max_lag_s: 2}
`;
const known: KnownNames = {
  adapters: { router: { canFence: true, canRoute: true, enforcedByDatabase: false } },
  probes: ["threads"],
};

test("T2: belonging is a tagged union, schemas may be named otherwise, what is not said has its default", () => {
  const { manifest, findings } = read(whole);
  expect(findings).toEqual([]);
  expect(manifest).toEqual({
    name: "shop",
    stores: [
      {
        name: "main",
        kind: "mysql",
        schemas: [
          {
            source: "shop",
            target: "shop_eu",
            tables: [
              { name: "tenants", belonging: { kind: "root" } },
              { name: "users", belonging: { kind: "column", column: "tenant_id" } },
              { name: "countries", belonging: { kind: "reference" } },
              { name: "audit", belonging: { kind: "ignore", reason: "kept for seven years where it was written" } },
            ],
          },
          {
            source: "billing",
            target: "billing",
            tables: [{ name: "invoices", belonging: { kind: "column", column: "account" } }],
          },
        ],
      },
    ],
    fence: {
      steps: [
        { kind: "adapter", adapter: "router" },
        { kind: "read-only-schema", schema: "shop" },
      ],
      graceMs: 100,
    },
    routing: [{ adapter: "router" }],
    throttle: [{ probe: "threads", on: "to", limit: 40 }],
    consents: ["full-scan"],
    cutover: { maxLagSeconds: 2, maxPauseMs: null, onSlip: "drain-again", heartbeats: 4, retentionHours: 168 },
  });
  expect(manifest === null ? [] : coveredTables(manifest)).toEqual(["shop.tenants", "shop.users", "billing.invoices"]);
  expect(manifest === null ? null : checkNames(manifest, known, read(whole).locate)).toEqual([]);
});

test("T2: what is wrong comes at once, with line, column and what to write", () => {
  const { manifest, findings } = read(`name: shop
stores:
  main:
    kind: mysql
    schemas:
      shop:
        tables:
          users: {colum: tenant_id}
          audit: {ignore: " "}
fence:
  steps: [{adaptor: router}]
rooting: []
cutover: {max_lag_s: 0}
`);
  expect(manifest).toBeNull();
  const forms = "Whose the table's rows are: {root: true}, {column: NAME}, {reference: true} or {ignore: REASON}.";
  expect(told(findings).toSorted()).toEqual(
    [
      `shop.yaml:8:11 \`stores.main.schemas.shop.tables.users\` has none of the known forms | ${forms}`,
      "shop.yaml:9:19 `stores.main.schemas.shop.tables.audit.ignore`: Too small: expected string to have >=1 characters | Mend it: Why this table does not move with a tenant.",
      "shop.yaml:11:11 `fence.steps.0` has none of the known forms | {adapter: NAME} or {read_only_schema: {schema: NAME, tenant_alone: true}}.",
      "shop.yaml:10:1 `fence.grace_ms` is missing | Add `grace_ms`: The longest time the application may act on a stale flag; 0 only where the database enforces it.",
      "shop.yaml:1:1 `routing` is missing | Add `routing`: What sends the tenant to its new home, in order.",
      "shop.yaml:13:11 `cutover.max_lag_s`: Too small: expected number to be >0 | Mend it: No fence above this lag, in seconds.",
      "shop.yaml:12:1 unknown field `rooting` | Did you mean `routing`? Else remove it.",
    ].toSorted(),
  );
});

test("what contradicts itself is refused: two roots, one target twice, nothing that moves, a fence on nothing", () => {
  const text = whole
    .replace("users: {column: tenant_id}", "users: {root: true}")
    .replace("      billing:\n", "      billing:\n        target: SHOP_EU\n")
    .replace("schema: shop,", "schema: shopp,");
  expect(told(read(text).findings)).toEqual([
    "shop.yaml:10:11 there are two roots: shop.tenants, shop.users | Keep the one whose primary key is the tenant key; the others are {column: NAME}.",
    "shop.yaml:13:7 the schemas `shop` and `billing` have the same target `SHOP_EU` | Give each its own `target`.",
    "shop.yaml:20:26 the manifest has no schema `shopp` | Known: shop, billing.",
  ]);
  const nothing = whole
    .replace("{root: true}", "{reference: true}")
    .replaceAll(/\{column: \w+\}/g, "{reference: true}");
  expect(told(read(nothing).findings)[0]).toContain("no table moves with a tenant");
});

test("C3: a grace of 0 is refused unless the database enforces the fence", () => {
  const withoutSchemaFence = whole
    .replace("grace_ms: 100", "grace_ms: 0")
    .replace("    - read_only_schema: {schema: shop, tenant_alone: true}\n", "");
  const { manifest, locate } = read(withoutSchemaFence);
  if (manifest === null) throw new Error("the file alone is right");
  expect(told(checkNames(manifest, known, locate))[0]).toContain("0 is only for a fence that the database enforces");
  const enforced = { canFence: true, canRoute: true, enforcedByDatabase: true };
  expect(checkNames(manifest, { ...known, adapters: { router: enforced } }, locate)).toEqual([]);
  const bySchema = read(whole.replace("grace_ms: 100", "grace_ms: 0"));
  expect(bySchema.manifest === null ? null : checkNames(bySchema.manifest, known, bySchema.locate)).toEqual([]);
});

test("K5: adapters and probes that the server configuration lacks, or that cannot do it, are named", () => {
  const { manifest, locate } = read(whole);
  if (manifest === null) throw new Error("the file alone is right");
  const other = { ruter: { canFence: true, canRoute: true, enforcedByDatabase: false } };
  expect(told(checkNames(manifest, { adapters: other, probes: [] }, locate))).toEqual([
    "shop.yaml:18:7 the server configuration has no adapter `router` | Did you mean `ruter`?",
    "shop.yaml:22:5 the server configuration has no adapter `router` | Did you mean `ruter`?",
    "shop.yaml:24:6 the server configuration has no probe `threads` | Known: none.",
  ]);
  const mute = { router: { canFence: false, canRoute: false, enforcedByDatabase: false } };
  expect(told(checkNames(manifest, { adapters: mute, probes: ["threads"] }, locate))).toEqual([
    "shop.yaml:18:7 the adapter `router` cannot fence | Give it `fence` and `unfence` statements in the server configuration, or name another.",
    "shop.yaml:22:5 the adapter `router` cannot route | Give it `route` statements in the server configuration, or name another.",
  ]);
});

function table(name: string, columns: readonly string[], parents: Readonly<Record<string, string>> = {}): LiveTable {
  const references = Object.entries(parents).map(([column, parent]) => ({
    columns: [column],
    schema: "shop",
    table: parent,
    referencedColumns: ["id"],
  }));
  return { schema: "shop", name, columns, primaryKey: ["id"], references };
}
const live = [
  table("accounts", ["id", "name"]),
  table("users", ["id", "account_id", "email"], { account_id: "accounts" }),
  table("orders", ["id", "account_id", "customer_id"], { account_id: "accounts" }),
  table("order_lines", ["id", "order_id"], { order_id: "orders" }),
  table("countries", ["id", "name"]),
];

test("T2: init classifies what names and keys show, and leaves the rest to a person", () => {
  const guesses = guessBelonging(live);
  expect(guesses.map(({ table: { name }, guess }) => [name, guess.kind])).toEqual([
    ["accounts", "root"],
    ["users", "column"],
    ["orders", "column"],
    ["order_lines", "unclear"],
    ["countries", "unclear"],
  ]);
  expect(guesses[1]?.guess).toEqual({ kind: "column", column: "account_id" });
  const text = writeManifest("shop", guesses);
  expect(text).toContain("          # DECIDE order_lines: its rows belong to a tenant through shop.orders");
  expect(text).toContain("          # DECIDE countries: {reference: true} if all tenants share its rows");
  expect(told(read(text).findings).map((line) => line.split(" | ")[0])).toEqual([
    "shop.yaml:13:1 `fence.grace_ms` is missing",
  ]);
  const decided = read(text.replace("# grace_ms", "grace_ms"));
  expect(decided.findings).toEqual([]);
  const left = decided.manifest === null ? [] : checkTables(decided.manifest, live, decided.locate);
  expect(left.map((finding) => finding.message)).toEqual([
    "table `shop.order_lines` is not classified",
    "table `shop.countries` is not classified",
  ]);
});

test("T2: a schema in which nothing shows whose the rows are is all a person's, and still YAML", () => {
  const text = writeManifest("123: odd", guessBelonging([table("a b", ["id", "x"])]));
  expect(text).toContain('name: "123: odd"');
  expect(text).toContain("# DECIDE a b:");
  expect(told(read(text).findings)[0]).toContain("`name`: a name starts with a letter");
});

test("T2: check names each unclassified table with the line to add, and what is not in the schema", () => {
  const text = `name: shop
stores:
  main:
    kind: mysql
    schemas:
      shop:
        tables:
          orders: {column: acount_id}
          contries: {reference: true}
fence: {steps: [{adapter: router}], grace_ms: 100}
routing: [{adapter: router}]
`;
  const { manifest, locate } = read(text);
  if (manifest === null) throw new Error("the file alone is right");
  expect(told(checkTables(manifest, live, locate))).toEqual([
    "shop.yaml:7:9 table `shop.accounts` is not classified | Add the line: accounts: {root: true}",
    "shop.yaml:7:9 table `shop.users` is not classified | Add the line: users: {column: account_id}",
    "shop.yaml:7:9 table `shop.order_lines` is not classified | Decide and add its line, `order_lines: …`: its rows belong to a tenant through shop.orders, which this version cannot follow: add a tenant column to it, or {ignore: REASON}.",
    "shop.yaml:7:9 table `shop.countries` is not classified | Decide and add its line, `countries: …`: {reference: true} if all tenants share its rows, {column: NAME} or {ignore: REASON}.",
    "shop.yaml:8:11 table `shop.orders` has no column `acount_id` | Did you mean `account_id`?",
    "shop.yaml:9:11 there is no table `shop.contries` | Did you mean `countries`?",
  ]);
});

test("the JSON schema for editors names every field", () => {
  const schema = JSON.stringify(manifestJsonSchema());
  for (const field of ["grace_ms", "tenant_alone", "max_pause_ms", "reference", "throttle"]) {
    expect(schema).toContain(`"${field}"`);
  }
});

test("M6: a consent that nobody knows is refused, as it would be taken for one that holds", () => {
  const { manifest, findings } = read(whole.replace("[full-scan]", "[relaxed]"));
  expect(manifest).toBeNull();
  expect(told(findings)[0]).toMatch(/relaxed-durability/);
});
