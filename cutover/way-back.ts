import { randomBytes } from "node:crypto";
import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { Finding } from "../pipeline/preflight.ts";
import type { Outcomes } from "./commit-point.ts";
import type { JsonObject } from "./control-store.ts";
import { type Direction, destination, opposite } from "./direction.ts";
import type { Move } from "./move.ts";
import type { LaneNote, OpenLane } from "./move-lanes.ts";
import type { GateCondition } from "./move-service.ts";
import { type Phase, SWITCHING } from "./phases.ts";

/** Whether the tenant can be brought back without losing what it wrote meanwhile (C8), as preflight found it. */
export type Rollback = { readonly kind: "stream" } | { readonly kind: "unavailable"; readonly why: readonly string[] };

/** Where each lane that leads back begins: the nonce of its mark, by lane (C7). */
export type BeginMarks = Readonly<Record<string, string>>;

const ECHO_TIMEOUT_MS = 10_000;
/** Phases in which lanes that lead back stand by. */
const STANDS_BY: ReadonlySet<Phase> = new Set<Phase>(["streaming", "watching", "rolled-back"]);

/** What the checks of the way back found: each of its errors is a reason why there is none. */
export function rollbackFrom(findings: readonly Finding[]): Rollback {
  const why = findings
    .filter(({ severity }) => severity === "error")
    .map(({ subject, finding }) => `${subject}: ${finding}`);
  return why.length === 0 ? { kind: "stream" } : { kind: "unavailable", why };
}

/**
 * As preflight tells it: none of it refuses the move, and each reason is said before anyone fences. What the checks of the
 * way there have `told` already is not told a second time.
 */
export function wayBackFindings(findings: readonly Finding[], told: readonly Finding[]): readonly Finding[] {
  const rollback = rollbackFrom(findings);
  if (rollback.kind === "stream") {
    return [
      {
        id: "rollback",
        severity: "info",
        subject: "rollback",
        finding: "After the cutover the tenant can be brought back without losing what it wrote meanwhile.",
        remedy: "None needed.",
        rule: "C8",
      },
    ];
  }
  const known = new Set(told.map(({ subject, finding }) => `${subject}: ${finding}`));
  return findings
    .filter(({ severity, subject, finding }) => severity === "error" && !known.has(`${subject}: ${finding}`))
    .map((each) => ({ ...each, id: `rollback ${each.id}`, severity: "warning" as const }));
}

/** For every line about the move. */
export function rollbackWords(move: Move): string {
  const { rollback } = move.details;
  if (rollback.kind === "unavailable") return `unavailable (${rollback.why.join("; ")})`;
  const lanes = waysBack(move);
  const missing = mustStand(move) ? storesWithout(move, lanes) : [];
  if (missing.length > 0) return `unavailable (no lane leads back for ${missing.join(", ")})`;
  const states = lanes.map(({ runtime }) => runtime.state().stopped);
  const problem = states.map(({ capture, apply }) => capture ?? apply).find((error) => error !== undefined);
  return problem === undefined ? "stream" : `unavailable (${reasonOf(problem)})`;
}

/** Where the tenant has left, the lanes that carry are the way back. */
function waysBack({ details, lanes }: Move): readonly OpenLane[] {
  return details.lives.side === "to" ? lanes.active : lanes.with("standby");
}

/** Elsewhere they may be about to be made, or are not needed any more. */
function mustStand({ phase, details }: Move): boolean {
  if (SWITCHING.has(phase)) return true;
  return details.lives.side === "to" && (phase === "watching" || phase === "failed");
}

function storesWithout({ context }: Move, lanes: readonly OpenLane[]): readonly string[] {
  const there = new Set(lanes.map(({ store }) => store.definition.name));
  return context.stores.forward.map(({ definition }) => definition.name).filter((name) => !there.has(name));
}

/**
 * The lanes that lead back stand by at the other side: connected, and carrying nothing before the mark of a generation
 * that is committed (C7). Does nothing where they are there, or where there is no way back.
 */
export async function standBy(move: Move, signal: AbortSignal): Promise<void> {
  await move.lanes.alone(async () => {
    const { details, lanes, context } = move;
    if (!STANDS_BY.has(move.phase) || details.rollback.kind !== "stream" || lanes.with("standby").length > 0) return;
    const direction = opposite(move.way);
    // Numbered by a generation of its own: a lane that was thrown away must not come back under its name.
    const generation = await context.journal.raiseGeneration(0);
    await lanes.create(direction, generation, "leads back", signal);
    await lanes.open();
  });
}

/**
 * Those that stand by are thrown away, as they may have begun at a mark that was aborted, or have stopped for good. Not
 * behind a gate: an attempt that has counted on them ends first, and says what becomes of them.
 */
