import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HttpAdapter } from "../../cutover/adapters/http-adapter.ts";
import { testAdapter } from "../../cutover/adapters/test-kit.ts";
import { Router } from "../../demo/router.ts";
import {
  ACTIONS,
  type Action,
  type Call,
  decide,
  isFenced,
  newTenant,
  type TenantState,
} from "../../demo/router-state.ts";
import { systemClock } from "../../pipeline/clock.ts";

const G = 5;
const call = (action: Action, generation: number, change: Partial<Call> = {}): Call => ({
  action,
  generation,
  to: action === "route" ? "target" : null,
  expiresInMs: null,
  ...change,
});
/** What a tenant looks like after these actions of generation G. */
function after(...actions: Action[]): TenantState {
  let tenant = newTenant("source");
  for (const action of actions) {
    const outcome = decide(tenant, call(action, G), 0);
    if (!outcome.accepted) throw new Error(outcome.reason);
    tenant = outcome.next;
  }
  return tenant;
}
const states = {
  new: newTenant("source"),
  fenced: after("fence"),
  pinned: after("fence", "pin"),
  unfenced: after("fence", "unfence"),
  retired: after("fence", "pin", "retire"),
  routed: after("fence", "pin", "route"),
  "routed, retired": after("fence", "pin", "route", "retire"),
} as const;
type StateName = keyof typeof states;
const no = "refused" as const;

/** State and whether the application may write, after one more action of the same, a lower and a higher generation. */
type Cell = typeof no | `${TenantState["state"]} ${"closed" | "free"}`;
const same: Record<StateName, Record<Action, Cell>> = {
  new: { fence: "fenced closed", pin: no, unfence: "open free", retire: "retired closed", route: "routed free" },
  fenced: {
    fence: "fenced closed",
    pin: "pinned closed",
    unfence: "open free",
    retire: "retired closed",
    route: "routed free",
  },
  pinned: {
    fence: "pinned closed",
    pin: "pinned closed",
    unfence: "open free",
    retire: "retired closed",
    route: "routed free",
  },
  unfenced: { fence: no, pin: no, unfence: "open free", retire: no, route: no },
  retired: { fence: no, pin: no, unfence: no, retire: "retired closed", route: "routed free" },
  routed: { fence: no, pin: no, unfence: no, retire: "retired free", route: "routed free" },
  "routed, retired": { fence: no, pin: no, unfence: no, retire: "retired free", route: "retired free" },
};
const higher: Record<StateName, Record<Action, Cell>> = {
  new: same.new,
  fenced: { ...same.new },
  pinned: { ...same.new },
  unfenced: { ...same.new },
  retired: { fence: no, pin: no, unfence: no, retire: "retired closed", route: "routed free" },
  routed: { ...same.new },
  "routed, retired": { ...same.new },
};

function cell(tenant: TenantState, made: Call): Cell {
  const outcome = decide(tenant, made, 0);
  if (!outcome.accepted) return no;
  return `${outcome.next.state} ${isFenced(outcome.next, 0) ? "closed" : "free"}`;
}

describe("C4: the router's table of states, actions and generations", () => {
  for (const name of Object.keys(states) as StateName[]) {
    for (const action of ACTIONS) {
      test(`${action} of the same generation after: ${name}`, () => {
        expect(cell(states[name], call(action, G))).toBe(same[name][action]);
      });
      test(`${action} of a higher generation after: ${name}`, () => {
        expect(cell(states[name], call(action, G + 1))).toBe(higher[name][action]);
      });
      test(`${action} of a lower generation after: ${name}`, () => {
        const expected = name === "new" ? same.new[action] : no;
        expect(cell(states[name], call(action, G - 1))).toBe(expected);
      });
    }
  }

  test("a repeat changes nothing", () => {
    for (const name of Object.keys(states) as StateName[]) {
      for (const action of ACTIONS) {
        const once = decide(states[name], call(action, G), 0);
        if (!once.accepted) continue;
        expect(decide(once.next, call(action, G), 0)).toEqual({ accepted: true, next: once.next });
      }
    }
  });

  test("a fence that lapsed lets the application write and is neither renewed nor pinned", () => {
    const fenced = decide(newTenant("source"), call("fence", G, { expiresInMs: 100 }), 0);
    if (!fenced.accepted) throw new Error(fenced.reason);
    expect([isFenced(fenced.next, 99), isFenced(fenced.next, 100)]).toEqual([true, false]);
    expect(decide(fenced.next, call("pin", G), 99).accepted).toBe(true);
    expect(decide(fenced.next, call("pin", G), 100).accepted).toBe(false);
    expect(decide(fenced.next, call("fence", G, { expiresInMs: 100 }), 100).accepted).toBe(false);
    expect(decide(fenced.next, call("unfence", G), 100).accepted).toBe(true);
  });

  test("a repeated fence renews its expiry; a pin takes it away", () => {
    let tenant = newTenant("source");
    for (const [made, nowMs] of [
      [call("fence", G, { expiresInMs: 100 }), 0],
      [call("fence", G, { expiresInMs: 100 }), 90],
    ] as const) {
      const outcome = decide(tenant, made, nowMs);
      if (outcome.accepted) tenant = outcome.next;
    }
    expect(tenant.expiresAt).toBe(190);
    const pinned = decide(tenant, call("pin", G), 150);
    expect(pinned.accepted && isFenced(pinned.next, 1e9)).toBe(true);
  });

  test("one generation routes to one place only", () => {
    const routed = states.routed;
    expect(decide(routed, call("route", G, { to: "source" }), 0).accepted).toBe(false);
    expect(routed.home).toBe("target");
  });
});

