import { withBackoff } from "../pipeline/backoff.ts";
import { DrayError, type ErrorCode } from "../pipeline/errors.ts";
import { acknowledgedIn } from "./acknowledged.ts";
import type { CommitPoint } from "./commit-point.ts";
import { destination, type Side } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import { noteVerification } from "./kept-facts.ts";
import type { Move } from "./move.ts";
import { commitPoint, lanesOf, livesBy, requireLivesAt } from "./switch-parts.ts";
import { routingSettled } from "./unrouted.ts";
import { marksIn, startCarrying, switchLanes } from "./way-back.ts";

/**
 * `dray abort`: ends a move before its commit point. The lanes are closed in the target first, so that no attempt of
 * anybody drains any more; then ABORTED for a new generation and for every lower one without an outcome (C1), also those
 * that had drained before; then adapters are unfenced with the new one so that they refuse the lower, and only then are
 * the copied rows removed. Each part may be repeated: a crash goes on from here.
 */
export async function abortMove(move: Move, by: string, signal: AbortSignal): Promise<void> {
  move.require("abort");
  const { context } = move;
  // Killed inside `start`, there may be no dray schema yet, and the outcome needs one.
  if (move.lanes.all.length === 0) await context.install(signal);
  const point = commitPoint(move, "forward", (side, error) => warn(move, `dray.cutover of the ${side}`, error));
  const fencing = context.fencing("forward");
  await move.advance("abort", { generation: (await raise(move, point, fencing, signal)).generation }, by);
  await move.lanes.stop("the move is aborted");
  await closeLanes(move, signal);
  // Asked again: an attempt that had drained by then is known by its fence, if by nothing else.
  const { generation, outcomes } = await raise(move, point, fencing, signal);
  await point.settle(generation, outcomes, { by }, signal);
  await context.probe("abort.after-outcome");
  await fencing.unfence(generation, signal, (error) => warn(move, "a fence", error));
  await removeCopied(move, by, signal);
}

/** A generation above all that is known. ALREADY_COMMITTED where one of them has committed. */
async function raise(move: Move, point: CommitPoint, fencing: Fencing, signal: AbortSignal) {
  const outcomes = await point.read(signal);
  requireLivesAt(move, "from", outcomes);
  const highest = Math.max(0, ...outcomes.keys(), await fencing.highestGeneration(signal));
  return { outcomes, generation: await move.context.journal.raiseGeneration(highest) };
}

async function closeLanes(move: Move, signal: AbortSignal): Promise<void> {
  const { clock } = move.context;
  const onRetry = (error: Error) => warn(move, "the target", error);
  for (const { source, store } of lanesOf(move, "forward")) {
    await withBackoff(() => store.pair.targetControl.closeLane(source.lane, signal), { signal, onRetry, clock });
    await move.context.probe("abort.after-close");
  }
}

/** Goes on with an abort that a crash cut short; its outcomes are written again, which changes nothing. */
export async function recoverAbort(move: Move, signal: AbortSignal): Promise<void> {
  await move.lanes.load();
  await abortMove(move, "server", signal);
}

async function removeCopied(move: Move, by: string, signal: AbortSignal): Promise<void> {
  const { clock, logger } = move.context;
  let removed = 0;
  for (const { source, store } of lanesOf(move, "forward")) {
    const onRetry = (error: Error) => warn(move, "the target", error);
    const onRows = (_table: string, rows: number) => {
      removed += rows;
    };
    await withBackoff(() => store.pair.removeRows(source, { onBatch: onRows }, signal), { signal, onRetry, clock });
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
  await closeAlarms(move, by);
  await noteVerification(move, by);
  const sql = lanesOf(move, "forward").flatMap(({ source, store }) => store.pair.removalSql(source));
  await move.lanes.alone(async () => {
    await move.lanes.dropAll();
    await move.setDetails({ problem: null, lanes: {} });
    await move.advance("close", {}, by);
  });
  return sql;
}

/** Whoever ends a move has read its alarms; the journal keeps what they said. */
export async function closeAlarms(move: Move, by: string): Promise<void> {
  for (const { code, message, times } of await move.context.alarms.of(move.name)) {
    await move.note("alarm-closed", { code, message, times }, by);
    await move.context.alarms.clear(move.name, code as ErrorCode);
  }
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
    await move.setDetails({ targets: acknowledgedIn(sides.rows, lives.generation) });
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
    const homeUuid = move.details.attempt?.homeUuid ?? null;
    const outcome = await point.abort({ generation, homeUuid, facts: { by, direction } }, signal);
    if (outcome === "COMMITTED") throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation });
    await fencing.unfence(generation, signal, onRetry);
    for (const { runtime } of lanesOf(move, direction)) {
      runtime.release();
      runtime.start();
    }
  }
  await routingSettled(move, event, { generation, owner }, by);
  // Behind an attempt that was given up, those that stood by may have begun at its mark.
  if (owner === destination(direction)) move.standBy();
  else move.standByAgain();
}

function warn(move: Move, what: string, error: Error): void {
  move.context.logger.warn({ move: move.name, error: error.message }, `${what} does not answer; tried again`);
}