export async function standByAgain(move: Move, signal: AbortSignal): Promise<void> {
  await move.lanes.alone(async () => {
    if (!SWITCHING.has(move.phase)) await move.lanes.drop(move.lanes.with("standby"));
  });
  await standBy(move, signal);
}

/** The gate's condition: a mark that is written at the other side comes back through every lane that stands by there. */
export async function judgeWayBack(move: Move, signal: AbortSignal): Promise<Omit<GateCondition, "name">> {
  const { rollback } = move.details;
  if (rollback.kind === "unavailable") {
    return { verdict: "absent", value: `unavailable (${rollback.why.join("; ")})`, limit: null };
  }
  const limit = "connected";
  const lanes = move.lanes.with("standby");
  if (lanes.length < move.lanes.active.length) {
    return { verdict: "no", value: "capture of the way back is not connected yet", limit };
  }
  const within = AbortSignal.any([signal, AbortSignal.timeout(ECHO_TIMEOUT_MS)]);
  const echoes = await Promise.all(lanes.map(({ runtime }) => runtime.echo(within)));
  return { verdict: "yes", value: `stream: a mark came back in ${Math.max(...echoes).toFixed(1)} ms`, limit };
}

/**
 * C7: from these marks on the tenant's writes at its new home are carried back, once the generation is committed. Each
 * lane has come to its own by then: WAY_BACK_LOST where one cannot, for nothing commits without the way back that the gate
 * has seen.
 */
export async function markBeginnings(move: Move, generation: number, signal: AbortSignal): Promise<BeginMarks> {
  const lanes = move.lanes.with("standby");
  const missing = move.details.rollback.kind === "stream" ? storesWithout(move, lanes) : [];
  const lost = (facts: JsonObject, why: unknown) =>
    new DrayError("WAY_BACK_LOST", { generation, ...facts, why: reasonOf(why) }, why);
  if (missing.length > 0) throw lost({ stores: missing }, "no lane stands by");
  const marks: Record<string, string> = {};
  await Promise.all(
    lanes.map(async ({ source, store, runtime }) => {
      const nonce = randomBytes(16).toString("hex");
      const { stopped } = runtime.state();
      if (stopped.capture !== undefined) throw lost({ lane: source.lane }, stopped.capture);
      runtime.beginAt({ generation, nonce });
      await store.pair.sourceControl.insertBeginMark(source.lane, { generation, nonce }, signal);
      // A connection that is lost is opened anew, and the lane comes to its mark then.
      const coming = withBackoff(() => runtime.comeTo({ generation, nonce }, signal), { signal, onRetry: () => {} });
      const place = await coming.catch((error: unknown) => {
        signal.throwIfAborted();
        throw lost({ lane: source.lane }, error);
      });
      if (place === "another mark") throw lost({ lane: source.lane }, "it began at the mark of an aborted attempt");
      marks[source.lane] = nonce;
    }),
  );
  return marks;
}

/**
 * COMMITTED stands: the lanes that stood by carry from their marks on, those that carried are watched, and those that were
 * watched until now have served. May be repeated: a crash anywhere goes on from the outcome.
 */
export async function switchLanes(
  move: Move,
  switched: { readonly direction: Direction; readonly generation: number; readonly marks: BeginMarks },
): Promise<void> {
  const { direction, generation, marks } = switched;
  const { lanes } = move;
  const way = (each: OpenLane) => each.direction === direction;
  const notes: Record<string, LaneNote> = {};
  const served: OpenLane[] = [];
  for (const lane of lanes.all) {
    const nonce = marks[lane.source.lane];
    if (nonce !== undefined) notes[lane.source.lane] = { role: "active", begins: { generation, nonce } };
    else if (way(lane) && lanes.roleOf(lane) !== "standby")
      notes[lane.source.lane] = { ...noteOf(move, lane), role: "watched" };
    else served.push(lane);
  }
  const lives = { side: destination(direction), generation } as const;
  await move.setDetails({ lanes: notes, lives });
  await lanes.alone(() => lanes.drop(served));
}

/** What the new home needs once the lanes are switched. */
export function startCarrying(move: Move): void {
  for (const { runtime, source } of move.lanes.active) {
    const begins = move.details.lanes[source.lane]?.begins;
    if (begins) runtime.beginAt(begins);
    runtime.carry();
  }
}

/** As COMMITTED keeps them on either side, for a process that did not write it. */
export function marksIn(rows: Outcomes, generation: number): BeginMarks {
  const row = rows.get(generation);
  const kept = (row?.home ?? row?.target)?.facts["marks"] ?? {};
  return Object.fromEntries(
    Object.entries(kept as JsonObject).flatMap(([lane, nonce]) => (typeof nonce === "string" ? [[lane, nonce]] : [])),
  );
}

function noteOf(move: Move, { source }: OpenLane): LaneNote {
  return move.details.lanes[source.lane] ?? { role: "active", begins: null };
}
