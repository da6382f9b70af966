import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import type { KeyBytes } from "../pipeline/entry.ts";
import { DrayError } from "../pipeline/errors.ts";
import { keyText } from "../pipeline/key-text.ts";
import type { RowsToSpare } from "../sinks/sink.ts";
import type { FinishNote, LeftRow } from "./finish-note.ts";
import { noteVerification } from "./kept-facts.ts";
import type { Move } from "./move.ts";
import { closeAlarms } from "./move-end.ts";
import type { LaneNote, OpenLane } from "./move-lanes.ts";
import { differing, extraRows, laneVerification } from "./verification.ts";

const LOOK_MS = 100;
/** The watch of the source must answer in this time before rows are locked, and while they are. */
const READY_MS = 40;
const CONFIRM_MS = 75;
const SAVE_EVERY_MS = 1_000;

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

/** False: they differ, or cannot be compared, and nothing was removed. Rows that only the source has are to be left. */
async function compareOnceMore(move: Move, signal: AbortSignal): Promise<boolean> {
  const { accepted } = noteOf(move);
  const lanes = move.lanes.active;
  const problem = await compareAll(move, lanes, signal);
  if (problem !== null && !accepted) {
    await progress(move, { stage: "refused", reason: problem });
    await move.advance("finish-refused", { reason: problem }, "server");
    return false;
  }
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

async function compareAll(move: Move, lanes: readonly OpenLane[], signal: AbortSignal): Promise<string | null> {
  for (const { runtime } of lanes) runtime.verification.ask(null);
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
  return differences === 0 ? null : `${differences} rows differ between the sides; see \`dray verify ${move.name}\``;
}

async function removeSource(move: Move, signal: AbortSignal): Promise<void> {
  const { context } = move;
  const onRetry = (error: Error) => {
    context.logger.warn({ move: move.name, error: error.message }, "the removal of the source's rows is tried again");
    void progress(move, { reason: `waiting: ${reasonOf(error)}` });
  };
  const lanes = move.lanes.with("closed");
  for (const { runtime, source, store } of lanes) {
    await runtime.stop("the move is finished");
    await withBackoff(() => store.pair.targetControl.closeLane(source.lane, signal), { signal, onRetry });
  }
  await context.probe("finish.after-close");
  const left: string[] = [];
  for (const lane of lanes) left.push(...(await removeLane(move, lane, onRetry, signal)));
  await context.probe("finish.after-removal");
  await progress(move, { stage: "dropping", left, reason: null });
}

/** A lane back has the source as its target. */
function idAtSource({ source, store }: OpenLane, table: string): string {
  const covered = source.tables.find(({ id }) => id === table);
  return covered === undefined ? table : store.pair.idAtTarget(covered);
}

/** The rows that stay, by table and key. */
async function removeLane(
  move: Move,
  lane: OpenLane,
  onRetry: (error: Error) => void,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { source, store } = lane;
  const { clock } = move.context;
  const idOf = (table: string) => idAtSource(lane, table);
  const left = new Map<string, readonly string[]>();
  const removed: Record<string, number> = { ...noteOf(move).removed };
  let savedMs = clock.monotonicMs();
  const onBatch = (table: string, rows: number) => {
    removed[idOf(table)] = (removed[idOf(table)] ?? 0) + rows;
    if (clock.monotonicMs() - savedMs < SAVE_EVERY_MS) return;
    savedMs = clock.monotonicMs();
    void progress(move, { removed: { ...removed }, reason: null });
  };
  const onLeft = (table: string, keys: readonly string[]) => {
    const name = (text: string) => store.pair.describeKey(source, { table, key: Buffer.from(text, "latin1") });
    left.set(
      table,
      keys.map((text) => `${idOf(table)} ${name(text)}`),
    );
  };
  const spare = spareOf(move, store.definition.name, idOf);
  await withBackoff(() => store.pair.removeRows(source, { onBatch, onLeft, spare }, signal), { signal, onRetry });
  await progress(move, { removed, reason: null });
  return [...left.values()].flat();
}

/** What was written at the source behind the fence: found by the last comparison, or seen by the watch until now. */
function spareOf(move: Move, store: string, idOf: (table: string) => string): RowsToSpare {
  const watched = move.lanes.with("watched").filter((lane) => lane.store.definition.name === store);
  let of: object = {};
  let byTable = new Map<string, Set<string>>();
  const known = () => {
    const { strays, finish } = move.details;
    if (of === strays) return byTable;
    of = strays;
    byTable = new Map();
    const seen = strays.filter(({ lane }) => watched.some(({ source }) => source.lane === lane));
    for (const { table, key } of [...seen, ...(finish?.extra ?? [])]) {
      const keys = byTable.get(table) ?? new Set<string>();
      byTable.set(table, keys.add(keyText(Buffer.from(key, "base64") as KeyBytes)));
    }
    return byTable;
  };
  const echo = async (withinMs: number, signal: AbortSignal) => {
    const within = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
    await Promise.all(watched.map(({ runtime }) => runtime.echo(within)));
  };
  const behind = (withinMs: number) => (error: unknown) => {
    throw new DrayError("SOURCE_WATCH_BEHIND", { move: move.name, withinMs, error: reasonOf(error) });
  };
  return {
    known: (table) => known().get(idOf(table)) ?? new Set(),
    ready: async (signal) => {
      const { clock } = move.context;
      const onRetry = () => {};
      await withBackoff(() => echo(READY_MS, signal).catch(behind(READY_MS)), { signal, onRetry, maxMs: 500, clock });
    },
    confirm: (signal) => echo(CONFIRM_MS, signal).catch(behind(CONFIRM_MS)),
  };
}

async function dropAll(move: Move, signal: AbortSignal): Promise<void> {
  const { context } = move;
  const onRetry = (error: Error) =>
    context.logger.warn({ move: move.name, error: error.message }, "the move's traces are removed again");
  await closeAlarms(move, noteOf(move).by);
  await move.lanes.alone(async () => {
    await move.lanes.dropAll();
    await move.setDetails({ lanes: {}, problem: null });
  });
  await context.probe("finish.after-drop");
  for (const { definition, pair } of context.stores.forward)
    await withBackoff(() => pair.forget(move.name, definition.name, signal), { signal, onRetry });
  const { removed, left, by } = noteOf(move);
  await progress(move, { stage: "done" });
  await move.advance("finished", { removed, left }, by);
}
