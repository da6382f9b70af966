import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HttpAdapter } from "../../cutover/adapters/http-adapter.ts";
import { ReferenceServer } from "../../cutover/adapters/reference-server.ts";
import {
  type Decision,
  decide,
  newTenant,
  type ReferenceCall,
  readingOf,
  type TenantRecord,
} from "../../cutover/adapters/reference-state.ts";
import { testAdapter } from "../../cutover/adapters/test-kit.ts";
import { Router } from "../../demo/router.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";

const never = new AbortController().signal;
const closers: (() => Promise<void> | void)[] = [];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-adapter-"));
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  rmSync(folder, { recursive: true });
});

function adapterFor(url: string, changes: { timeoutMs?: number; clock?: Clock } = {}): HttpAdapter {
  const fixed = { name: "router", url, token: "secret", expiry: "self", allowedHosts: ["127.0.0.1"] } as const;
  return new HttpAdapter({ ...fixed, timeoutMs: 5_000, clock: systemClock, ...changes });
}

async function reference(clock: Clock = systemClock): Promise<ReferenceServer> {
  const journalFile = join(folder, "journal");
  const server = await ReferenceServer.open({ token: "secret", tenants: { acme: "eu1" }, journalFile, clock });
  closers.push(() => server.close());
  return server;
}

const call = (generation: number) => ({
  move: "shop-acme",
  tenant: "acme",
  to: "eu2",
  generation,
  expiresInMs: 60_000,
});
const kitFor = (adapter: HttpAdapter, to: string) => {
  return testAdapter({ adapter, tenant: "acme", to, move: "adapter-test", signal: never });
};

/** The far side as a function, so that a test can have it break one promise. */
type Far = (request: IncomingMessage, response: ServerResponse, body: string) => void | Promise<void>;
async function far(handle: Far): Promise<string> {
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = "";
    for await (const part of request) body += String(part);
    await handle(request, response, body);
  };
  const server: Server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** A right state machine whose every decision a test may replace. */
type Bend = (tenant: TenantRecord, call: ReferenceCall, right: Decision) => Decision;
async function bent(bend: Bend): Promise<string> {
  let tenant = newTenant("eu1");
  return far((request, response, body) => {
    let status = 200;
    if (request.method === "PUT") {
      const asked = JSON.parse(body) as ReferenceCall;
      const decision = bend(tenant, asked, decide(tenant, asked, Date.now()));
      if ("refused" in decision) status = 409;
      else tenant = decision.next;
    }
    response
      .writeHead(status, { "content-type": "application/json" })
      .end(JSON.stringify(readingOf(tenant, Date.now())));
  });
}

