import { z } from "zod";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import {
  type AdapterAction,
  type AdapterCall,
  type AdapterOutcome,
  type AdapterReading,
  type FenceAdapter,
  type FenceCall,
  proves,
  type ReadOutcome,
  type RouteAdapter,
  type TenantRef,
} from "./adapter.ts";
import { hostAllowed } from "./allowed-hosts.ts";

export type HttpAdapterOptions = {
  readonly name: string;
  readonly url: string;
  readonly token: string;
  readonly timeoutMs: number;
  readonly expiry: "self" | "supervised";
  readonly allowedHosts: readonly string[];
  readonly clock: Clock;
};

type Answer =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly reading: AdapterReading | null;
      readonly error: string | null;
    }
  /** lost: the connection ended before the answer, so that sending again at once makes sense. */
  | { readonly kind: "none"; readonly reason: string; readonly lost: boolean };

const reading = z.object({
  generation: z.int().min(0),
  state: z.enum(["open", "fenced", "pinned", "retired", "routed"]),
  expiresAt: z.string().nullable().optional(),
});

const LARGEST_ANSWER_BYTES = 65_536;

/**
 * The application's own endpoint: `PUT url {move, tenant, action, to, generation, expiresInMs}` and `GET url?tenant=`.
 * 200 counts where it says what was asked for; 409 means that nothing was done. Everything else, and no answer in time,
 * is unknown and is read back before it counts (C4). The token goes to that URL only: redirects are not followed.
 */
export class HttpAdapter implements FenceAdapter, RouteAdapter {
  readonly name: string;
  readonly expiry: "self" | "supervised";
  readonly timeoutMs: number;
  readonly enforcedByDatabase = false;
  readonly #url: string;
  readonly #token: string;
  readonly #clock: Clock;

  constructor(options: HttpAdapterOptions) {
    if (!hostAllowed(options.url, options.allowedHosts)) {
      throw new DrayError("HOST_NOT_ALLOWED", { adapter: options.name, host: new URL(options.url).host });
    }
    this.name = options.name;
    this.expiry = options.expiry;
    this.timeoutMs = options.timeoutMs;
    this.#url = options.url;
    this.#token = options.token;
    this.#clock = options.clock;
  }

  fence(call: FenceCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("fence", call, call.expiresInMs, signal);
  }

  pin(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("pin", call, null, signal);
  }

  unfence(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("unfence", call, null, signal);
  }

  retire(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("retire", call, null, signal);
  }

  route(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("route", call, null, signal);
  }

  async read({ tenant }: TenantRef, signal: AbortSignal): Promise<ReadOutcome> {
    const url = new URL(this.#url);
    url.searchParams.set("tenant", tenant);
    const answer = await this.#send(url, { method: "GET" }, signal);
    if (answer.kind === "none") return { kind: "unknown", reason: answer.reason };
    if (answer.status === 200 && answer.reading !== null) return { kind: "read", reading: answer.reading };
    return { kind: "unknown", reason: `GET answered ${describe(answer)}` };
  }

  async #act(
    action: AdapterAction,
    call: AdapterCall,
    expiresInMs: number | null,
    signal: AbortSignal,
  ): Promise<AdapterOutcome> {
    const { move, tenant, to, generation } = call;
    const body = JSON.stringify({ move, tenant, action, to, generation, expiresInMs });
    const request = { method: "PUT", body, headers: { "content-type": "application/json" } };
    const first = await this.#once(action, call, request, signal);
    if (first.lost !== true || signal.aborted) return first.outcome;
    // A kept connection may end as it is used. Calls carry their generation, so sending one again is harmless.
    return (await this.#once(action, call, request, signal)).outcome;
  }

  async #once(
    action: AdapterAction,
    call: AdapterCall,
    request: RequestInit,
    signal: AbortSignal,
  ): Promise<{ readonly outcome: AdapterOutcome; readonly lost?: boolean }> {
    const answer = await this.#send(new URL(this.#url), request, signal);
    if (answer.kind === "answer") {
      if (answer.status === 200 && answer.reading !== null && proves(action, call.generation, answer.reading)) {
        return { outcome: { kind: "done", reading: answer.reading, by: "answer" } };
      }
      if (answer.status === 409) {
        return { outcome: { kind: "refused", reading: answer.reading, reason: answer.error ?? describe(answer) } };
      }
    }
    const reason = answer.kind === "none" ? answer.reason : `${action} answered ${describe(answer)}`;
    const back = await this.read(call, signal);
    if (back.kind === "unknown") return { outcome: { kind: "unknown", reading: null, reason }, lost: false };
    if (proves(action, call.generation, back.reading)) {
      return { outcome: { kind: "done", reading: back.reading, by: "read-back" } };
    }
    const lost = answer.kind === "none" && answer.lost;
    return { outcome: { kind: "unknown", reading: back.reading, reason }, lost };
  }

  async #send(url: URL, request: RequestInit, signal: AbortSignal): Promise<Answer> {
    const call = new AbortController();
    const give = (): void => call.abort();
    if (signal.aborted) return { kind: "none", reason: "the call was not sent: interrupted", lost: false };
    signal.addEventListener("abort", give, { once: true });
    let late = false;
    void this.#clock.sleep(this.timeoutMs, call.signal).then(
      () => {
        late = true;
        call.abort();
      },
      () => {},
    );
    try {
      const headers = { ...request.headers, authorization: `Bearer ${this.#token}`, accept: "application/json" };
      const response = await fetch(url, { ...request, headers, redirect: "manual", signal: call.signal });
      return { kind: "answer", status: response.status, ...parse(await boundedText(response)) };
    } catch (error) {
      if (late) return { kind: "none", reason: `no answer within ${this.timeoutMs} ms`, lost: false };
      if (signal.aborted) return { kind: "none", reason: "interrupted while waiting for the answer", lost: false };
      return { kind: "none", reason: `no answer: ${causeOf(error)}`, lost: true };
    } finally {
      signal.removeEventListener("abort", give);
      call.abort();
    }
  }
}

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > LARGEST_ANSWER_BYTES) throw new Error(`the answer is larger than ${LARGEST_ANSWER_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parse(text: string): { readonly reading: AdapterReading | null; readonly error: string | null } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { reading: null, error: null };
  }
  const parsed = reading.safeParse(body);
  const error = z.object({ error: z.string().max(500) }).safeParse(body);
  return {
    reading: parsed.success ? { ...parsed.data, expiresAt: parsed.data.expiresAt ?? null } : null,
    error: error.success ? error.data.error : null,
  };
}

function describe(answer: Extract<Answer, { kind: "answer" }>): string {
  if (answer.reading === null) return `${answer.status} without a state`;
  return `${answer.status}, ${answer.reading.state} by generation ${answer.reading.generation}`;
}

/** fetch hides why in its cause: ECONNREFUSED, a certificate's fault, a socket that ended. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (cause instanceof Error) return "code" in cause ? String(cause.code) : cause.message;
  return String(cause);
}
