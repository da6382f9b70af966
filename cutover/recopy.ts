import { withBackoff } from "../pipeline/backoff.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import type { JsonObject } from "./control-store.ts";
import { generationOf } from "./direction.ts";
import type { LostBody } from "./lane/lost-body.ts";
import type { Move } from "./move.ts";
import type { OpenLane } from "./move-lanes.ts";
import { RUNNING } from "./phases.ts";

/** Tables to be copied again whose new start mark is not known to stand in the log yet. */
export type Recopying = { readonly lane: string; readonly tables: readonly string[]; readonly by: string };

/** A table's copy began anew at this seq: what the log holds of it before that is needed no more. */
export type Recopied = {
  readonly lane: string;
  readonly table: string;
  readonly sinceSeq: number;
  /** server: to make up for a lost body, which it does once. */
  readonly by: string;
};

const SERVER = "server";
const WAIT_MS = 100;

/** One table is copied again inside its lane (W4). Resolves once that is durable: a crash before goes on from here. */
export async function recopyTable(move: Move, table: string, by: string, signal: AbortSignal): Promise<void> {
  const chosen = move.lanes.active.find(({ source }) => source.tables.some(({ id }) => id === table));
  if (chosen === undefined) throw new DrayError("TABLE_UNKNOWN", { table });
  if ("capture" in chosen.runtime.state().stopped) throw new DrayError("RECOPY_NEEDS_CAPTURE", { table });
  const recopying = { lane: chosen.source.lane, tables: [table], by };
  await intend(move, recopying, { table });
  await move.solved();
  // An applier that a foreign row had stopped goes on where it stood, before it gets to the new chunks.
  chosen.runtime.start();
  await carryOut(move, chosen, recopying, signal);
}

/**
 * Every table is copied again by a new lane from a new start, with the definitions of now. Resolves once that lane runs;
 * where this process ends before, the next one goes on with it.
 */
export async function recopyAll(move: Move, by: string, signal: AbortSignal): Promise<void> {
  const generation = await move.context.journal.raiseGeneration(0);
  await move.advance("recopy", { generation }, by, { recopyingAll: generation });
  await move.context.probe("recopy.all-journalled");
  await orFail(move, () => replaceLanes(move, signal), signal);
}

/** What a crash cut short; its servers may have gone with it, and are waited for. */
export async function goOnCopyingAll(move: Move, signal: AbortSignal): Promise<void> {
  const { logger } = move.context;
  const onRetry = (error: Error) => logger.warn({ move: move.name, error: error.message }, "recopy, once more");
  await orFail(move, () => withBackoff(() => replaceLanes(move, signal), { signal, onRetry }), signal);
}

async function orFail(move: Move, work: () => Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    await work();
  } catch (error) {
    signal.throwIfAborted();
    await move.setDetails({ recopyingAll: null });
    await move.failed(error);
    throw error;
  }
}

/** May be repeated: lanes of the noted generation are what is wanted, and all others that carry are replaced. */
async function replaceLanes(move: Move, signal: AbortSignal): Promise<void> {
  const { lanes, context } = move;
  await lanes.alone(async () => {
    const generation = move.details.recopyingAll;
    // The move was ended meanwhile.
    if (generation === null || !move.allows("recopy")) return;
    // Stopped first: an applier that meets its lane closed would call the move failed.
    await lanes.stop("every table is copied again");
    const former = lanes.active.filter(({ source }) => generationOf(source.lane) !== generation);
    for (const { store, source } of former) await store.pair.targetControl.closeLane(source.lane, signal);
    await context.probe("recopy.after-close");
    await lanes.create(move.way, generation, { firstPass: generation }, signal, former);
    await context.probe("recopy.after-replace");
    await move.solved();
    await move.setDetails({ skipped: [], recopying: [], recopied: [], recopyingAll: null });
    await lanes.open();
    lanes.start();
    if (move.phase === "paused") for (const runtime of lanes.runtimes) runtime.pause("paused by an operator");
  });
}

/** The step that a crash kept from the journal; before anybody may ask for another. */
export async function journalRecopies(move: Move): Promise<void> {
  // A cutover was quicker than the server: what made it want a recopy will come again.
  if (move.phase === "cutting-over" && move.details.recopying.length > 0) await move.setDetails({ recopying: [] });
  if (move.phase !== "streaming") return;
  for (const { tables, by } of move.details.recopying) await move.advance("recopy", { tables, resumed: true }, by);
}

