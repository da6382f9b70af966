import { isDrayError } from "../pipeline/errors.ts";
import { isCommitted } from "./commit-point.ts";
import { commitPoint, recoverCutover } from "./cutover-run.ts";
import type { Move } from "./move.ts";
import { recoverAbort } from "./move-end.ts";

/**
 * Brings what a crash cut short to its end. An abort that finds a COMMITTED which came before it cannot be kept: the
 * attempt is taken forward instead, for whoever committed it may be gone.
 */
export async function recoverMove(move: Move, signal: AbortSignal): Promise<void> {
  if (move.phase === "aborting") {
    try {
      return await recoverAbort(move, signal);
    } catch (error) {
      if (!isDrayError(error, "ALREADY_COMMITTED")) throw error;
      await findUnknownAttempt(move, signal);
    }
  }
  if (move.phase === "cutting-over") await recoverCutover(move, signal);
}

/**
 * C2: what a control store that was restored from an old copy does not know, the databases and adapters do. An attempt
 * that COMMITTED, or one whose fence is up, is taken as cut short: recovery brings it to its end.
 * True where one was found.
 */
export async function findUnknownAttempt(move: Move, signal: AbortSignal): Promise<boolean> {
  const generation = await unknownGeneration(move, signal);
  if (generation === null) return false;
  await move.context.journal.raiseGeneration(generation - 1);
  await move.setDetails({
    attempt: {
      generation,
      outcome: "unknown",
      step: "fence",
      reason: "found after a restart",
      steps: [],
      decidedIn: "home",
      // The home may have failed over since, and lost what it decided: who answers there now is not asked (C1).
      homeUuid: null,
      pauseMs: null,
      adapterMs: null,
    },
  });
  await move.advance("found", { generation }, "server");
  return true;
}

async function unknownGeneration(move: Move, signal: AbortSignal): Promise<number | null> {
  const outcomes = await commitPoint(move, () => {}).read(signal);
  // A copy from the middle of an attempt knows that one, and may hide a later one whose fence is up.
  const cutShort = move.phase === "cutting-over" ? (move.details.attempt?.generation ?? null) : null;
  for (const [generation, rows] of outcomes) if (isCommitted(rows) && generation !== cutShort) return generation;
  const known = move.context.journal.move.generation;
  const fencing = move.context.fencing();
  const highest = await fencing.highestGeneration(signal);
  const holding = await fencing.holding(signal);
  // One that died between ABORTED and the unfence has an outcome, and still holds the tenant.
  if (highest > known && (!outcomes.has(highest) || holding.includes(highest))) return highest;
  if (move.phase === "cutting-over") return null;
  // A fence without generations, as a READ ONLY schema is, holds for an attempt whose number nobody remembers.
  return holding.includes(0) ? Math.max(known, ...outcomes.keys()) + 1 : null;
}
