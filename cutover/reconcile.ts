import { isDrayError } from "../pipeline/errors.ts";
import { recoverCutover } from "./cutover-run.ts";
import { type Direction, destination, type Side, wayFrom } from "./direction.ts";
import { runFinish } from "./finish-run.ts";
import type { Move } from "./move.ts";
import { recoverAbort } from "./move-end.ts";
import { SWITCHING } from "./phases.ts";
import { commitPoint, livesBy } from "./switch-parts.ts";

/** An attempt that the journal does not know of. */
type Unknown = { readonly generation: number; readonly direction: Direction };

const FOUND = { forward: "found", reverse: "found-back" } as const;

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
  if (SWITCHING.has(move.phase)) await recoverCutover(move, signal);
  if (move.phase === "finishing") await runFinish(move, signal);
}

/**
 * C2: what a control store that was restored from an old copy does not know, the databases and adapters do. An attempt
 * that COMMITTED, or one whose fence is up, is taken as cut short: recovery brings it to its end.
 * True where one was found.
 */
export async function findUnknownAttempt(move: Move, signal: AbortSignal): Promise<boolean> {
  let unknown: Unknown | null;
  let known: string;
  // A command of these moments, as right behind a start, has a generation of its own: it is nothing unknown.
  do {
    known = knownOf(move);
    unknown = await unknownAttempt(move, signal);
  } while (knownOf(move) !== known);
  if (unknown === null) return false;
  const { generation, direction } = unknown;
  await move.context.journal.raiseGeneration(generation - 1);
  await move.setDetails({
    attempt: {
      generation,
      direction,
      outcome: "unknown",
      step: "fence",
      reason: "found after a restart",
      steps: [],
      predicted: [],
      decidedIn: "home",
      // The home may have failed over since, and lost what it decided: who answers there now is not asked (C1).
      homeUuid: null,
      pauseMs: null,
      adapterMs: null,
    },
  });
  await move.advance(FOUND[direction], { generation }, "server");
  return true;
}

function knownOf({ context, phase }: Move): string {
  const { generation } = context.journal.move;
  return `${phase} ${generation}`;
}

async function unknownAttempt(move: Move, signal: AbortSignal): Promise<Unknown | null> {
  const { lives, attempt } = move.details;
  const outcomes = await commitPoint(move, move.way, () => {}).read(signal);
  // A copy from the middle of an attempt knows that one, and may hide a later one whose fence is up.
  const isSwitching = SWITCHING.has(move.phase);
  const cutShort = isSwitching ? (attempt?.generation ?? null) : null;
  const found = livesBy(outcomes);
  if (found.generation > lives.generation && found.generation !== cutShort) {
    return { generation: found.generation, direction: wayTo(found.side) };
  }
  const direction = wayFrom(lives.side);
  const known = move.context.journal.move.generation;
  const fencing = move.context.fencing(direction);
  const highest = await fencing.highestGeneration(signal);
  const holding = await fencing.holding(signal);
  // One that died between ABORTED and the unfence has an outcome, and still holds the tenant.
  if (highest > known && (!outcomes.has(highest) || holding.includes(highest)))
    return { generation: highest, direction };
  if (isSwitching) return null;
  // A fence without generations, as a READ ONLY schema is, holds for an attempt whose number nobody remembers; behind a
  // commit it holds the old home.
  if (lives.side === "from" && holding.includes(0)) {
    return { generation: Math.max(known, ...outcomes.keys()) + 1, direction };
  }
  return null;
}

function wayTo(side: Side): Direction {
  return destination("forward") === side ? "forward" : "reverse";
}
