import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Caller, Role } from "../cutover/move-service.ts";
import { DrayError } from "../pipeline/errors.ts";
import { httpError } from "./answers.ts";
import { requireRole } from "./auth.ts";

export type RouteInput<Params, Query, Body> = {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  /** Ends when the client has gone. */
  readonly signal: AbortSignal;
};

export type RouteDefinition<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> = {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly role: Role;
  readonly summary: string;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly answer: z.ZodType;
  /** What it answers as a stream of lines: NDJSON. */
  readonly streams?: true;
  handle(input: RouteInput<z.output<P>, z.output<Q>, z.output<B>>): Promise<unknown> | AsyncIterable<unknown>;
};

/** A route that has forgotten its own types, so that all of them fit in one list. */
export type Route = {
  readonly path: string;
  register(app: FastifyInstance): void;
};

export const moveName = z.strictObject({ move: z.string().min(1).max(128) });
export const nothing = z.strictObject({});

/** One definition is the check of what comes in, the OpenAPI description, and the role that is needed (K4, K5). */
export function route<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  definition: RouteDefinition<P, Q, B>,
): Route {
  return {
    path: definition.path,
    register(app) {
      app.route({
        method: definition.method,
        url: definition.path,
        schema: describe(definition),
        handler: async (request, reply) => {
          requireRole(request.caller, definition.role);
          const answer = definition.handle({
            params: parse(definition.params, request.params, "path"),
            query: parse(definition.query, request.query, "query"),
            body:
              definition.method === "GET"
                ? parse(definition.body, {}, "body")
                : parse(definition.body, request.body ?? {}, "body"),
            caller: request.caller,
            signal: signalOf(reply),
          });
          if (isStream(answer)) return stream(reply, answer);
          return reply.type("application/json").send(encode(await answer));
        },
      });
    },
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, part: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  // Zod's messages name places and kinds, never the values: those may be a tenant's.
  const wrong = parsed.error.issues.map((issue) => `${[part, ...issue.path].map(String).join(".")}: ${issue.message}`);
  throw new DrayError("REQUEST_INVALID", { wrong });
}

function describe<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  definition: RouteDefinition<P, Q, B>,
): Record<string, unknown> {
  const type = definition.streams === true ? "application/x-ndjson" : "application/json";
  const empty = (schema: z.ZodType): boolean => schema === (nothing as z.ZodType);
  return {
    summary: definition.summary,
    description: `Needs the role \`${definition.role}\`.`,
    ...(empty(definition.params) ? {} : { params: shape(definition.params, "input") }),
    ...(empty(definition.query) ? {} : { querystring: shape(definition.query, "input") }),
    ...(empty(definition.body) ? {} : { body: shape(definition.body, "input") }),
    response: {
      200: { description: "Done", content: { [type]: { schema: shape(definition.answer, "output") } } },
      default: {
        description: "What went wrong, what to do, and what can be done next",
        ...shape(errorShape, "output"),
      },
    },
  };
}

const errorShape = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    facts: z.record(z.string(), z.unknown()),
    remedy: z.string(),
    kind: z.enum(["failed", "usage", "refused", "held", "person"]),
    next: z.array(z.string()),
  }),
});

function shape(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    target: "openapi-3.0",
    unrepresentable: "any",
  }) as Record<string, unknown>;
  return rest;
}

/** Not `request.signal`: a request is closed as soon as its body has been read. */
function signalOf(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("the client has gone"));
  });
  return gone.signal;
}

function isStream(answer: Promise<unknown> | AsyncIterable<unknown>): answer is AsyncIterable<unknown> {
  return Symbol.asyncIterator in answer;
}

/** The first line is awaited before the status is sent, so that a move that is not there is still a 404. */
async function stream(reply: FastifyReply, lines: AsyncIterable<unknown>): Promise<FastifyReply> {
  const iterator = lines[Symbol.asyncIterator]();
  const first = await iterator.next();
  return reply.type("application/x-ndjson").send(Readable.from(encodeLines(first, iterator), { objectMode: false }));
}

async function* encodeLines(first: IteratorResult<unknown>, iterator: AsyncIterator<unknown>): AsyncIterable<string> {
  try {
    for (let item = first; item.done !== true; item = await iterator.next()) yield `${encode(item.value)}\n`;
  } catch (error) {
    yield `${encode({ type: "error", error: httpError(error).answer })}\n`;
  } finally {
    await iterator.return?.();
  }
}

export function encode(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? part.toString() : part)) ?? "null";
}
