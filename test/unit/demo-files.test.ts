import { expect, test } from "vitest";
import { readServerConfig } from "../../console/server-config.ts";
import { manifestText, secrets, serverConfigText } from "../../demo/product-files.ts";
import { coveredTables, manifestFile } from "../../pipeline/manifest.ts";

const server = { host: "127.0.0.1", port: 3306, user: "dray_move", password: "s3cret", schema: "shop" };
const servers = { source: server, target: server };

test("the demo's manifest covers every table of its schema", () => {
  const manifest = manifestFile.parse(JSON.parse(manifestText("shop")));
  expect(coveredTables(manifest)).toEqual(["shop.users", "shop.orders", "shop.invoices"]);
  expect(manifest.fence.graceMs).toBe(100);
});

test.each([
  ["embedded", { kind: "embedded" }],
  ["kafka", { kind: "kafka", brokers: ["127.0.0.1:9092"], topicPrefix: "p" }],
] as const)("the demo's server configuration is accepted with the %s log, without a secret in it", (_, log) => {
  const routerUrl = "http://127.0.0.1:4000";
  const text = serverConfigText({ servers, routerUrl, log, productSchema: "dray" });
  const env = secrets({ servers, token: "t" });
  const { config, findings } = readServerConfig({ file: "/tmp/server.yaml", text, dataDir: null, env });
  expect(findings).toEqual([]);
  expect(config?.adapters["router"]).toMatchObject({ url: `${routerUrl}/tenants`, token: "t" });
  expect(config?.clusters["source"]).toMatchObject({ password: "s3cret", draySchema: "dray" });
  expect(text).not.toContain("s3cret");
});
