import { z } from "zod";
import type { MoveService } from "../cutover/move-service.ts";
import { DrayError } from "../pipeline/errors.ts";
import { moveName, nothing, type Route, route } from "./route.ts";
import { shapes } from "./shapes.ts";

/** Comparing what was moved with where it came from. */
export function verifyRoutes(service: MoveService): readonly Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/moves/:move/verify",
      role: "operate",
      summary: "Compares everything again from end to end, or copies again the ranges of what was found to differ.",
      params: moveName,
      query: nothing,
      body: z.strictObject({
        table: z
          .string()
          .min(1)
          .nullable()
          .default(null)
          .describe("SCHEMA.TABLE at the source; every table where null"),
        repair: z.boolean().default(false),
      }),
      answer: shapes.action,
      handle: ({ params, body, caller }) => service.verify(params.move, body, caller),
    }),
    route({
      method: "GET",
      path: "/v1/moves/:move/verification",
      role: "read",
      summary:
        "What is compared, and which rows differ; their values for role admin, which is written into the journal.",
      params: moveName,
      query: z.strictObject({ values: z.enum(["yes", "no"]).default("no") }),
      body: nothing,
      answer: shapes.verificationReport,
      handle({ params, query, caller, signal }) {
        const showValues = query.values === "yes";
        if (showValues && caller.role !== "admin")
          throw new DrayError("ROLE_TOO_LOW", { role: caller.role, needed: "admin" });
        return service.verification(params.move, showValues, caller, signal);
      },
    }),
  ];
}
