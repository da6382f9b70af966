import { withBackoff } from "../pipeline/backoff.ts";
import { DrayError, type ErrorCode } from "../pipeline/errors.ts";
import { acknowledgedIn } from "./acknowledged.ts";
import { commitPoint, refuseCommitted } from "./cutover-run.ts";
import type { Move } from "./move.ts";

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
  const point = commitPoint(move, (side, error) => warn(move, `dray.cutover of the ${side}`, error));
  const outcomes = await point.read(signal);
  refuseCommitted(move, outcomes);
  const fencing = context.fencing();
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
  await move.lanes.load("watching");
  await abortMove(move, "server", signal);
}

async function removeCopied(move: Move, by: string, signal: AbortSignal): Promise<void> {
  const { probe, logger } = move.context;
  let removed = 0;
  for (const { source, store } of move.lanes.all) {
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
  await move.lanes.drop();
  await move.setDetails({ problem: null });
  await move.advance("aborted", { rows: removed }, by);
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
  const sql = move.lanes.all.flatMap(({ source, store }) => store.pair.removalSql(source));
  await move.lanes.drop();
  await move.setDetails({ problem: null });
  await move.advance("close", {}, by);
  return sql;
}

/**
 * `dray resolve`: a person has read the routing. `from` is refused where COMMITTED stands or a dray.cutover cannot be
 * read, and inserts ABORTED first; `to` is refused where COMMITTED stands on neither side.
 */
export async function resolveOwner(move: Move, owner: "from" | "to", by: string, signal: AbortSignal): Promise<void> {
  const event = owner === "to" ? "resolved-to" : "resolved-from";
  move.require(event);
  const { context } = move;
  const generation = move.details.attempt?.generation ?? context.journal.move.generation;
  const point = commitPoint(move, () => {});
  const sides = await point.readOnce(signal);
  const committed = [...sides.rows.values()].some(
    ({ home, target }) => home?.outcome === "COMMITTED" || target?.outcome === "COMMITTED",
  );
  if (owner === "to") {
    if (!committed) throw new DrayError("OWNER_UNPROVEN", { move: move.name, owner, unread: sides.unread });
    await move.setDetails({ targets: acknowledgedIn(sides.rows) });
    for (const { runtime } of move.lanes.all) {
      await runtime.close(signal);
      runtime.start();
    }
    await context.fencing().retire(generation, signal, (error) => warn(move, "a fence", error));
  } else {
    if (committed) throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation });
    if (sides.unread.length > 0)
      throw new DrayError("OWNER_UNPROVEN", { move: move.name, owner, unread: sides.unread });
    const outcome = await point.abort({ generation, homeUuid: await homeNow(move, signal), facts: { by } }, signal);
    if (outcome === "COMMITTED") throw new DrayError("ALREADY_COMMITTED", { move: move.name, generation });
    await context.fencing().unfence(generation, signal, (error) => warn(move, "a fence", error));
    for (const { runtime } of move.lanes.all) {
      runtime.release();
      runtime.start();
    }
  }
  await move.setDetails({ problem: null });
  for (const code of ["ROUTE_AMBIGUOUS", "CUTOVER_HELD"] as const) await context.alarms.clear(move.name, code);
  await move.advance(event, { generation, owner }, by);
}

async function homeNow(move: Move, signal: AbortSignal): Promise<string> {
  const [home] = move.context.stores;
  if (home === undefined) throw new Error(`${move.name} has no store`);
  return (await home.pair.sourceControl.outcomes.serverIdentity(signal)).uuid;
}

function warn(move: Move, what: string, error: Error): void {
  move.context.logger.warn({ move: move.name, error: error.message }, `${what} does not answer; tried again`);
}
