import { reasonOf } from "../pipeline/backoff.ts";
import type { Move } from "./move.ts";
import { commitPoint, requireLivesAt } from "./switch-parts.ts";

/**
 * `dray start`, once preflight has passed. What fails before the first lane is recorded leaves the move planned, and it
 * may be started again. Where the control store was lost, what the databases know of the name still counts (C2): a
 * COMMITTED refuses, and no generation is handed out twice.
 */
export async function startMove(move: Move, by: string, signal: AbortSignal): Promise<void> {
  const { context, lanes } = move;
  await move.advance("check", {}, by);
  let known: number;
  try {
    await context.install(signal);
    const outcomes = await commitPoint(move, "forward", () => {}).read(signal);
    requireLivesAt(move, "from", outcomes);
    known = Math.max(0, ...outcomes.keys());
    await lanes.dropAll();
  } catch (error) {
    await move.advance("refused", { reason: reasonOf(error) }, by);
    throw error;
  }
  const generation = await context.journal.raiseGeneration(known);
  await lanes.create("forward", generation, { firstPass: 0 }, signal);
  await move.advance("passed", { generation }, by);
  await lanes.open();
}
