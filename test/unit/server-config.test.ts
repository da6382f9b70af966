import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readServerConfig, type ServerConfigResult } from "../../console/server-config.ts";
import { serverConfigJsonSchema } from "../../console/server-config-file.ts";
import { hostAllowed } from "../../cutover/adapters/allowed-hosts.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const env = { EU1: "pw-one", EU2: "pw-two", ROUTER: "router-token", KAFKA: "kafka-pw" };
function read(text: string, dataDir: string | null = null): ServerConfigResult {
  return readServerConfig({ text, file: join(folder, "dray.yaml"), env, dataDir });
}
/** Places without the folder, so that they read `dray.yaml:3:5`. */
function told(result: ServerConfigResult): string[] {
  return result.findings.map(
    (finding) =>
      `${finding.place.replace(`${folder}/`, "")} ${finding.severity} ${finding.message} | ${finding.remedy}`,
  );
}

const smallest = `clusters:
  eu1: {kind: mysql, host: db1, user: dray, password: "\${env:EU1}"}
`;

test("K5: the smallest configuration has safe defaults: a socket in the data folder, the embedded log", () => {
  const { config, findings } = read(smallest);
  expect(findings).toEqual([]);
  expect(config).toEqual({
    dataDir: resolve("dray-data"),
    listen: { kind: "unix", path: resolve("dray-data/dray.sock") },
    tokens: [],
    clusters: {
      eu1: {
        kind: "mysql",
        host: "db1",
        port: 3306,
        user: "dray",
        password: "pw-one",
        tls: null,
        draySchema: "dray",
        candidates: [],
      },
    },
    log: { kind: "embedded" },
    adapters: {},
    probes: {},
    allowedHosts: [],
    alarm: null,
    keepAppliedMs: 60_000,
    verifySharePercent: 10,
    heartbeatMs: 250,
    leaseMs: 30_000,
  });
  expect(read(`${smallest}data_dir: here`).config?.dataDir).toBe(join(folder, "here"));
  expect(read(smallest, "/var/dray").config?.listen).toEqual({ kind: "unix", path: "/var/dray/dray.sock" });
});

test("everything that can be said is read", () => {
  writeFileSync(join(folder, "ca.pem"), "PEM");
  const { config, findings } = read(`
data_dir: /var/lib/dray
listen: {tcp: {port: 7070}}
tokens:
  ann: {role: operate, token: "\${env:EU1}"}
clusters:
  eu1:
    kind: mysql
    host: db1
    port: 3307
    user: dray
    password: \${env:EU1}
    tls: {ca: ca.pem}
    dray_schema: dray_eu1
    candidates: [{host: db2}, {host: db3, port: 3308}]
log:
  kind: kafka
  brokers: [k1:9092, "k2:9092"]
  topic_prefix: moves
  replication_factor: 2
  tls: {}
  sasl: {mechanism: scram-sha-512, username: dray, password: "\${env:KAFKA}"}
adapters:
  router: {kind: http, url: "https://router.internal/tenants", token: "\${env:ROUTER}", timeout_ms: 900, expiry: self}
  flags: {kind: sql, cluster: eu1, fence: ["UPDATE f SET x = 1 WHERE t = :tenant"], unfence: ["UPDATE f SET x = 0"]}
probes:
  threads: {kind: sql, query: "SELECT 1"}
  load: {kind: http, url: "http://router.internal:81/load"}
allowed_hosts: [router.internal]
alarm: {url: "https://router.internal/alarm"}
verify_share_percent: 25
heartbeat_ms: 100
lease_ms: 5000
`);
  expect(findings).toEqual([]);
  expect(config).toMatchObject({
    listen: { kind: "tcp", host: "127.0.0.1", port: 7070 },
    tokens: [{ name: "ann", role: "operate", token: "pw-one" }],
    clusters: {
      eu1: {
        port: 3307,
        draySchema: "dray_eu1",
        tls: { ca: "PEM", verify: true },
        candidates: [
          { host: "db2", port: 3306 },
          { host: "db3", port: 3308 },
        ],
      },
    },
    log: {
      kind: "kafka",
      brokers: ["k1:9092", "k2:9092"],
      topicPrefix: "moves",
      replicationFactor: 2,
      tls: { ca: null, verify: true },
      sasl: { mechanism: "scram-sha-512", username: "dray", password: "kafka-pw" },
    },
    adapters: {
      router: { kind: "http", timeoutMs: 900, expiry: "self", token: "router-token" },
      flags: { kind: "sql", cluster: "eu1", timeoutMs: 5000, enforcedByDatabase: false, route: [] },
    },
    probes: { threads: { kind: "sql", query: "SELECT 1" }, load: { kind: "http", token: null } },
    alarm: { url: "https://router.internal/alarm", token: null },
    verifySharePercent: 25,
    heartbeatMs: 100,
    leaseMs: 5000,
  });
});

