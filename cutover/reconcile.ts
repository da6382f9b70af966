import { commitPoint } from "./cutover-run.ts";
import type { Move } from "./move.ts";

/**
 * C2: what a control store that was restored from an old copy does not know, the databases and adapters do. An attempt
 * that COMMITTED, or one whose fence is up, is taken as cut short: recovery brings it to its end.
 * True where one was found.
 */
export async function findUnknownAttempt(move: Move, signal: AbortSignal): Promise<boolean> {
  const generation = await unknownGeneration(move, signal);
  if (generation === null) return false;
  await move.context.journal.raiseGeneration(generation - 1);
  const uuid = (await homeIdentity(move, signal)).uuid;
  await move.setDetails({
    attempt: {
      generation,
      outcome: "unknown",
      step: "fence",
      reason: "found after a restart",
      steps: [],
      decidedIn: "home",
      homeUuid: uuid,
      pauseMs: null,
      adapterMs: null,
    },
  });
  await move.advance("found", { generation }, "server");
  return true;
}

async function unknownGeneration(move: Move, signal: AbortSignal): Promise<number | null> {
  const outcomes = await commitPoint(move, () => {}).read(signal);
  for (const [generation, { home, target }] of outcomes) {
    if (home?.outcome === "COMMITTED" || target?.outcome === "COMMITTED") return generation;
  }
  const known = move.context.journal.move.generation;
  const fencing = move.context.fencing();
  const highest = await fencing.highestGeneration(signal);
  const holding = await fencing.holding(signal);
  // One that died between ABORTED and the unfence has an outcome, and still holds the tenant.
  if (highest > known && (!outcomes.has(highest) || holding.includes(highest))) return highest;
  // A fence without generations, as a READ ONLY schema is, holds for an attempt whose number nobody remembers.
  return holding.includes(0) ? Math.max(known, ...outcomes.keys()) + 1 : null;
}

async function homeIdentity(move: Move, signal: AbortSignal) {
  const [home] = move.context.stores;
  if (home === undefined) throw new Error(`${move.name} has no store`);
  return await home.pair.sourceControl.outcomes.serverIdentity(signal);
}
