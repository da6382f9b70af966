import type { JsonObject } from "./control-store.ts";
import type { Move, MoveProblem } from "./move.ts";
import { type PhaseEvent, SWITCHING } from "./phases.ts";

/** A committed attempt whose routing a person must see to; kept until it is routed, or resolved. */
export type Unrouted = {
  readonly generation: number;
  /** What needs a person besides: the problem of the move once the routing has been seen to. */
  readonly beside: MoveProblem | null;
};

/** Each of these leads to phases from which nobody routes any more, and the tenant would stay fenced for good. */
const LEADS_AWAY: ReadonlySet<PhaseEvent> = new Set<PhaseEvent>(["retry", "recopy", "skip"]);

/** Null where every committed attempt is routed, or an attempt's own run is still to tell. */
export function unrouted(move: Move): Unrouted | null {
  const { unrouted: kept, problem, lives } = move.details;
  if (move.phase !== "failed" && !SWITCHING.has(move.phase)) return null;
  // As an earlier version left it.
  const isOlder = kept === null && problem?.code === "ROUTE_AMBIGUOUS";
  return isOlder ? { generation: lives.generation, beside: null } : kept;
}

/** Forward only: what would leave the routing behind is refused. */
export function leadsAway(move: Move, event: PhaseEvent): boolean {
  if (unrouted(move) === null) return false;
  // Where the tenant lives at the target, the outcomes themselves refuse an abort.
  return LEADS_AWAY.has(event) || (event === "abort" && move.details.lives.side === "from");
}

/** `event`: routed, or resolved by a person. What stopped a lane meanwhile comes next. */
export async function routingSettled(
  move: Move,
  event: "routed" | "resolved-to" | "resolved-from",
  facts: JsonObject,
  by: string,
): Promise<void> {
  const { alarms } = move.context;
  const beside = unrouted(move)?.beside ?? null;
  for (const code of ["ROUTE_AMBIGUOUS", "CUTOVER_HELD"] as const) await alarms.clear(move.name, code);
  await move.advance(event, facts, by, { problem: beside, unrouted: null });
  if (beside !== null && move.allows("fail")) await move.advance("fail", { code: beside.code }, "server");
  await move.settle();
}
