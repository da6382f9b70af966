import { withBackoff } from "../pipeline/backoff.ts";
import { DrayError, type ErrorCode } from "../pipeline/errors.ts";
import { acknowledgedIn } from "./acknowledged.ts";
import { destination, type Side } from "./direction.ts";
import type { Move } from "./move.ts";
import { commitPoint, homeOf, lanesOf, livesBy, requireLivesAt } from "./switch-parts.ts";
import { marksIn, startCarrying, switchLanes } from "./way-back.ts";

/**
 * `dray abort`: ends a move before its commit point. ABORTED for a new generation and for every lower one without an
 * outcome comes first (C1), then adapters are unfenced with the new one so that they refuse the lower, then the lane is
 * closed in the target, and only then are the copied rows removed. Each part may be repeated: a crash goes on from here.
 */
export async function abortMove(move: Move, by: string, signal: AbortSignal): Promise<void> {
  move.require("abort");
  const { context } = move;
  const { journal, probe } = context;
  // Killed inside `start`, there may be no dray schema yet, and the outcome needs one.
  if (move.lanes.all.length === 0) await context.install(signal);
  const point = commitPoint(move, "forward", (side, error) => warn(move, `dray.cutover of the ${side}`, error));
  const outcomes = await point.read(signal);
  requireLivesAt(move, "from", outcomes);
  const fencing = context.fencing("forward");
  const highest = Math.max(0, ...outcomes.keys(), await fencing.highestGeneration(signal));
  const generation = await journal.raiseGeneration(highest);
  await move.advance("abort", { generation }, by);
  await move.lanes.stop("the move is aborted");
  const homeUuid = await homeNow(move, signal);
  for (let each = move.details.earlier + 1; each <= generation; each++) {
    if (outcomes.get(each)?.home) continue;
    const outcome = await point.abort({ generation: each, homeUuid, facts: { by } }, signal);
    if (outcome === "COMMITTED") throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation: each });
  }
  await probe("abort.after-outcome");
  await fencing.unfence(generation, signal, (error) => warn(move, "a fence", error));
  await removeCopied(move, by, signal);
}

/** Goes on with an abort that a crash cut short; its outcomes are written again, which changes nothing. */
export async function recoverAbort(move: Move, signal: AbortSignal): Promise<void> {
  await move.lanes.load();
  await abortMove(move, "server", signal);
}

async function removeCopied(move: Move, by: string, signal: AbortSignal): Promise<void> {
  const { probe, logger } = move.context;
  let removed = 0;
  for (const { source, store, direction } of move.lanes.all) {
    if (direction !== "forward") continue;
    const onRetry = (error: Error) => warn(move, "the target", error);
    await withBackoff(() => store.pair.targetControl.closeLane(source.lane, signal), { signal, onRetry });
    await probe("abort.after-close");
    const onRows = (rows: number) => {
      removed += rows;
      void probe("abort.after-cleanup-batch");
    };
    await withBackoff(() => store.pair.removeCopied(source, onRows, signal), { signal, onRetry });
  }
  logger.info({ move: move.name, rows: removed }, "the copied rows are removed");
  await move.lanes.alone(async () => {
    await move.lanes.dropAll();
    await move.setDetails({ problem: null, lanes: {} });
    await move.advance("aborted", { rows: removed }, by);
  });
}

/**
 * `dray close`: releases reader, lanes, log and the watch after COMMITTED. The source's rows and its fence stay; the SQL
 * that would remove them is returned, not run.
 */
export async function closeMove(move: Move, by: string): Promise<readonly string[]> {
  move.require("close");
  // Whoever closes has read the alarms; the journal keeps what they said.
  for (const { code, message, times } of await move.context.alarms.of(move.name)) {
    await move.note("alarm-closed", { code, message, times }, by);
    await move.context.alarms.clear(move.name, code as ErrorCode);
  }
  const sql = lanesOf(move, "forward").flatMap(({ source, store }) => store.pair.removalSql(source));
  await move.lanes.alone(async () => {
    await move.lanes.dropAll();
    await move.setDetails({ problem: null, lanes: {} });
    await move.advance("close", {}, by);
  });
  return sql;
}

/**
 * `dray resolve`: a person has read the routing. `from` is refused where COMMITTED stands or a dray.cutover cannot be
 * read, and inserts ABORTED first; `to` is refused where COMMITTED stands on neither side.
 */
export async function resolveOwner(move: Move, owner: Side, by: string, signal: AbortSignal): Promise<void> {
  const event = owner === "to" ? "resolved-to" : "resolved-from";
  move.require(event);
  const { context } = move;
  const generation = move.details.attempt?.generation ?? context.journal.move.generation;
  const direction = move.details.attempt?.direction ?? move.way;
  const point = commitPoint(move, direction, () => {});
  const sides = await point.readOnce(signal);
  const lives = livesBy(sides.rows);
  const fencing = context.fencing(direction);
  const onRetry = (error: Error) => warn(move, "a fence", error);
  if (owner === destination(direction)) {
    if (lives.side !== owner) throw new DrayError("OWNER_UNPROVEN", { move: move.name, owner, unread: sides.unread });
    await move.setDetails({ targets: acknowledgedIn(sides.rows) });
    const left = lanesOf(move, direction);
    await switchLanes(move, { direction, generation: lives.generation, marks: marksIn(sides.rows, lives.generation) });
    for (const { runtime } of left) {
      await runtime.close(signal);
      runtime.start();
    }
    startCarrying(move);
    await fencing.retire(generation, signal, onRetry);
  } else {
    if (lives.side !== owner) throw new DrayError("ALREADY_COMMITTED", { move: move.name, ...lives });
    if (sides.unread.length > 0)
      throw new DrayError("OWNER_UNPROVEN", { move: move.name, owner, unread: sides.unread });
    const { outcomes } = homeOf(move, direction).pair.sourceControl;
    const homeUuid = (await outcomes.serverIdentity(signal)).uuid;
    const outcome = await point.abort({ generation, homeUuid, facts: { by, direction } }, signal);
    if (outcome === "COMMITTED") throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation });
    await fencing.unfence(generation, signal, onRetry);
    for (const { runtime } of lanesOf(move, direction)) {
      runtime.release();
      runtime.start();
    }
    move.standByAgain();
  }
  await move.setDetails({ problem: null });
  for (const code of ["ROUTE_AMBIGUOUS", "CUTOVER_HELD"] as const) await context.alarms.clear(move.name, code);
  await move.advance(event, { generation, owner }, by);
  move.standBy();
}

async function homeNow(move: Move, signal: AbortSignal): Promise<string> {
  return (await homeOf(move, "forward").pair.sourceControl.outcomes.serverIdentity(signal)).uuid;
}

function warn(move: Move, what: string, error: Error): void {
  move.context.logger.warn({ move: move.name, error: error.message }, `${what} does not answer; tried again`);
}
