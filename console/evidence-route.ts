import type { MoveService } from "../cutover/move-service.ts";
import { evidence } from "./evidence-shape.ts";
import { moveName, nothing, type Route, route } from "./route.ts";

/** What `dray evidence` writes into a folder. */
export function evidenceRoute(service: MoveService): Route {
  return route({
    method: "GET",
    path: "/v1/moves/:move/evidence",
    role: "read",
    summary:
      "All that can be told of the move afterwards, in parts: names, keys, positions and counts, never a row's value.",
    params: moveName,
    query: nothing,
    body: nothing,
    answer: evidence,
    handle: ({ params, signal }) => service.evidence(params.move, signal),
  });
}
