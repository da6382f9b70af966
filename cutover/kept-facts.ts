import type { Finding } from "../pipeline/preflight.ts";
import type { Json, JsonObject } from "./control-store.ts";
import type { Direction } from "./direction.ts";
import type { CountedLane } from "./gate.ts";
import type { Move } from "./move.ts";
import type { GateCondition, PredictedStep } from "./move-service.ts";
import { comparedTables } from "./verified-tables.ts";

/*
 * What would otherwise be known only while it happens, and must be told afterwards: written into the journal by itself,
 * before anything is done because of it.
 */

/** What the checks found when the move began, the way back's among them. */
export async function notePreflight(move: Move, findings: readonly Finding[], by: string): Promise<void> {
  await move.note("preflight", { findings: findings.map(plain) }, by);
}

export type OpenGate = {
  readonly direction: Direction;
  readonly conditions: readonly GateCondition[];
  readonly counts: readonly CountedLane[];
  readonly predicted: readonly PredictedStep[];
  readonly maxPauseMs: number;
};

/** The gate that an attempt goes through: its generation is the next one of the journal. */
export async function noteGate(move: Move, gate: OpenGate, by: string): Promise<void> {
  const compared = comparedTables(move.lanes.active);
  await move.note("gate", plain({ ...gate, compared }), by);
}

/** Before the lanes go, and what was compared of them with them. */
export async function noteVerification(move: Move, by: string): Promise<void> {
  const compared = comparedTables(move.lanes.active.filter(({ runtime }) => runtime.state().coverage !== null));
  if (compared.length > 0) await move.note("compared", { compared: compared.map(plain) }, by);
}

/** As the control store holds it: a field that is not there is not there. */
function plain(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as Json as JsonObject;
}