test("K5: all findings come at once, each with line, column and remedy, and no secret is repeated", () => {
  const result = read(`clusters:
  eu1: {kind: mysql, hots: db1, user: dray, password: hunter2}
  eu2:
    kind: mysql
    host: db2
    port: 99999
    user: dray
    password: \${env:MISSING}
    tls: {ca: nowhere.pem}
log: {kind: kafka, broker: k1}
adapters:
  flags: {kind: ftp}
heartbeat_mss: 250
`);
  expect(result.config).toBeNull();
  expect(told(result)).toEqual([
    "dray.yaml:2:3 error `clusters.eu1.host` is missing | Add `host`: The server that takes the writes.",
    `dray.yaml:2:45 error \`clusters.eu1.password\`: a secret must not stand in the file | Write \${env:NAME} here and put the secret into the server's environment.`,
    "dray.yaml:2:22 error unknown field `clusters.eu1.hots` | Did you mean `host`? Else remove it.",
    "dray.yaml:6:5 error `clusters.eu2.port`: Too big: expected number to be <=65535 | Mend it.",
    "dray.yaml:8:5 error `clusters.eu2.password`: the environment variable MISSING is not set | Set MISSING where dray serve is started.",
    "dray.yaml:9:11 error `clusters.eu2.tls.ca`: nowhere.pem cannot be read (ENOENT) | Name a readable PEM file, relative to this file.",
    "dray.yaml:10:1 error `log.brokers` is missing | Add `brokers`: As host:port.",
    "dray.yaml:10:20 error unknown field `log.broker` | Did you mean `brokers`? Else remove it.",
    "dray.yaml:12:11 error `adapters.flags.kind` is not known | One of: http, sql.",
    "dray.yaml:13:1 error unknown field `heartbeat_mss` | Did you mean `heartbeat_ms`? Else remove it.",
  ]);
  expect(JSON.stringify(result.findings)).not.toContain("hunter2");
});

test("K5: a host that is not allowed, a cluster that is not there and what is in the clear are told", () => {
  const result = read(`${smallest}listen: {tcp: {host: 0.0.0.0, port: 7070}}
log: {kind: kafka, brokers: [k1], sasl: {mechanism: plain, username: u, password: "\${env:KAFKA}"}}
adapters:
  router: {kind: http, url: "http://evil.example/x", token: "\${env:ROUTER}"}
  flags: {kind: sql, cluster: eu9, fence: [SELECT 1]}
probes:
  load: {kind: http, url: "http://127.0.0.1:9090/"}
allowed_hosts: ["127.0.0.1:9091"]
`);
  expect(result.config).toBeNull();
  expect(told(result)).toEqual([
    "dray.yaml:3:16 warning tokens go over the network in the clear | Listen on 127.0.0.1 behind a proxy that speaks TLS.",
    "dray.yaml:4:35 warning the password goes over the network in the clear | Add `tls` to the log.",
    "dray.yaml:7:22 error `adapters.flags.cluster`: no cluster is called eu9 | Known: eu1.",
    "dray.yaml:6:24 error `adapters.router.url`: the host evil.example is not allowed | Add evil.example to `allowed_hosts` if dray may talk to it.",
    "dray.yaml:9:22 error `probes.load.url`: the host 127.0.0.1 is not allowed | Add 127.0.0.1 to `allowed_hosts` if dray may talk to it.",
  ]);
});

