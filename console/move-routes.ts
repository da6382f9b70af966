import { z } from "zod";
import type { CutoverResult, MoveEvent, MoveService } from "../cutover/move-service.ts";
import { DrayError } from "../pipeline/errors.ts";
import { EventQueue } from "./event-queue.ts";
import { evidenceRoute } from "./evidence-route.ts";
import { moveName, nothing, type Route, route } from "./route.ts";
import { shapes } from "./shapes.ts";
import { verifyRoutes } from "./verify-routes.ts";

const request = {
  manifest: z.string().min(1).describe("The manifest's text (YAML)"),
  manifestFile: z.string().max(1_000).default("manifest").describe("The file's name, for the places of findings"),
  tenant: z.string().min(1).max(255),
  from: z.string().min(1).describe("A cluster of the server configuration"),
  to: z.string().min(1).describe("A cluster of the server configuration"),
};
const cutoverBody = z.strictObject({
  dryRun: z.boolean().default(false).describe("Asks the gate and changes nothing"),
  maxLagSeconds: z.number().positive().nullable().default(null),
  maxPauseMs: z.number().positive().nullable().default(null).describe("The whole pause, adapters and grace included"),
  acceptUnverified: z
    .boolean()
    .default(false)
    .describe("What is not verified does not close the gate; journalled, and said in every later line"),
});

/** One move: look, act, watch. */
export function moveRoutes(service: MoveService): readonly Route[] {
  const act = (name: "pause" | "resume" | "retry" | "abort", summary: string): Route =>
    route({
      method: "POST",
      path: `/v1/moves/:move/${name}`,
      role: "operate",
      summary,
      params: moveName,
      query: nothing,
      body: nothing,
      answer: shapes.action,
      handle: ({ params, caller }) => service[name](params.move, caller),
    });
  const switchRoute = (name: "cutover" | "rollback", summary: string): Route =>
    route({
      method: "POST",
      path: `/v1/moves/:move/${name}`,
      role: "operate",
      summary,
      params: moveName,
      query: nothing,
      body: cutoverBody,
      answer: shapes.cutoverEvent,
      streams: true,
      handle: ({ params, body, caller }) => linesOf((onEvent) => service[name](params.move, body, caller, onEvent)),
    });
  return [
    route({
      method: "POST",
      path: "/v1/preflight",
      role: "operate",
      summary: "Checks everything a move needs, and tells all findings at once.",
      params: nothing,
      query: nothing,
      body: z.strictObject(request),
      answer: shapes.preflight,
      handle: ({ body, caller, signal }) => service.preflight(body, caller, signal),
    }),
    route({
      method: "GET",
      path: "/v1/moves",
      role: "read",
      summary: "Every move, oldest first.",
      params: nothing,
      query: nothing,
      body: nothing,
      answer: shapes.statuses,
      handle: () => service.list(),
    }),
    route({
      method: "POST",
      path: "/v1/moves",
      role: "operate",
      summary: "Preflight, then starts the move.",
      params: nothing,
      query: nothing,
      body: z.strictObject({
        ...request,
        name: z
          .string()
          .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/, "letters, digits, _ . and - are expected, 100 at most")
          .nullable()
          .default(null)
          .describe("MANIFEST-TENANT where absent"),
      }),
      answer: shapes.action,
      handle: ({ body, caller, signal }) => service.start(body, caller, signal),
    }),
    route({
      method: "GET",
      path: "/v1/moves/:move",
      role: "read",
      summary: "The state the move is in, and what can be done next.",
      params: moveName,
      query: nothing,
      body: nothing,
      answer: shapes.status,
      handle: ({ params }) => service.status(params.move),
    }),
    route({
      method: "GET",
      path: "/v1/moves/:move/events",
      role: "read",
      summary: "The state of now and every change of it, as lines of JSON.",
      params: moveName,
      query: nothing,
      body: nothing,
      answer: shapes.event,
      streams: true,
      handle: ({ params, signal }) => service.events(params.move, signal),
    }),
    switchRoute(
      "cutover",
      "Gate, fence, drain, commit, route. Answers with each step as a line of JSON, the result last.",
    ),
    switchRoute(
      "rollback",
      "As cutover, with the roles swapped: the tenant goes back, with all that it wrote meanwhile.",
    ),
    act("pause", "Copy and apply stop; capture goes on."),
    act("resume", "Copy and apply go on."),
    act("retry", "Tries again what has failed."),
    act("abort", "Ends the move before its commit point and removes what was copied."),
    route({
      method: "POST",
      path: "/v1/moves/:move/skip",
      role: "operate",
      summary: "Leaves out one entry that cannot be applied; its table must be copied again before a cutover.",
      params: moveName,
      query: nothing,
      body: z.strictObject({ seq: z.int().min(1), lane: z.string().nullable().default(null) }),
      answer: shapes.action,
      handle: ({ params, body, caller }) => service.skip(params.move, body, caller),
    }),
    route({
      method: "POST",
      path: "/v1/moves/:move/recopy",
      role: "operate",
      summary: "Copies one table, or all of them, again.",
      params: moveName,
      query: nothing,
      body: z.strictObject({ table: z.string().min(1).nullable().default(null) }),
      answer: shapes.action,
      handle: ({ params, body, caller }) => service.recopy(params.move, body.table, caller),
    }),
    route({
      method: "POST",
      path: "/v1/moves/:move/resolve",
      role: "operate",
      summary: "Says who owns the tenant, where only a person can know.",
      params: moveName,
      query: nothing,
      body: z.strictObject({
        owner: z.enum(["from", "to"]),
        confirm: z.string().describe("The move's name, typed again"),
      }),
      answer: shapes.action,
      handle: async ({ params, body, caller }) => {
        if (body.confirm !== params.move)
          throw new DrayError("REQUEST_INVALID", { wrong: ["body.confirm: it is not the move's name"] });
        return service.resolve(params.move, body.owner, caller);
      },
    }),
    route({
      method: "POST",
      path: "/v1/moves/:move/close",
      role: "operate",
      summary: "Releases the lanes of a move that is done, and tells the SQL that would remove the source's rows.",
      params: moveName,
      query: nothing,
      body: nothing,
      answer: shapes.closed,
      handle: ({ params, caller }) => service.close(params.move, caller),
    }),
    route({
      method: "POST",
      path: "/v1/moves/:move/finish",
      role: "operate",
      summary: "Compares once more, removes the source's rows of the tenant and all that Drayage keeps of the move.",
      params: moveName,
      query: nothing,
      body: z.strictObject({
        dryRun: z.boolean().default(false).describe("Asks and counts, and changes nothing"),
        now: z.boolean().default(false).describe("Before the retention is over; the tenant must be named"),
        tenant: z.string().nullable().default(null).describe("The tenant, typed again, where it is to be now"),
        acceptUnverified: z
          .boolean()
          .default(false)
          .describe("Goes ahead where the sides cannot be compared, or differ; journalled"),
      }),
      answer: shapes.finish,
      handle: ({ params, body, caller, signal }) => service.finish(params.move, body, caller, signal),
    }),
    route({
      method: "GET",
      path: "/v1/moves/:move/journal",
      role: "read",
      summary: "What happened, who did it, and when.",
      params: moveName,
      query: z.strictObject({ after: z.coerce.number().int().min(0).default(0) }),
      body: nothing,
      answer: shapes.journal,
      handle: ({ params, query }) => service.journal(params.move, query.after),
    }),
    ...verifyRoutes(service),
    evidenceRoute(service),
    logRoute(service),
  ];
}

