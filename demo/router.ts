import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { ACTIONS, type Call, decide, isFenced, newTenant, type TenantState } from "./router-state.ts";
import { type Side, SOURCE_TENANTS, TARGET_TENANTS } from "./schema.ts";

/**
 * The demo's routing service, a process of its own. `PUT /tenants` and `GET /tenants?tenant=` (bearer token) are the
 * fence and route adapter; `GET /where?tenant=` is what the application asks before each transaction.
 * An accepted call is in the journal, synced, before it is answered; a restart reads the journal back.
 */
export interface RouterOptions {
  readonly token: string;
  readonly journalFile: string;
  readonly homes: ReadonlyMap<string, Side>;
  /** 0 takes a free port. */
  readonly port: number;
  readonly nowMs: () => number;
}

type Answer = { readonly status: number; readonly body: Record<string, unknown> };

export class Router {
  readonly #token: string;
  readonly #nowMs: () => number;
  readonly #tenants = new Map<string, TenantState>();
  readonly #journal: number;
  readonly #server: Server;

  private constructor(options: RouterOptions) {
    this.#token = options.token;
    this.#nowMs = options.nowMs;
    for (const [tenant, home] of options.homes) this.#tenants.set(tenant, newTenant(home));
    if (existsSync(options.journalFile)) this.#replay(options.journalFile);
    this.#journal = openSync(options.journalFile, "a");
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.keepAliveTimeout = 60_000;
  }

  static async open(options: RouterOptions): Promise<Router> {
    const router = new Router(options);
    await new Promise<void>((resolve, reject) => {
      router.#server.once("error", reject);
      router.#server.listen(options.port, "127.0.0.1", resolve);
    });
    return router;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
    closeSync(this.#journal);
  }

  /** A line cut off by a crash was never answered, so it is nobody's truth. */
  #replay(file: string): void {
    const text = readFileSync(file, "utf8");
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) truncateSync(file, Buffer.byteLength(whole));
    for (const line of whole.split("\n").slice(0, -1)) {
      const { tenant, ...state } = JSON.parse(line) as TenantState & { tenant: string };
      this.#tenants.set(tenant, state);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answer(request).catch((error: unknown) => ({
      status: 400,
      body: { error: String(error) },
    }));
    const text = JSON.stringify(answer.body);
    response.writeHead(answer.status, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    });
    response.end(text);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? "/", "http://router");
    const name = url.searchParams.get("tenant");
    if (url.pathname === "/where" && request.method === "GET") return this.#where(name);
    if (url.pathname !== "/tenants") return { status: 404, body: { error: "no such path" } };
    if (request.headers.authorization !== `Bearer ${this.#token}`) {
      return { status: 401, body: { error: "wrong or missing bearer token" } };
    }
    if (request.method === "GET") return this.#read(name);
    if (request.method === "PUT") return this.#change(JSON.parse(await bodyText(request)));
    return { status: 405, body: { error: "GET or PUT" } };
  }

  #where(name: string | null): Answer {
    const tenant = this.#tenants.get(name ?? "");
    if (tenant === undefined) return unknownTenant(name);
    const nowMs = this.#nowMs();
    return { status: 200, body: { side: tenant.home, fenced: isFenced(tenant, nowMs), answeredAtMs: nowMs } };
  }

  #read(name: string | null): Answer {
    const tenant = this.#tenants.get(name ?? "");
    return tenant === undefined ? unknownTenant(name) : { status: 200, body: this.#describe(tenant) };
  }

  #change(body: unknown): Answer {
    const call = parseCall(body);
    if (typeof call === "string") return { status: 400, body: { error: call } };
    const tenant = this.#tenants.get(call.tenant);
    if (tenant === undefined) return unknownTenant(call.tenant);
    const outcome = decide(tenant, call, this.#nowMs());
    if (!outcome.accepted) return { status: 409, body: { ...this.#describe(tenant), error: outcome.reason } };
    if (JSON.stringify(outcome.next) !== JSON.stringify(tenant)) {
      writeSync(this.#journal, `${JSON.stringify({ tenant: call.tenant, ...outcome.next })}\n`);
      fsyncSync(this.#journal);
      this.#tenants.set(call.tenant, outcome.next);
    }
    return { status: 200, body: this.#describe(outcome.next) };
  }

  #describe(tenant: TenantState): Record<string, unknown> {
    const { generation, state, expiresAt, home } = tenant;
    // A lapsed fence holds nobody: saying "fenced" here would be a lie to whoever reads it back.
    const shown = state === "fenced" && !isFenced(tenant, this.#nowMs()) ? "open" : state;
    return { generation, state: shown, expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(), home };
  }
}

function unknownTenant(name: string | null): Answer {
  return { status: 404, body: { error: `no tenant ${name ?? "was named"}` } };
}

function parseCall(body: unknown): (Call & { readonly tenant: string }) | string {
  if (typeof body !== "object" || body === null) return "a JSON object is needed";
  const { tenant, action, generation, to, expiresInMs, move } = body as Record<string, unknown>;
  const known = ACTIONS.find((name) => name === action);
  if (typeof tenant !== "string" || typeof move !== "string") return "move and tenant are needed";
  if (known === undefined) return `action is one of ${ACTIONS.join(", ")}`;
  if (typeof generation !== "number" || !Number.isSafeInteger(generation) || generation < 1) {
    return "generation is a whole number from 1";
  }
  if (known === "route" && to !== "source" && to !== "target") return "to is source or target";
  const expiry = expiresInMs ?? null;
  if (expiry !== null && !(typeof expiry === "number" && expiry > 0)) return "expiresInMs is a positive number";
  return { tenant, action: known, generation, to: typeof to === "string" ? to : null, expiresInMs: expiry };
}

async function bodyText(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

/** Where the demo's tenants live before anything is moved. */
export function demoHomes(): Map<string, Side> {
  const homes = new Map<string, Side>();
  for (const tenant of SOURCE_TENANTS) homes.set(tenant, "source");
  for (const tenant of TARGET_TENANTS) homes.set(tenant, "target");
  return homes;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { journal: { type: "string" }, port: { type: "string", default: "0" } } });
  const token = process.env["DEMO_ROUTER_TOKEN"];
  if (values.journal === undefined || token === undefined)
    throw new Error("--journal and DEMO_ROUTER_TOKEN are needed");
  const router = await Router.open({
    token,
    journalFile: values.journal,
    homes: demoHomes(),
    port: Number(values.port),
    nowMs: Date.now,
  });
  process.stdout.write(`${JSON.stringify({ url: router.url })}\n`);
  const stop = () => void router.close().then(() => process.exit(0));
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  process.once("disconnect", stop); // the demo is gone
}

if (import.meta.main) await main();
