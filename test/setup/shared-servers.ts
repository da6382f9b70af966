import { randomBytes } from "node:crypto";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, inject, test } from "vitest";
import { type MysqlServer, openServers, type Servers, ServerUnavailable } from "../../docker/servers.ts";
import { SKIPPED_FOR_WANT } from "./skipped.ts";

/** Where a shared server is; for files that need only schemas, topics and users of their own, with random names. */
export type MysqlAddress = Pick<MysqlServer, "host" | "port" | "user" | "password">;
/** Auto-increment steps by 2 on both, `a` from 1 and `b` from 2, so that keys of the two never clash. */
export type SharedMysql = { readonly a: MysqlAddress; readonly b: MysqlAddress };
export type SharedKafka = { readonly brokers: readonly string[] };

type Kind = "mysql" | "kafka";
type Reply<T> = { readonly servers: T } | { readonly unavailable: string } | { readonly failed: string };

declare module "vitest" {
  interface ProvidedContext {
    serversSocket: string;
  }
}

/** Vitest's global setup: a socket at which test files ask for servers. Nothing is started before the first asks. */
export default async function setup(project: {
  provide(key: "serversSocket", value: string): void;
}): Promise<() => Promise<void>> {
  const servers = await openServers({ log: (line) => process.stderr.write(`${line}\n`) });
  const starting = new Map<string, Promise<Reply<unknown>>>();
  const control = createServer((incoming, response) => {
    const path = incoming.url ?? "";
    const reply = starting.get(path) ?? provide(servers, path).then((found) => ({ servers: found }), refusal);
    starting.set(path, reply);
    reply.then((answer) => response.end(JSON.stringify(answer)));
  });
  const socket = join(tmpdir(), `dray-tests-${randomBytes(6).toString("hex")}.sock`);
  await new Promise<void>((resolve) => control.listen(socket, resolve));
  project.provide("serversSocket", socket);
  return async () => {
    control.close();
    control.closeAllConnections();
    await servers.close();
  };
}

async function provide(servers: Servers, path: string): Promise<unknown> {
  switch (path) {
    case "/mysql": {
      const start = (name: string, offset: number) =>
        servers.mysql({ name, flags: ["--auto-increment-increment=2", `--auto-increment-offset=${offset}`] });
      const [a, b] = await Promise.all([start("mysql-a", 1), start("mysql-b", 2)]);
      const address = ({ host, port, user, password }: MysqlServer) => ({ host, port, user, password });
      return { a: address(a), b: address(b) };
    }
    case "/kafka":
      return { brokers: (await servers.kafka()).brokers };
    case "/own/mysql":
      await servers.prepare("mysql");
      return null;
    case "/own/kafka":
      await servers.prepare("kafka");
      return null;
    default:
      throw new Error(`nothing is shared under ${path}`);
  }
}

function refusal(error: unknown): Reply<never> {
  return error instanceof ServerUnavailable ? { unavailable: error.message } : { failed: String(error) };
}

export function sharedMysql(): Promise<SharedMysql> {
  return must(ask<SharedMysql>("/mysql"));
}

export function sharedKafka(): Promise<SharedKafka> {
  return must(ask<SharedKafka>("/kafka"));
}

/** Tests over the two shared servers: skipped, with the reason in their name, where they cannot be had; failed in CI. */
export function describeWithMysql(name: string, tests: (mysql: SharedMysql) => void | Promise<void>): void {
  const nowhere: MysqlAddress = { host: "127.0.0.1", port: 0, user: "", password: "" };
  describeWith(name, { needs: () => ask<SharedMysql>("/mysql"), placeholder: { a: nowhere, b: nowhere }, tests });
}

export function describeWithKafka(name: string, tests: (kafka: SharedKafka) => void | Promise<void>): void {
  describeWith(name, { needs: () => ask<SharedKafka>("/kafka"), placeholder: { brokers: [] }, tests });
}

/** Tests that start, stop or kill servers of their own, by `openServers()` in the test file. */
export function describeWithOwnServers(name: string, kinds: readonly Kind[], tests: () => void | Promise<void>): void {
  const needs = async (): Promise<Reply<null>> => {
    for (const kind of kinds) {
      const reply = await ask<null>(`/own/${kind}`);
      if (!("servers" in reply)) return reply;
    }
    return { servers: null };
  };
  describeWith<null>(name, { needs, placeholder: null, tests });
}

function describeWith<T>(
  name: string,
  options: {
    readonly needs: () => Promise<Reply<T>>;
    readonly placeholder: T;
    readonly tests: (servers: T) => void | Promise<void>;
  },
): void {
  const { needs, placeholder, tests } = options;
  describe(name, async () => {
    const reply = await needs();
    if ("servers" in reply) return await tests(reply.servers);
    if ("failed" in reply || process.env["CI"] === "true") {
      test("its servers run", () => {
        throw new Error("failed" in reply ? reply.failed : reply.unavailable);
      });
      return;
    }
    process.stderr.write(`SKIPPED: ${name}: ${reply.unavailable}\n`);
    describe.skip(`${SKIPPED_FOR_WANT} ${reply.unavailable}`, () => tests(placeholder));
  });
}

async function must<T>(asked: Promise<Reply<T>>): Promise<T> {
  const reply = await asked;
  if ("servers" in reply) return reply.servers;
  throw "failed" in reply ? new Error(reply.failed) : new ServerUnavailable(reply.unavailable);
}

function ask<T>(path: string): Promise<Reply<T>> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: inject("serversSocket"), path, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text) as Reply<T>));
    });
    asking.once("error", reject);
    asking.end();
  });
}