describe("C4: the router over HTTP", () => {
  let folder: string;
  let router: Router;
  const open = () =>
    Router.open({
      token: "secret",
      journalFile: join(folder, "journal"),
      homes: new Map([["acme", "source"]]),
      port: 0,
      nowMs: Date.now,
    });
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "demo-router-"));
    router = await open();
  });
  afterEach(async () => {
    await router.close();
    rmSync(folder, { recursive: true });
  });

  const put = async (body: Record<string, unknown>, token = "secret") => {
    const response = await fetch(`${router.url}/tenants`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ move: "m", tenant: "acme", ...body }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const get = async (path: string, token = "secret") => {
    const response = await fetch(`${router.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  test("a whole switch, each call answered with generation, state and expiry, and read back", async () => {
    const fenced = await put({ action: "fence", generation: 1, expiresInMs: 60_000 });
    expect(fenced).toMatchObject({ status: 200, body: { generation: 1, state: "fenced" } });
    expect(Date.parse(String(fenced.body["expiresAt"]))).toBeGreaterThan(Date.now() + 50_000);
    expect((await get("/where?tenant=acme")).body).toMatchObject({ side: "source", fenced: true });
    expect((await put({ action: "pin", generation: 1 })).body).toMatchObject({ state: "pinned", expiresAt: null });
    expect((await put({ action: "route", generation: 1, to: "target" })).body).toMatchObject({ state: "routed" });
    expect((await put({ action: "retire", generation: 1 })).body).toMatchObject({ state: "retired", generation: 1 });
    expect((await get("/where?tenant=acme")).body).toMatchObject({ side: "target", fenced: false });
    expect((await get("/tenants?tenant=acme")).body).toMatchObject({ generation: 1, state: "retired", home: "target" });
  });

  test("409 for a lower and for a finished generation, with what stands", async () => {
    await put({ action: "unfence", generation: 3 });
    expect(await put({ action: "fence", generation: 3 })).toMatchObject({ status: 409, body: { generation: 3 } });
    expect((await put({ action: "fence", generation: 2 })).status).toBe(409);
    expect((await put({ action: "unfence", generation: 3 })).status).toBe(200);
    expect((await put({ action: "fence", generation: 4 })).status).toBe(200);
  });

  test("the product's own test kit for adapters passes", async () => {
    const report = await testAdapter({
      adapter: new HttpAdapter({
        name: "router",
        url: `${router.url}/tenants`,
        token: "secret",
        timeoutMs: 5000,
        expiry: "self",
        allowedHosts: ["127.0.0.1"],
        clock: systemClock,
      }),
      tenant: "acme",
      to: "source",
      move: "test",
      signal: AbortSignal.timeout(10_000),
    });
    expect(report.checks.filter((check) => check.verdict === "failed")).toEqual([]);
    expect(report.passed).toBe(true);
  });

  test("what is not understood is refused and changes nothing", async () => {
    expect((await put({ action: "fence", generation: 1 }, "wrong")).status).toBe(401);
    expect((await get("/tenants?tenant=acme", "wrong")).status).toBe(401);
    expect((await put({ action: "open", generation: 1 })).status).toBe(400);
    expect((await put({ action: "fence", generation: 0 })).status).toBe(400);
    expect((await put({ action: "fence", generation: 1, expiresInMs: -1 })).status).toBe(400);
    expect((await put({ action: "route", generation: 1 })).status).toBe(400);
    expect((await put({ tenant: "nobody", action: "fence", generation: 1 })).status).toBe(404);
    expect((await get("/tenants?tenant=acme")).body).toMatchObject({ generation: 0, state: "open", home: "source" });
  });

  test("a lapsed fence is not called a fence", async () => {
    await put({ action: "fence", generation: 1, expiresInMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await get("/tenants?tenant=acme")).body).toMatchObject({ generation: 1, state: "open" });
    expect((await put({ action: "pin", generation: 1 })).status).toBe(409);
  });

  test("a restart keeps what was answered, and a line cut off by a crash is dropped", async () => {
    await put({ action: "fence", generation: 7 });
    await put({ action: "pin", generation: 7 });
    await router.close();
    appendFileSync(join(folder, "journal"), '{"tenant":"acme","home":"tar');
    router = await open();
    expect((await get("/tenants?tenant=acme")).body).toMatchObject({ generation: 7, state: "pinned" });
    expect((await put({ action: "fence", generation: 6 })).status).toBe(409);
    await put({ action: "unfence", generation: 7 });
    await router.close();
    router = await open();
    expect((await put({ action: "fence", generation: 7 })).status).toBe(409);
    expect((await get("/where?tenant=acme")).body).toMatchObject({ side: "source", fenced: false });
  });
});