describe("C4: the test kit", () => {
  test("passes the reference server, twice in a row, and leaves the tenant open", async () => {
    const server = await reference();
    const adapter = adapterFor(server.url);
    for (const _ of [1, 2]) {
      const report = await kitFor(adapter, "eu1");
      expect(report.checks.filter((check) => check.verdict === "failed")).toEqual([]);
      expect(report.passed).toBe(true);
    }
    expect(await adapter.read(call(1), never)).toMatchObject({ kind: "read", reading: { state: "open" } });
    const where = await (await fetch(new URL("where?tenant=acme", server.url))).json();
    expect(where).toEqual({ home: "eu1", mayWrite: true });
  });

  test("passes the demo's router", async () => {
    const homes = new Map([["acme", "source" as const]]);
    const journalFile = join(folder, "router");
    const router = await Router.open({ token: "secret", journalFile, homes, port: 0, nowMs: Date.now });
    closers.push(() => router.close());
    const report = await kitFor(adapterFor(`${router.url}/tenants`), "source");
    expect(report.checks.filter((check) => check.verdict === "failed")).toEqual([]);
  });

  const free: TenantRecord = { home: "eu1", generation: 0, state: "open", expiresAtMs: null, routedGeneration: 0 };
  const broken: readonly { readonly what: string; readonly bend: Bend; readonly fails: string }[] = [
    {
      what: "takes any generation",
      bend: (_, asked) => decide({ ...free, state: "fenced", generation: asked.generation }, asked, 0),
      fails: "lower-fence-refused",
    },
    {
      what: "lets a late fence undo an unfence",
      bend: (tenant, asked, right) =>
        asked.action === "fence" && asked.generation === tenant.generation ? decide(free, asked, 0) : right,
      fails: "late-fence-refused",
    },
    {
      what: "forgets an unfence whose fence never came",
      bend: (tenant, asked, right) =>
        asked.action === "unfence" && tenant.generation < asked.generation ? { next: tenant } : right,
      fails: "early-unfence",
    },
    {
      what: "refuses a repeat",
      bend: (tenant, asked, right) =>
        tenant.generation === asked.generation && tenant.state === "fenced" && asked.action === "fence"
          ? { refused: "twice" }
          : right,
      fails: "fence-repeated",
    },
    {
      what: "answers 200 to a route without going there",
      bend: (tenant, asked, right) => (asked.action === "route" ? { next: tenant } : right),
      fails: "route",
    },
    {
      what: "lets anybody lift a retire",
      bend: (tenant, asked, right) =>
        tenant.state === "retired" ? decide({ ...tenant, state: "pinned" }, asked, 0) : right,
      fails: "unfence-after-retire-refused",
    },
  ];
  test.each(broken)("fails one that $what, with the remedy", async ({ bend, fails }) => {
    const report = await kitFor(adapterFor(await bent(bend)), "eu1");
    expect(report.passed).toBe(false);
    const failure = report.checks.find((check) => check.id === fails);
    expect(failure).toMatchObject({ verdict: "failed", rule: "C4" });
    expect(failure?.remedy).toMatch(/\.$/);
  });

  test("an adapter that only reads right, and never answers a PUT, fails", async () => {
    const server = await reference();
    const url = await far(async (request, response, body) => {
      const forward = { method: request.method ?? "GET", headers: { authorization: "Bearer secret" } };
      const answer = await fetch(new URL(request.url ?? "/", server.url), {
        ...forward,
        ...(request.method === "PUT" ? { body } : {}),
      });
      response.writeHead(request.method === "PUT" ? 500 : 200).end(await answer.text());
    });
    const report = await kitFor(adapterFor(url), "eu1");
    const failure = report.checks.find((check) => check.id === "fence");
    expect(failure).toMatchObject({
      verdict: "failed",
      finding: "expected 200, got fenced by generation 1 (read-back)",
    });
  });

  test("one that cannot be read back is told so at once", async () => {
    const url = await far((_, response) => {
      response.writeHead(404).end();
    });
    const report = await kitFor(adapterFor(url), "eu1");
    expect(report.checks).toHaveLength(1);
    expect(report.checks[0]).toMatchObject({ id: "read-back", verdict: "failed" });
  });
});

