import { linkSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { buildApi } from "../../console/api.ts";
import { socketAuthenticator, tokenAuthenticator } from "../../console/auth.ts";
import { openServer } from "../../console/open-server.ts";
import { readOrWriteTokens } from "../../console/token-file.ts";
import type { ServerConfig } from "../../cutover/server-settings.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { MemoryService } from "../setup/memory-service.ts";

const logger = pino({ level: "silent" });
const tokens = [
  { name: "reader", role: "read" as const, token: "r".repeat(20) },
  { name: "operator", role: "operate" as const, token: "o".repeat(20) },
  { name: "root", role: "admin" as const, token: "a".repeat(20) },
];
const bearer = (letter: string) => ({ authorization: `Bearer ${letter.repeat(20)}` });
const moveBody = { manifest: "name: shop", tenant: "acme", from: "eu1", to: "eu2" };

let service: MemoryService;
let app: FastifyInstance;
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dray-api-"));
  service = new MemoryService();
  app = await buildApi({ service, authenticator: tokenAuthenticator(tokens), logger, version: "1.2.3" });
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true });
});

test("K5: over TCP every call needs a token, whatever it asks for", async () => {
  for (const url of ["/v1/moves", "/openapi.json", "/metrics", "/v1/version", "/nowhere"]) {
    const answer = await app.inject({ url });
    expect([url, answer.statusCode]).toEqual([url, 401]);
    expect(answer.json().error).toMatchObject({ code: "UNAUTHORIZED", remedy: expect.stringContaining("DRAY_TOKEN") });
  }
  const wrong = ["Bearer wrong", `bearer ${"r".repeat(20)}`, `Bearer ${"r".repeat(19)}`, "Bearer ", "Basic cjpy"];
  for (const authorization of wrong) {
    expect((await app.inject({ url: "/v1/moves", headers: { authorization } })).statusCode).toBe(401);
  }
  expect((await app.inject({ url: "/v1/moves", headers: bearer("r") })).statusCode).toBe(200);
});

test("K5: a role may do what those below it may, and nothing more", async () => {
  const start = { method: "POST" as const, url: "/v1/moves", payload: moveBody };
  const refused = await app.inject({ ...start, headers: bearer("r") });
  expect(refused.statusCode).toBe(403);
  expect(refused.json().error).toMatchObject({ code: "ROLE_TOO_LOW", facts: { role: "read", needed: "operate" } });
  expect(service.asked).toEqual([]);
  expect((await app.inject({ ...start, headers: bearer("o") })).statusCode).toBe(200);
  const bodies = { url: "/v1/moves/shop-acme/log?bodies=yes" };
  expect((await app.inject({ ...bodies, headers: bearer("o") })).statusCode).toBe(403);
  const rows = await app.inject({ ...bodies, headers: bearer("a") });
  expect(rows.statusCode).toBe(200);
  expect(JSON.parse(rows.body)).toMatchObject({ seq: 1, body: { rows: [[1]] } });
  expect((await app.inject({ url: "/v1/moves/shop-acme/log", headers: bearer("r") })).json()).toMatchObject({
    body: null,
  });
});

test("K5: who asks is the token's name, with the name that the operator gives", async () => {
  const headers = { ...bearer("o"), "x-dray-operator": "ann@desk\u00e9" };
  await app.inject({ method: "POST", url: "/v1/moves", payload: moveBody, headers });
  await app.inject({ method: "POST", url: "/v1/moves/shop-acme/pause", headers: bearer("o") });
  expect(service.asked[0]?.at(-1)).toEqual({ by: "ann@desk (operator)", role: "operate" });
  expect(service.asked[1]?.at(-1)).toEqual({ by: "operator", role: "operate" });
  expect(socketAuthenticator.caller({ authorization: undefined, operator: "ann" })).toEqual({
    by: "ann",
    role: "admin",
  });
});