/** What a crash, or a capture that stopped, cut short before the new start mark. Called before the lanes start. */
export function resumeRecopies(move: Move, signal: AbortSignal): readonly Promise<void>[] {
  if (!move.allows("recopy")) return [];
  return move.details.recopying.flatMap((recopying) => {
    const lane = move.lanes.active.find(({ source }) => source.lane === recopying.lane);
    return lane === undefined ? [] : [carryOut(move, lane, recopying, signal)];
  });
}

/**
 * L6: a body is gone or damaged, so what it held is read again at the source: its tables are copied anew. Resolves with
 * the seq below which the log's chunks of each table are needed no more. Once a table: the error itself where the server
 * has copied it again already, or cannot.
 */
export async function makeUpFor(
  move: Move,
  lane: OpenLane,
  loss: LostBody,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const { seq, tables, error } = loss;
  for (;;) {
    signal.throwIfAborted();
    const known = move.details.recopied.filter((each) => each.lane === lane.source.lane);
    const since = new Map(known.map(({ table, sinceSeq }) => [table, sinceSeq]));
    const missing = tables.filter((table) => (since.get(table) ?? 0) <= seq);
    if (missing.length === 0) return since;
    if ("capture" in lane.runtime.state().stopped || !RUNNING.has(move.phase)) throw error;
    const isUnderWay = move.details.recopying.some((each) => each.tables.some((table) => missing.includes(table)));
    if (!isUnderWay && known.some(({ table, by }) => by === SERVER && missing.includes(table))) throw error;
    // An attempt that waits for this lane ends at its deadline, and the move streams again.
    if (isUnderWay || !move.allows("recopy")) await move.context.clock.sleep(WAIT_MS, signal);
    else {
      const recopying = { lane: lane.source.lane, tables: missing, by: SERVER };
      const facts = { lane: recopying.lane, seq, tables: missing, because: error.code };
      if (await intended(move, recopying, facts)) await carryOut(move, lane, recopying, signal);
    }
  }
}

/** Durable before the journal's step, so that the step is never without what it announces. */
async function intend(move: Move, recopying: Recopying, facts: JsonObject): Promise<void> {
  const { probe } = move.context;
  await move.setDetails((now) => ({ recopying: [...now.recopying, recopying] }));
  await probe("recopy.intended", { by: recopying.by });
  try {
    await move.advance("recopy", facts, recopying.by);
  } catch (error) {
    await move.setDetails((now) => ({ recopying: without(now.recopying, recopying) }));
    throw error;
  }
  await probe("recopy.journalled");
}

/** False: a cutover was quicker. */
async function intended(move: Move, recopying: Recopying, facts: JsonObject): Promise<boolean> {
  try {
    await intend(move, recopying, facts);
    return true;
  } catch (error) {
    if (isDrayError(error, "ILLEGAL_STEP")) return false;
    throw error;
  }
}

async function carryOut(
  move: Move,
  { source, runtime }: OpenLane,
  recopying: Recopying,
  signal: AbortSignal,
): Promise<void> {
  const { logger } = move.context;
  const { tables, by } = recopying;
  const onRetry = (error: Error) => logger.warn({ move: move.name, tables, error: error.message }, "recopy, once more");
  const sinceSeq = await withBackoff(() => runtime.recopy(tables), { signal, onRetry });
  await move.context.probe("recopy.after-start-mark");
  const isAgain = (lane: string, table: string) => lane === source.lane && tables.includes(table);
  await move.setDetails(({ skipped, recopied, recopying: underWay }) => ({
    // A8: only now is it durable that the tables' skipped rows will come again.
    skipped: skipped.map((each) => ({ ...each, tables: each.tables.filter((open) => !isAgain(each.lane, open)) })),
    recopied: [
      ...recopied.filter(({ lane, table }) => !isAgain(lane, table)),
      ...tables.map((table) => ({ lane: source.lane, table, sinceSeq, by })),
    ],
    recopying: without(underWay, recopying),
  }));
}

/** Less what has been done with this one. */
function without(all: readonly Recopying[], { lane, tables }: Recopying): readonly Recopying[] {
  return all.filter((each) => each.lane !== lane || !each.tables.every((table) => tables.includes(table)));
}
