import { Agent, request } from "node:http";
import type { Side } from "./schema.ts";

export interface Where {
  readonly side: Side;
  readonly fenced: boolean;
  /** This process's monotonic clock when the question was sent: the answer can only be younger, never older. */
  readonly askedAtMs: number;
}

const TIMEOUT_MS = 1000;

/** Asks where a tenant lives, over kept-alive connections; questions about one tenant at the same moment share one. */
export class RouterClient {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });
  readonly #asking = new Map<string, Promise<Where>>();

  constructor(options: { readonly url: string }) {
    this.#url = options.url;
  }

  where(tenant: string): Promise<Where> {
    const running = this.#asking.get(tenant);
    if (running !== undefined) return running;
    const asked = this.#ask(tenant).finally(() => this.#asking.delete(tenant));
    this.#asking.set(tenant, asked);
    return asked;
  }

  close(): void {
    this.#agent.destroy();
  }

  #ask(tenant: string): Promise<Where> {
    const askedAtMs = performance.now();
    return new Promise((resolve, reject) => {
      const url = `${this.#url}/where?tenant=${encodeURIComponent(tenant)}`;
      const call = request(url, { agent: this.#agent, timeout: TIMEOUT_MS }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => {
          text += part;
        });
        response.on("error", reject);
        response.on("end", () => {
          if (response.statusCode !== 200) return reject(new Error(`router: ${response.statusCode} ${text}`));
          const { side, fenced } = JSON.parse(text) as { side: Side; fenced: boolean };
          resolve({ side, fenced, askedAtMs });
        });
      });
      call.on("timeout", () => call.destroy(new Error("router: no answer in time")));
      call.on("error", reject);
      call.end();
    });
  }
}
