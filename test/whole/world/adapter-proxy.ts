import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type ProxiedCall = {
  readonly action: string;
  readonly tenant: string;
  readonly generation: number;
  readonly to: string;
};

/**
 * How a call fares: passed on; refused with a status before it reaches the adapter; passed on with the answer lost;
 * passed on after a while; answered at once and passed on later (late), or never (lie).
 */
export type Fate =
  | { readonly kind: "pass" }
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "answer-lost" }
  | { readonly kind: "slow"; readonly ms: number }
  | { readonly kind: "held"; readonly until: Promise<void> };

/** Stands between Drayage and an honest adapter, and does to its calls what a network or a bad one would do. */
export class AdapterProxy {
  readonly #upstream: string;
  readonly #server: Server;
  /** `read` for the GET that reads back. */
  decide: (call: ProxiedCall) => Fate = () => ({ kind: "pass" });
  readonly calls: ProxiedCall[] = [];

  private constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async open(upstream: string): Promise<AdapterProxy> {
    const proxy = new AdapterProxy(upstream);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts).toString("utf8");
    const call: ProxiedCall =
      request.method === "PUT"
        ? (JSON.parse(body) as ProxiedCall)
        : { action: "read", tenant: "", generation: 0, to: "" };
    this.calls.push(call);
    const fate = this.decide(call);
    if (fate.kind === "status") {
      response.writeHead(fate.status).end("{}");
      return;
    }
    if (fate.kind === "slow") await sleep(fate.ms);
    if (fate.kind === "held") await fate.until;
    const answer = await fetch(new URL(request.url ?? "/", this.#upstream), {
      method: request.method ?? "GET",
      headers: {
        "content-type": "application/json",
        authorization: request.headers.authorization ?? "",
      },
      ...(request.method === "PUT" ? { body } : {}),
    });
    const text = await answer.text();
    if (fate.kind === "answer-lost") {
      response.destroy();
      return;
    }
    response.writeHead(answer.status, { "content-type": "application/json" }).end(text);
  }
}