test("K5: no CORS, only JSON, and no body without a bound", async () => {
  const preflight = await app.inject({
    method: "OPTIONS",
    url: "/v1/moves",
    headers: { ...bearer("a"), origin: "https://evil.example", "access-control-request-method": "POST" },
  });
  expect(preflight.statusCode).toBe(404);
  expect(Object.keys(preflight.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  const url = "/v1/moves";
  const text = await app.inject({
    method: "POST",
    url,
    payload: JSON.stringify(moveBody),
    headers: { ...bearer("a"), "content-type": "text/plain" },
  });
  expect([text.statusCode, text.json().error.code]).toEqual([400, "REQUEST_INVALID"]);
  const form = await app.inject({
    method: "POST",
    url,
    payload: "a=b",
    headers: { ...bearer("a"), "content-type": "application/x-www-form-urlencoded" },
  });
  expect(form.statusCode).toBe(400);
  const large = await app.inject({
    method: "POST",
    url,
    payload: { ...moveBody, manifest: "x".repeat(5_000_000) },
    headers: bearer("a"),
  });
  expect([large.statusCode, large.json().error.code]).toEqual([400, "REQUEST_INVALID"]);
  const broken = await app.inject({
    method: "POST",
    url,
    payload: "{",
    headers: { ...bearer("a"), "content-type": "application/json" },
  });
  expect(broken.statusCode).toBe(400);
  expect(service.asked).toEqual([]);
});

test("K4: a wrong request is told all that is wrong, without the values", async () => {
  const payload = { manifest: "", tenant: "secret-tenant", from: 7, too: "eu2" };
  const answer = await app.inject({ method: "POST", url: "/v1/moves", payload, headers: bearer("o") });
  expect(answer.statusCode).toBe(400);
  const { error } = answer.json();
  expect(error).toMatchObject({ code: "REQUEST_INVALID", kind: "usage" });
  expect(error.facts.wrong.map((line: string) => line.split(":")[0])).toEqual([
    "body.manifest",
    "body.from",
    "body.to",
    "body",
  ]);
  expect(answer.body).not.toContain("secret-tenant");
});

test("K4: errors carry code, facts, remedy and what can be done next; the status says what kind", async () => {
  const ask = () => app.inject({ method: "POST", url: "/v1/moves/shop-acme/pause", headers: bearer("o") });
  const unknown = (await ask()).json().error;
  expect(unknown).toMatchObject({
    code: "MOVE_UNKNOWN",
    facts: { move: "shop-acme" },
    next: ["dray list"],
    kind: "usage",
  });
  expect(unknown.remedy).toContain("dray list");
  const cases = [
    [new DrayError("MOVE_HELD", { by: "bob@desk" }), 423, "held"],
    [new DrayError("ILLEGAL_STEP", { phase: "closed", next: ["dray list"] }), 409, "failed"],
    [new DrayError("PREFLIGHT_REFUSED", { findings: [] }), 422, "refused"],
    [new DrayError("MYSQL_UNREACHABLE", { server: "eu1" }), 503, "failed"],
    [new DrayError("FENCED", {}), 500, "failed"],
  ] as const;
  for (const [failure, status, kind] of cases) {
    service.failure = failure;
    const answer = await ask();
    expect([answer.statusCode, answer.json().error.kind]).toEqual([status, kind]);
  }
  service.failure = new DrayError("ILLEGAL_STEP", { phase: "closed", next: ["dray list"] });
  expect((await ask()).json().error).toMatchObject({ next: ["dray list"], facts: { phase: "closed" } });
});

test("K5: what nobody expected tells no details to the caller", async () => {
  service.failure = new Error("connect failed for root:hunter2@eu1");
  const answer = await app.inject({ method: "POST", url: "/v1/moves/shop-acme/pause", headers: bearer("o") });
  expect(answer.statusCode).toBe(500);
  expect(answer.json().error.code).toBe("INTERNAL");
  expect(answer.body).not.toContain("hunter2");
});

test("K4: resolve asks for the move's name again, at the API too", async () => {
  await service.start({ ...moveBody, manifestFile: "m", name: null }, { by: "ann", role: "admin" });
  const ask = (confirm: string) =>
    app.inject({
      method: "POST",
      url: "/v1/moves/shop-acme/resolve",
      payload: { owner: "to", confirm },
      headers: bearer("o"),
    });
  expect((await ask("shop")).statusCode).toBe(400);
  expect((await ask("shop-acme")).statusCode).toBe(200);
  expect(service.asked.filter(([name]) => name === "resolve")).toHaveLength(1);
});

test("K4: a cutover tells its steps and, last, its result", async () => {
  await service.start({ ...moveBody, manifestFile: "m", name: null }, { by: "ann", role: "admin" });
  const answer = await app.inject({
    method: "POST",
    url: "/v1/moves/shop-acme/cutover",
    payload: {},
    headers: bearer("o"),
  });
  expect(answer.headers["content-type"]).toBe("application/x-ndjson");
  const lines = answer.body
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map((line) => line.type)).toEqual(["step", "step", "result"]);
  expect(lines[2].result).toMatchObject({ outcome: "committed", pauseMs: 12.5 });
  expect(service.asked.at(-1)?.[2]).toEqual({
    dryRun: false,
    maxLagSeconds: null,
    maxPauseMs: null,
    acceptUnverified: false,
  });
  const unknown = await app.inject({
    method: "POST",
    url: "/v1/moves/none/cutover",
    payload: {},
    headers: bearer("o"),
  });
  expect(unknown.statusCode).toBe(404);
});

test("K4: OpenAPI describes every call, with what it takes and what it answers", async () => {
  const document = (await app.inject({ url: "/openapi.json", headers: bearer("r") })).json();
  expect(document.openapi).toBe("3.0.3");
  const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method} ${path}`),
  );
  expect(calls.toSorted()).toEqual(
    [
      ...["get /v1/version", "post /v1/preflight", "get /v1/moves", "post /v1/moves", "get /v1/moves/{move}"],
      ...["events", "evidence", "journal", "log", "verification"].map((name) => `get /v1/moves/{move}/${name}`),
      ...[
        "cutover",
        "rollback",
        "verify",
        "pause",
        "resume",
        "retry",
        "abort",
        "skip",
        "recopy",
        "resolve",
        "close",
        "finish",
      ].map((name) => `post /v1/moves/{move}/${name}`),
      ...["post /v1/manifests/init", "post /v1/manifests/check", "post /v1/adapters/test"],
    ].toSorted(),
  );
  const start = document.paths["/v1/moves"].post;
  const body = start.requestBody.content["application/json"].schema;
  expect(body.required.toSorted()).toEqual(["from", "manifest", "tenant", "to"]);
  const answer = start.responses["200"].content["application/json"].schema;
  expect(Object.keys(answer.properties)).toEqual(["done", "status"]);
  expect(start.responses.default.content["application/json"].schema.properties.error.properties).toHaveProperty(
    "remedy",
  );
  const events = document.paths["/v1/moves/{move}/events"].get.responses["200"].content;
  expect(Object.keys(events)).toEqual(["application/x-ndjson"]);
});

test("metrics are read from the service when asked, without tenants' keys", async () => {
  await service.start({ ...moveBody, name: "m1", manifestFile: "m" }, { by: "ann", role: "admin" });
  const answer = await app.inject({ url: "/metrics", headers: bearer("r") });
  expect(answer.headers["content-type"]).toContain("text/plain");
  expect(answer.body).toContain('dray_move_phase{move="m1",phase="copying"} 1');
  expect(answer.body).toContain('dray_lane_lag_seconds{move="m1",lane="m1.main.f1"} 0.25');
  expect(answer.body).toContain('dray_lane_entries_behind{move="m1",lane="m1.main.f1"} 2');
  expect(answer.body).not.toContain("acme");
});

function config(listen: ServerConfig["listen"]): ServerConfig {
  const empty = { tokens: [], clusters: {}, adapters: {}, probes: {}, allowedHosts: [], alarm: null };
  return {
    ...empty,
    dataDir: join(folder, "data"),
    listen,
    log: { kind: "embedded" },
    verifySharePercent: 10,
    heartbeatMs: 250,
    keepAppliedMs: 60_000,
    leaseMs: 30_000,
  };
}
let opened = 0;
const options = (listen: ServerConfig["listen"]) => ({
  config: config(listen),
  logger,
  version: "1.2.3",
  open: async () => {
    opened += 1;
    const close = async () => {
      opened -= 1;
    };
    return { service, close };
  },
});

test("K5: the socket and its folder are the owner's alone, a stale socket is replaced, a second server refused", async () => {
  const path = join(folder, "data/dray.sock");
  const first = await openServer(options({ kind: "unix", path }));
  expect(first).toMatchObject({ address: path, tokenFile: null });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, "data")).mode & 0o777).toBe(0o700);
  await expect(openServer(options({ kind: "unix", path }))).rejects.toMatchObject({ code: "LOG_LOCKED" });
  const elsewhere = {
    ...options({ kind: "unix", path }),
    config: { ...config({ kind: "unix", path }), dataDir: join(folder, "two") },
  };
  await expect(openServer(elsewhere)).rejects.toMatchObject({ code: "ADDRESS_IN_USE", facts: { socket: path } });
  expect(opened).toBe(1);
  await first.close();
  expect(opened).toBe(0);
  // A process that was killed leaves its socket behind.
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(path, resolve));
  linkSync(path, `${path}.kept`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${path}.kept`, path);
  const again = await openServer(options({ kind: "unix", path }));
  await again.close();
});

test("K5: on TCP the first start writes one token a role, for the owner alone, and later starts keep them", async () => {
  const listen = { kind: "tcp" as const, host: "127.0.0.1", port: 0 };
  const first = await openServer(options(listen));
  const file = join(folder, "data/tokens.json");
  expect(first.tokenFile).toBe(file);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const { tokens: made } = readOrWriteTokens(join(folder, "data"));
  expect(made.map((token) => token.role)).toEqual(["read", "operate", "admin"]);
  expect(new Set(made.map((token) => token.token)).size).toBe(3);
  const refused = await fetch(`${first.address}/v1/moves`);
  expect(refused.status).toBe(401);
  const headers = { authorization: `Bearer ${made[0]?.token}` };
  expect((await fetch(`${first.address}/v1/moves`, { headers })).status).toBe(200);
  await first.close();
  expect(readOrWriteTokens(join(folder, "data")).tokens).toEqual(made);
});
