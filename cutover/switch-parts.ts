import type { Blocker } from "../connectors/source-control.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { Finding } from "../pipeline/preflight.ts";
import { CommitPoint, isCommitted, type Outcomes } from "./commit-point.ts";
import { type Direction, destination, type Side } from "./direction.ts";
import type { Move } from "./move.ts";
import type { MoveStore } from "./move-context.ts";
import type { LaneRole, OpenLane } from "./move-lanes.ts";

/*
 * What a switch is made of, the same in both directions (C8): its home is the side that the tenant lives on, its target
 * the side that it goes to.
 */

/** C1: of the manifest's first store with a log, seen from where the tenant lives. */
export function homeOf(move: Move, direction: Direction): MoveStore {
  const [first] = move.context.stores[direction];
  if (first === undefined) throw new Error(`${move.name} has no store`);
  return first;
}

/** The lanes that carry this way, or did until the switch was committed. */
export function lanesOf(move: Move, direction: Direction): readonly OpenLane[] {
  return move.lanes.all.filter((lane) => lane.direction === direction && move.lanes.roleOf(lane) !== "standby");
}

/** A switch carries every store, or nothing: the tenant must never arrive where some of its rows do not. */
export function storesWithoutLane(move: Move, direction: Direction, role: LaneRole = "active"): readonly string[] {
  const lanes = move.lanes.with(role).filter((lane) => lane.direction === direction);
  const carried = lanes.map(({ store }) => store.definition);
  const names = new Set(carried.map(({ name }) => name));
  return move.context.stores[direction].map(({ definition }) => definition.name).filter((name) => !names.has(name));
}

export function commitPoint(
  move: Move,
  direction: Direction,
  onHeld: (side: "home" | "target", error: Error) => void,
): CommitPoint {
  const { sourceControl, targetControl } = homeOf(move, direction).pair;
  return new CommitPoint({
    move: move.name,
    home: sourceControl.outcomes,
    target: targetControl.outcomes,
    clock: move.context.clock,
    probe: move.context.probe,
    earlier: move.details.earlier,
    onHeld,
  });
}

/** Where the outcomes say that the tenant lives: the highest COMMITTED decides. */
export function livesBy(outcomes: Outcomes): { readonly side: Side; readonly generation: number } {
  let lives: { side: Side; generation: number } = { side: "from", generation: 0 };
  for (const [generation, rows] of outcomes) {
    if (!isCommitted(rows) || generation < lives.generation) continue;
    const facts = (rows.home ?? rows.target)?.facts ?? {};
    lives = { side: destination(facts["direction"] === "reverse" ? "reverse" : "forward"), generation };
  }
  return lives;
}

/**
 * C2: whatever this process remembers, a switch or an abort begins where the outcomes say that the tenant lives; one that
 * does not know of the last switch would do it with lanes that have served.
 */
export function requireLivesAt(move: Move, side: Side, outcomes: Outcomes): void {
  const lives = livesBy(outcomes);
  if (lives.side !== side || lives.generation > move.details.lives.generation)
    throw new DrayError("ALREADY_COMMITTED", { move: move.name, ...lives });
}

/** C11: transactions at the tenant's home that write covered tables now. */
export async function blockersOf(move: Move, direction: Direction, signal: AbortSignal): Promise<readonly Blocker[]> {
  const found = await Promise.all(
    lanesOf(move, direction).map(({ store, source }) => store.pair.sourceControl.blockers(source.tables, signal)),
  );
  return found.flat();
}

export async function quiesceAll(
  move: Move,
  direction: Direction,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(
    lanesOf(move, direction).map(({ store, source }) =>
      store.pair.sourceControl.quiesce(source.tables, { deadlineMs, signal }),
    ),
  );
}

/** The checks of preflight that can go wrong while a move runs. */
export async function recheck(move: Move, direction: Direction, signal: AbortSignal): Promise<readonly Finding[]> {
  const { tenant, manifest } = move.context.journal.move;
  const { consents } = manifest;
  const fenced = manifest.fence.steps.flatMap((step) => (step.kind === "adapter" ? [] : [step.schema]));
  const fencedSchemas = direction === "forward" ? fenced : [];
  const found = await Promise.all(
    move.context.stores[direction].map(({ definition: store, pair }) =>
      pair.check({ store, tenant, fencedSchemas, consents, when: "gate" }, signal),
    ),
  );
  return found.flat();
}