function logRoute(service: MoveService): Route {
  return route({
    method: "GET",
    path: "/v1/moves/:move/log",
    role: "read",
    summary: "The lane's entries: headers; with bodies for role admin, which is written into the journal.",
    params: moveName,
    query: z.strictObject({
      lane: z.string().nullable().default(null),
      after: z.coerce.number().int().min(0).default(0),
      limit: z.coerce.number().int().min(1).max(10_000).default(100),
      bodies: z.enum(["yes", "no"]).default("no"),
    }),
    body: nothing,
    answer: shapes.logLine,
    streams: true,
    handle({ params, query, caller, signal }) {
      const bodies = query.bodies === "yes";
      if (bodies && caller.role !== "admin")
        throw new DrayError("ROLE_TOO_LOW", { role: caller.role, needed: "admin" });
      const { lane, after: afterSeq, limit } = query;
      return service.log(params.move, { lane, afterSeq, limit, bodies }, caller, signal);
    },
  });
}

type CutoverLine = MoveEvent | { readonly type: "result"; readonly result: CutoverResult };

/** A cutover does not belong to the connection: a client that goes away misses the lines, nothing else. */
function linesOf(run: (onEvent: (event: MoveEvent) => void) => Promise<CutoverResult>): AsyncIterable<CutoverLine> {
  const lines = new EventQueue<CutoverLine>();
  run((event) => lines.push(event)).then(
    (result) => {
      lines.push({ type: "result", result });
      lines.end();
    },
    (error: unknown) => lines.end(error),
  );
  return lines;
}
