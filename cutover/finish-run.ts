import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import type { KeyBytes } from "../pipeline/entry.ts";
import { DrayError } from "../pipeline/errors.ts";
import { keyText } from "../pipeline/key-text.ts";
import { MOST_DIFFERENCES } from "../pipeline/verify/verified-table.ts";
import type { FinishNote, LeftRow } from "./finish-note.ts";
import { noteVerification } from "./kept-facts.ts";
import type { Move } from "./move.ts";
import { closeAlarms } from "./move-end.ts";
import type { LaneNote, LaneRole, OpenLane } from "./move-lanes.ts";
import { SourceWatch, type WatchedLane } from "./source-watch.ts";
import { storesWithoutLane } from "./switch-parts.ts";
import { differing, extraRows, laneVerification, overflowing } from "./verification.ts";

const LOOK_MS = 100;
const SAVE_EVERY_MS = 1_000;
/** More rows that stay are counted, and not named. */
const MOST_NAMED = 1_000;

/**
 * What `dray finish` has begun, from wherever it stands: the sides are compared once more, the lanes back are closed, the
 * tenant's rows are removed at the source, and all that Drayage keeps of the move is dropped on all sides. Each stage may
 * be repeated; a crash goes on in the one it was in.
 */
export async function runFinish(move: Move, signal: AbortSignal): Promise<void> {
  if (noteOf(move).stage === "comparing" && !(await compareOnceMore(move, signal))) return;
  if (noteOf(move).stage === "removing") await removeSource(move, signal);
  await dropAll(move, signal);
}

function noteOf(move: Move): FinishNote {
  const note = move.details.finish;
  if (note === null) throw new Error(`${move.name} is finishing, and nobody has asked for it`);
  return note;
}

async function progress(move: Move, change: Partial<FinishNote>): Promise<void> {
  await move.setDetails(({ finish }) => (finish === null ? {} : { finish: { ...finish, ...change } }));
}

/** For status alone: what is not kept, as on a full disk, holds nothing up. */
function tell(move: Move, change: Partial<FinishNote>): void {
  const { logger } = move.context;
  progress(move, change).catch((error: unknown) => {
    logger.warn({ move: move.name, error: reasonOf(error) }, "how far the finish is could not be kept");
  });
}

/** False: they differ, or cannot be compared, and nothing was removed. Rows that only the source has are to be left. */
async function compareOnceMore(move: Move, signal: AbortSignal): Promise<boolean> {
  const { accepted } = noteOf(move);
  const lanes = move.lanes.active;
  const missing = missingLanes(move, "active");
  if (missing !== null) return await refuse(move, reasonOf(missing));
  const problem = await compareAll(move, lanes, signal);
  if (problem !== null && !accepted) return await refuse(move, problem);
  // Rows that only the source has are left: nobody can answer for not knowing which they are.
  const beyond = lanes.flatMap(overflowing);
  if (beyond.length > 0)
    return await refuse(move, `more than ${MOST_DIFFERENCES} rows differ between the sides: ${beyond.join(", ")}`);
  await move.context.probe("finish.after-compare");
  await noteVerification(move, noteOf(move).by);
  const extra = lanes.flatMap((lane) =>
    extraRows(lane).map(
      ({ table, key }): LeftRow => ({ table: idAtSource(lane, table), key: Buffer.from(key).toString("base64") }),
    ),
  );
  // From here on nothing of the new home is carried back: what is compared is what is removed.
  const closed = Object.fromEntries(
    lanes.map(({ source }) => [source.lane, { role: "closed", begins: null } satisfies LaneNote]),
  );
  await move.setDetails(({ finish, lanes: notes }) => ({
    lanes: { ...notes, ...closed },
    finish: finish === null ? null : { ...finish, stage: "removing" as const, extra, reason: problem },
  }));
  await move.note("finish-compared", { extra: extra.length, problem }, "server");
  return true;
}

async function refuse(move: Move, reason: string): Promise<false> {
  await progress(move, { stage: "refused", reason });
  await move.advance("finish-refused", { reason }, "server");
  return false;
}

/** A store whose rows are neither compared nor watched would count as finished, with all its rows. */
function missingLanes(move: Move, back: LaneRole): DrayError | null {
  const without = [...storesWithoutLane(move, "reverse", back), ...storesWithoutLane(move, "forward", "watched")];
  if (without.length === 0) return null;
  return new DrayError("FINISH_WITHOUT_LANES", { move: move.name, stores: [...new Set(without)] });
}

async function compareAll(move: Move, lanes: readonly OpenLane[], signal: AbortSignal): Promise<string | null> {
  for (const { runtime } of lanes) await runtime.verification.ask(null);
  for (;;) {
    for (const { runtime, source } of lanes) {
      const { stopped } = runtime.state();
      const error = stopped.capture ?? stopped.apply;
      if (error !== undefined) return `${source.lane} has stopped: ${reasonOf(error)}`;
    }
    const known = lanes.map(laneVerification);
    if (known.every(({ covered, passUnderWay }) => covered && !passUnderWay)) break;
    await move.context.clock.sleep(LOOK_MS, signal);
  }
  const differences = lanes.reduce((sum, lane) => sum + differing(lane), 0);
  const more = lanes.some((lane) => overflowing(lane).length > 0) ? "more than " : "";
  return differences === 0
    ? null
    : `${more}${differences} rows differ between the sides; see \`dray verify ${move.name}\``;
}