describe("C4: an HTTP adapter's outcomes", () => {
  test("the request is the protocol's, word for word", async () => {
    const seen: unknown[] = [];
    const url = await far((request, response, body) => {
      seen.push({ method: request.method, url: request.url, token: request.headers.authorization, body });
      response.writeHead(200).end('{"generation":3,"state":"fenced","expiresAt":"2030-01-01T00:00:00.000Z"}');
    });
    const adapter = adapterFor(`${url}tenants?v=1`);
    const reading = { generation: 3, state: "fenced", expiresAt: "2030-01-01T00:00:00.000Z" };
    expect(await adapter.fence(call(3), never)).toEqual({ kind: "done", reading, by: "answer" });
    expect(await adapter.read({ move: "m", tenant: "a&b" }, never)).toEqual({ kind: "read", reading });
    const body = '{"move":"shop-acme","tenant":"acme","action":"fence","to":"eu2","generation":3,"expiresInMs":60000}';
    expect(seen).toEqual([
      { method: "PUT", url: "/tenants?v=1", token: "Bearer secret", body },
      { method: "GET", url: "/tenants?v=1&tenant=a%26b", token: "Bearer secret", body: "" },
    ]);
  });

  test("an answer that was lost after the change counts by what is read back", async () => {
    const server = await reference();
    const url = await far(async (request, response, body) => {
      const init = { method: request.method ?? "GET", headers: { authorization: "Bearer secret" } };
      const put = request.method === "PUT";
      const answer = await fetch(new URL(request.url ?? "/", server.url), { ...init, ...(put ? { body } : {}) });
      if (put) response.destroy();
      else response.writeHead(answer.status).end(await answer.text());
    });
    const outcome = await adapterFor(url).fence(call(1), never);
    expect(outcome).toMatchObject({ kind: "done", by: "read-back", reading: { state: "fenced", generation: 1 } });
  });

  test("a connection that ends before the change is sent again once, and then unknown", async () => {
    let puts = 0;
    const url = await far((request, response) => {
      if (request.method === "PUT") {
        puts += 1;
        response.destroy();
      } else response.writeHead(200).end('{"generation":0,"state":"open","expiresAt":null}');
    });
    const outcome = await adapterFor(url).fence(call(1), never);
    expect(outcome).toMatchObject({ kind: "unknown", reading: { state: "open", generation: 0 } });
    expect(puts).toBe(2);
  });

  test("500, a 200 that says something else, one without a state, one that is too large: unknown, with what was read", async () => {
    const answers: readonly (readonly [number, string])[] = [
      [500, "oops"],
      [200, '{"generation":3,"state":"open","expiresAt":null}'],
      [200, '{"generation":2,"state":"fenced","expiresAt":null}'],
      [200, "{}"],
      [200, " ".repeat(70_000)],
      [302, ""],
    ];
    for (const [status, text] of answers) {
      const url = await far((request, response) => {
        if (request.method === "PUT") response.writeHead(status, { location: "http://127.0.0.1:9/" }).end(text);
        else response.writeHead(200).end('{"generation":2,"state":"open","expiresAt":null}');
      });
      const outcome = await adapterFor(url).fence(call(3), never);
      expect(outcome).toMatchObject({ kind: "unknown", reading: { generation: 2, state: "open" } });
    }
  });

  test("409 is refused with what holds there", async () => {
    const server = await reference();
    const adapter = adapterFor(server.url);
    await adapter.fence(call(5), never);
    expect(await adapter.unfence(call(4), never)).toEqual({
      kind: "refused",
      reading: { generation: 5, state: "fenced", expiresAt: expect.any(String) },
      reason: "generation 5 was here",
    });
  });

  test("no answer in time is unknown, and so is one that was interrupted; nothing is thrown", async () => {
    const url = await far((request, response) => {
      if (request.method === "GET") response.writeHead(200).end('{"generation":0,"state":"open","expiresAt":null}');
    });
    const outcome = await adapterFor(url, { timeoutMs: 50 }).route(call(1), never);
    expect(outcome).toMatchObject({ kind: "unknown", reason: "no answer within 50 ms", reading: { generation: 0 } });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 20);
    const interrupted = await adapterFor(url).route(call(1), stop.signal);
    expect(interrupted).toMatchObject({ kind: "unknown", reading: null });
    const gone = await adapterFor("http://127.0.0.1:65533/").fence(call(1), never);
    expect(gone).toMatchObject({ kind: "unknown", reading: null, reason: "no answer: ECONNREFUSED" });
    expect(await adapterFor("http://127.0.0.1:65533/").read(call(1), never)).toMatchObject({ kind: "unknown" });
  });

  test("a fence that ran out reads as open, and proves neither a fence nor an unfence", async () => {
    let nowMs = Date.now();
    const server = await reference({ ...systemClock, wallMs: () => nowMs });
    const adapter = adapterFor(server.url);
    await adapter.fence(call(1), never);
    nowMs += 60_000;
    const read = await adapter.read(call(1), never);
    expect(read).toMatchObject({
      kind: "read",
      reading: { state: "open", generation: 1, expiresAt: expect.any(String) },
    });
    expect(await adapter.pin(call(1), never)).toMatchObject({ kind: "refused" });
    expect(await adapter.fence(call(1), never)).toMatchObject({ kind: "refused" });
    expect(await adapter.unfence(call(1), never)).toMatchObject({ kind: "done", reading: { expiresAt: null } });
  });

  test("K5: a host that is not allowed is never called", () => {
    expect(() => adapterFor("http://localhost:81/")).toThrow(/HOST_NOT_ALLOWED adapter=router host=localhost:81/);
  });
});

test("C4: the reference server knows its generations again after a crash, and drops a line cut off", async () => {
  const cutOff = '{"tenant":"acme","home":"eu9"';
  for (const generation of [7, 8]) {
    const server = await reference();
    expect(await adapterFor(server.url).fence(call(generation), never)).toMatchObject({ kind: "done" });
    await server.close();
    closers.length = 0;
    appendFileSync(join(folder, "journal"), cutOff);
  }
  const last = await reference();
  expect(await adapterFor(last.url).unfence(call(7), never)).toMatchObject({ kind: "refused" });
  expect(await adapterFor(last.url).unfence(call(8), never)).toMatchObject({ kind: "done" });
});