test("C6: failover candidates that are not servers of their own are told with their place", () => {
  const result = read(`clusters:
  eu1:
    kind: mysql
    host: db1
    user: dray
    password: "\${env:EU1}"
    candidates:
      - {host: db2}
      - {host: DB1, port: 3306}
      - {host: db2, port: 3307}
      - {host: db2, port: 3306}
`);
  expect(result.config).toBeNull();
  expect(told(result)).toEqual([
    "dray.yaml:9:9 error `clusters.eu1.candidates.1`: db1:3306 is the cluster's own server | Name each replica that may take over once.",
    "dray.yaml:11:9 error `clusters.eu1.candidates.3`: db2:3306 is named twice | Name each replica that may take over once.",
  ]);
  const wrong = read(`${smallest.replace('}"}', '}", candidates: [{hots: db2, port: 0}, db3]}')}`);
  expect(wrong.config).toBeNull();
  expect(told(wrong)).toEqual([
    "dray.yaml:2:82 error `clusters.eu1.candidates.0.host` is missing | Add `host`: Asked with the cluster's own user, password and tls.",
    "dray.yaml:2:94 error `clusters.eu1.candidates.0.port`: Too small: expected number to be >=1 | Mend it.",
    "dray.yaml:2:83 error unknown field `clusters.eu1.candidates.0.hots` | Did you mean `host`? Else remove it.",
    "dray.yaml:2:104 error `clusters.eu1.candidates.1`: Invalid input: expected object, received string | Mend it.",
  ]);
});

test("K5: hosts are compared whole, with the port where one is named", () => {
  const allowed = ["router.internal", "127.0.0.1:81"];
  expect(hostAllowed("https://router.internal/a", allowed)).toBe(true);
  expect(hostAllowed("http://router.internal:8080/a", allowed)).toBe(true);
  expect(hostAllowed("http://127.0.0.1:81/a", allowed)).toBe(true);
  expect(hostAllowed("http://127.0.0.1/a", allowed)).toBe(false);
  expect(hostAllowed("http://router.internal.evil.example/a", allowed)).toBe(false);
  expect(hostAllowed("http://router.internal@evil.example/a", allowed)).toBe(false);
  expect(hostAllowed("file://router.internal/etc/passwd", allowed)).toBe(false);
});

test("text that is no YAML, an empty file and a socket path that no system takes are refused with their place", () => {
  expect(told(read("clusters: [\n"))[0]).toContain("dray.yaml:2:1 error");
  expect(told(read(""))).toEqual([
    "dray.yaml:1:1 error `clusters` is missing | Add `clusters`: The clusters that moves name as from and to.",
  ]);
  expect(told(read(smallest, `/${"x".repeat(100)}`))[0]).toContain("the socket's path is longer than the 103 bytes");
});

test("the JSON schema for editors names every field", () => {
  const schema = JSON.stringify(serverConfigJsonSchema());
  for (const field of [
    "data_dir",
    "allowed_hosts",
    "topic_prefix",
    "dray_schema",
    "candidates",
    "enforced_by_database",
  ]) {
    expect(schema).toContain(`"${field}"`);
  }
});

test("L6: applied entries stay for as long as log_keep says, or for good", () => {
  expect(read(smallest).config?.keepAppliedMs).toBe(60_000);
  expect(read(`${smallest}log_keep: {applied_s: 5}\n`).config?.keepAppliedMs).toBe(5_000);
  expect(read(`${smallest}log_keep: all\n`).config?.keepAppliedMs).toBe(Number.POSITIVE_INFINITY);
  expect(read(`${smallest}log_keep: 5\n`).config).toBeNull();
});
