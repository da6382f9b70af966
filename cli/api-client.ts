import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { ErrorAnswer } from "../console/answers.ts";

export type ServerAddress =
  | { readonly kind: "socket"; readonly path: string }
  | { readonly kind: "url"; readonly url: string; readonly token: string | null };

export type ApiClientOptions = {
  readonly address: ServerAddress;
  /** Who asks: for the journal, and for whoever is kept waiting. */
  readonly operator: string;
  readonly signal: AbortSignal;
};

/** What the server refused, in its own words; the exit code follows from its kind. */
export class ApiError extends Error {
  readonly answer: ErrorAnswer;
  constructor(answer: ErrorAnswer) {
    super(answer.message);
    this.name = "ApiError";
    this.answer = answer;
  }
}

/** Nobody answered, or nobody that speaks this API. */
export class ServerUnreachable extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ServerUnreachable";
  }
}

/** The HTTP API over the socket or a URL. A waiting call has no timeout: a cutover takes as long as it takes. */
export class ApiClient {
  readonly #options: ApiClientOptions;

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  async get<Answer>(path: string): Promise<Answer> {
    return (await readJson(await this.#send("GET", path, null))) as Answer;
  }

  async post<Answer>(path: string, body: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    return (await readJson(await this.#send("POST", path, body))) as Answer;
  }

  /** Lines of JSON as they come. An error in the midst of them is thrown as one before them would be. */
  async *lines<Line>(
    method: "GET" | "POST",
    path: string,
    body: Readonly<Record<string, unknown>> | null = null,
  ): AsyncGenerator<Line> {
    const response = await this.#send(method, path, body);
    let rest = "";
    try {
      for await (const part of response.setEncoding("utf8")) {
        const lines = `${rest}${part as string}`.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) yield parseLine(line) as Line;
      }
    } catch (error) {
      if (error instanceof ApiError || this.#options.signal.aborted) throw error;
      throw new ServerUnreachable("the connection to the server ended in the midst of its answer", error);
    } finally {
      response.destroy();
    }
  }

  async #send(method: string, path: string, body: Readonly<Record<string, unknown>> | null): Promise<IncomingMessage> {
    const text = body === null ? null : JSON.stringify(body);
    const response = await this.#open(method, path, text);
    if (response.statusCode === 200) return response;
    throw refusal(response.statusCode ?? 0, await readText(response));
  }

  #open(method: string, path: string, text: string | null): Promise<IncomingMessage> {
    const { address, operator, signal } = this.#options;
    const headers: Record<string, string> = { "x-dray-operator": operator, accept: "application/json" };
    if (text !== null) headers["content-type"] = "application/json";
    if (address.kind === "url" && address.token !== null) headers["authorization"] = `Bearer ${address.token}`;
    return new Promise((resolve, reject) => {
      const options = { method, headers, signal };
      const base = address.kind === "url" ? address.url.replace(/\/$/, "") : "http://socket";
      const url = new URL(`${base}${path}`);
      const send = url.protocol === "https:" ? httpsRequest : httpRequest;
      const request = send(
        url,
        address.kind === "socket" ? { ...options, socketPath: address.path } : options,
        resolve,
      );
      request.once("error", (error) => reject(signal.aborted ? error : unreachable(address, error)));
      request.end(text ?? undefined);
    });
  }
}

function unreachable(address: ServerAddress, error: Error): ServerUnreachable {
  const where = address.kind === "socket" ? address.path : address.url;
  const why = "code" in error ? String(error.code) : error.message;
  return new ServerUnreachable(`no dray server answers at ${where} (${why})`, error);
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of response.setEncoding("utf8")) text += part as string;
  return text;
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  return JSON.parse(await readText(response)) as unknown;
}

function parseLine(line: string): unknown {
  const value = JSON.parse(line) as { readonly type?: unknown; readonly error?: ErrorAnswer };
  if (value.type === "error" && value.error !== undefined) throw new ApiError(value.error);
  return value;
}

function refusal(status: number, text: string): Error {
  try {
    const { error } = JSON.parse(text) as { readonly error?: ErrorAnswer };
    if (error?.code !== undefined) return new ApiError(error);
  } catch {
    // Not ours: a proxy's page, another server.
  }
  return new ServerUnreachable(`what answers there is no dray server (HTTP ${status})`);
}
