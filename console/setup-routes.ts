import { z } from "zod";
import type { MoveService } from "../cutover/move-service.ts";
import { nothing, type Route, route } from "./route.ts";
import { shapes } from "./shapes.ts";

/** What comes before a move: the manifest, the adapters. */
export function setupRoutes(service: MoveService, version: string): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/version",
      role: "read",
      summary: "The server's version.",
      params: nothing,
      query: nothing,
      body: nothing,
      answer: shapes.version,
      handle: async () => ({ version }),
    }),
    route({
      method: "POST",
      path: "/v1/manifests/init",
      role: "operate",
      summary: "Writes a manifest from a live schema; what is unclear is left to a person.",
      params: nothing,
      query: nothing,
      body: z.strictObject({ cluster: z.string().min(1), schemas: z.array(z.string().min(1).max(64)).min(1) }),
      answer: shapes.manifest,
      handle: ({ body, signal }) => service.manifestInit(body.cluster, body.schemas, signal),
    }),
    route({
      method: "POST",
      path: "/v1/manifests/check",
      role: "operate",
      summary: "Checks a manifest: alone, against the server's names, and against a live schema.",
      params: nothing,
      query: nothing,
      body: z.strictObject({
        manifest: z.string(),
        manifestFile: z.string().max(1_000).default("manifest"),
        cluster: z.string().min(1).nullable().default(null),
      }),
      answer: shapes.fileFindings,
      handle: ({ body, signal }) => service.manifestCheck(body, signal),
    }),
    route({
      method: "POST",
      path: "/v1/adapters/test",
      role: "operate",
      summary: "Tries every promise that a cutover relies on, with a tenant that nobody uses.",
      params: nothing,
      query: nothing,
      body: z.strictObject({ adapter: z.string().min(1), tenant: z.string().min(1), to: z.string().min(1) }),
      answer: shapes.adapterReport,
      handle: ({ body, caller, signal }) => service.adapterTest(body, caller, signal),
    }),
  ];
}