async function removeSource(move: Move, signal: AbortSignal): Promise<void> {
  const { context } = move;
  const onRetry = (error: Error) => {
    context.logger.warn({ move: move.name, error: error.message }, "the removal of the source's rows is tried again");
    tell(move, { reason: `waiting: ${reasonOf(error)}` });
  };
  const missing = missingLanes(move, "closed");
  if (missing !== null) {
    await progress(move, { reason: reasonOf(missing) });
    throw missing;
  }
  const lanes = move.lanes.with("closed");
  for (const { runtime, source, store } of lanes) {
    await runtime.stop("the move is finished");
    await withBackoff(() => store.pair.targetControl.closeLane(source.lane, signal), { signal, onRetry });
  }
  await context.probe("finish.after-close");
  const left: Left[] = [];
  for (const lane of lanes) left.push(...(await removeLane(move, lane, onRetry, signal)));
  await context.probe("finish.after-removal");
  const named = left.flatMap(({ table, keys }) => keys.map((key) => `${table} ${key}`)).slice(0, MOST_NAMED);
  const rowsLeft = Object.fromEntries(left.map(({ table, rows }) => [table, rows]));
  await progress(move, { stage: "dropping", left: named, rowsLeft, reason: null });
}

/** A lane back has the source as its target. */
function idAtSource({ source, store }: OpenLane, table: string): string {
  const covered = source.tables.find(({ id }) => id === table);
  return covered === undefined ? table : store.pair.idAtTarget(covered);
}

/** Of a table of the source: how many rows stay, and the first of their keys. */
type Left = { readonly table: string; readonly rows: number; readonly keys: readonly string[] };

async function removeLane(
  move: Move,
  lane: OpenLane,
  onRetry: (error: Error) => void,
  signal: AbortSignal,
): Promise<readonly Left[]> {
  const { source, store } = lane;
  const { clock } = move.context;
  const idOf = (table: string) => idAtSource(lane, table);
  const left = new Map<string, Left>();
  const removed: Record<string, number> = { ...noteOf(move).removed };
  let savedMs = clock.monotonicMs();
  const onBatch = (table: string, rows: number) => {
    removed[idOf(table)] = (removed[idOf(table)] ?? 0) + rows;
    if (clock.monotonicMs() - savedMs < SAVE_EVERY_MS) return;
    savedMs = clock.monotonicMs();
    tell(move, { removed: { ...removed }, reason: null });
  };
  const onLeft = (table: string, keys: readonly string[]) => {
    const name = (text: string) => store.pair.describeKey(source, { table, key: Buffer.from(text, "latin1") });
    if (keys.length === 0) return;
    left.set(table, { table: idOf(table), rows: keys.length, keys: keys.slice(0, MOST_NAMED).map(name) });
  };
  const spare = spareOf(move, store.definition.name, idOf);
  await withBackoff(() => store.pair.removeRows(source, { onBatch, onLeft, spare }, signal), { signal, onRetry });
  await progress(move, { removed, reason: null });
  return [...left.values()];
}

/** What was written at the source behind the fence: found by the last comparison, or seen by the watch until now. */
function spareOf(move: Move, store: string, idOf: (table: string) => string): SourceWatch {
  const { clock } = move.context;
  const lanes = watchedLanes(move, store);
  const names = new Set(lanes.map(({ lane }) => lane));
  let version = -1;
  let byTable = new Map<string, Set<string>>();
  const known = () => {
    if (version === move.strayMemory.version) return byTable;
    version = move.strayMemory.version;
    byTable = new Map();
    const seen = move.strayMemory.rows.filter(({ lane }) => names.has(lane));
    for (const { table, key } of [...seen, ...noteOf(move).extra]) {
      const keys = byTable.get(table) ?? new Set<string>();
      byTable.set(table, keys.add(keyText(Buffer.from(key, "base64") as KeyBytes)));
    }
    return byTable;
  };
  return new SourceWatch({
    move: move.name,
    lanes,
    clock,
    known: (table) => known().get(idOf(table)) ?? new Set(),
    missedBy: () => [...names].find((lane) => !move.strayMemory.isWhole(lane)) ?? null,
    onWaiting: (reason) => tell(move, { reason: reason === null ? null : `waiting: ${reason}` }),
  });
}

function watchedLanes(move: Move, store: string): readonly WatchedLane[] {
  return move.lanes
    .with("watched")
    .filter((lane) => lane.store.definition.name === store)
    .map(({ source, runtime }) => ({
      lane: source.lane,
      echo: (signal) => runtime.echo(signal),
      stopped: () => runtime.state().stopped.capture,
      start: () => runtime.start(),
    }));
}

async function dropAll(move: Move, signal: AbortSignal): Promise<void> {
  const { context } = move;
  const onRetry = (error: Error) => {
    context.logger.warn({ move: move.name, error: error.message }, "the move's traces are removed again");
    tell(move, { reason: `waiting: ${reasonOf(error)}` });
  };
  await closeAlarms(move, noteOf(move).by);
  await move.lanes.alone(async () => {
    await move.lanes.dropAll();
    await move.setDetails({ lanes: {}, problem: null });
  });
  await context.probe("finish.after-drop");
  for (const { definition, pair } of context.stores.forward)
    await withBackoff(() => pair.forget(move.name, definition.name, signal), { signal, onRetry });
  const { removed, left, rowsLeft, by } = noteOf(move);
  await progress(move, { stage: "done", reason: null });
  await move.advance("finished", { removed, left, rowsLeft }, by);
}
