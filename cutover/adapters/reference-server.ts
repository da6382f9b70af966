import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";
import type { Clock } from "../../pipeline/clock.ts";
import type { AdapterReading } from "./adapter.ts";
import { decide, mayWrite, newTenant, readingOf, type TenantRecord } from "./reference-state.ts";

export type ReferenceServerOptions = {
  readonly token: string;
  /** Tenant to home. A tenant that is not in it is answered with 404. */
  readonly tenants: Readonly<Record<string, string>>;
  /** A line per change, on the disk before the change is answered; read back at start. */
  readonly journalFile: string;
  readonly clock: Clock;
};

const callBody = z.object({
  move: z.string().min(1),
  tenant: z.string().min(1),
  action: z.enum(["fence", "pin", "unfence", "retire", "route"]),
  to: z.string().min(1),
  generation: z.int().min(1),
  expiresInMs: z.int().min(1).nullable(),
});

type Answer = { readonly status: number; readonly body: Readonly<Record<string, unknown>> };

/**
 * A complete HTTP adapter in a page, to copy from: `PUT /` and `GET /?tenant=` with a bearer token, and
 * `GET /where?tenant=` for the application. Two things matter: a change is durable before it is answered, and the
 * generation decides (C4).
 */
export class ReferenceServer {
  readonly #options: ReferenceServerOptions;
  readonly #tenants = new Map<string, TenantRecord>();
  readonly #journal: number;
  readonly #server: Server;

  private constructor(options: ReferenceServerOptions) {
    this.#options = options;
    for (const [tenant, home] of Object.entries(options.tenants)) this.#tenants.set(tenant, newTenant(home));
    this.#journal = openSync(options.journalFile, "a+");
    // A line cut off by a crash was never answered: nobody counts on it, and the next must not be glued to it.
    const text = readFileSync(options.journalFile, "utf8");
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    ftruncateSync(this.#journal, Buffer.byteLength(whole));
    for (const line of whole.split("\n").slice(0, -1)) {
      const { tenant, ...record } = JSON.parse(line) as TenantRecord & { readonly tenant: string };
      this.#tenants.set(tenant, record);
    }
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** Listens on a free port of 127.0.0.1. */
  static async open(options: ReferenceServerOptions): Promise<ReferenceServer> {
    const server = new ReferenceServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
    closeSync(this.#journal);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(request);
    } catch (error) {
      answer = { status: 500, body: { error: String(error) } };
    }
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer.body));
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? "/", "http://reference");
    const asked = url.searchParams.get("tenant") ?? "";
    if (url.pathname === "/where") return this.#where(asked);
    if (request.headers.authorization !== `Bearer ${this.#options.token}`) {
      return { status: 401, body: { error: "a bearer token is needed" } };
    }
    if (request.method === "GET") {
      const tenant = this.#tenants.get(asked);
      return tenant === undefined ? unknownTenant(asked) : { status: 200, body: this.#reading(tenant) };
    }
    if (request.method === "PUT") return this.#change(await bodyOf(request));
    return { status: 405, body: { error: "GET or PUT" } };
  }

  #where(name: string): Answer {
    const tenant = this.#tenants.get(name);
    if (tenant === undefined) return unknownTenant(name);
    return { status: 200, body: { home: tenant.home, mayWrite: mayWrite(tenant, this.#options.clock.wallMs()) } };
  }

  #change(body: string): Answer {
    const parsed = callBody.safeParse(JSON.parse(body));
    if (!parsed.success) return { status: 400, body: { error: z.prettifyError(parsed.error) } };
    const call = parsed.data;
    const tenant = this.#tenants.get(call.tenant);
    if (tenant === undefined) return unknownTenant(call.tenant);
    const decision = decide(tenant, call, this.#options.clock.wallMs());
    if ("refused" in decision) return { status: 409, body: { ...this.#reading(tenant), error: decision.refused } };
    writeSync(this.#journal, `${JSON.stringify({ tenant: call.tenant, ...decision.next })}\n`);
    fsyncSync(this.#journal);
    this.#tenants.set(call.tenant, decision.next);
    return { status: 200, body: this.#reading(decision.next) };
  }

  #reading(tenant: TenantRecord): AdapterReading {
    return readingOf(tenant, this.#options.clock.wallMs());
  }
}

function unknownTenant(name: string): Answer {
  return { status: 404, body: { error: `there is no tenant ${name}` } };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}
