import { DrayError } from "../pipeline/errors.ts";
import type { Difference, VerifiedTable } from "../pipeline/verify/verified-table.ts";
import { sidesOf } from "./direction.ts";
import type { Move } from "./move.ts";
import type { OpenLane } from "./move-lanes.ts";
import type { DifferenceReport, TableVerification, VerificationReport, VerificationStatus } from "./move-service.ts";
import { recopyTable } from "./recopy.ts";

/** A comparison of all dirty keys that takes longer has a reason that status names. */
const COMPARE_TIMEOUT_MS = 60_000;

/** What is known of one lane, in numbers. */
export function laneVerification({ runtime }: OpenLane): VerificationStatus {
  const { tables } = runtime.verification.state;
  const copied = new Map(runtime.state().coverage?.tables.map(({ table, rows }) => [table, rows]));
  const each = tables.map((table) => tableVerification(table, copied.get(table.id) ?? 0));
  return {
    covered: each.every(({ covered }) => covered),
    coverage: share(each),
    rowsVerified: sum(each, ({ rowsVerified }) => rowsVerified),
    dirtyKeys: sum(each, ({ dirtyKeys }) => dirtyKeys),
    differences: sum(each, ({ differences }) => differences),
    moreDiffer: each.some(({ moreDiffer }) => moreDiffer),
    passUnderWay: each.some(({ passUnderWay }) => passUnderWay),
    rowsCompared: runtime.verification.rowsCompared,
    tables: each,
  };
}

/** Rows that are missing or different at the lane's target. */
export function differing({ runtime }: OpenLane): number {
  const { tables } = runtime.verification.state;
  return sum(tables, ({ differences }) => differences.filter(({ kind }) => kind !== "extra").length);
}

/** Tables of which more rows differ than are kept by name: which they are, and of what kind, nobody knows. */
export function overflowing({ runtime }: OpenLane): readonly string[] {
  return runtime.verification.state.tables.filter(({ overflows }) => overflows).map(({ id }) => id);
}

/** Rows that only the lane's target has. */
export function extraRows({ runtime }: OpenLane): readonly { readonly table: string; readonly key: Uint8Array }[] {
  return runtime.verification.state.tables.flatMap(({ id, differences }) =>
    differences.filter(({ kind }) => kind === "extra").map(({ key }) => ({ table: id, key })),
  );
}

/** One line for people, and for every answer about the move. */
export function verificationWords(move: Move): string {
  const { accepted } = move.details;
  const known = move.lanes.active.map((lane) => laneVerification(lane));
  const words = known.length === 0 ? "not running" : inWords(known);
  return accepted === null ? words : `${words}; UNVERIFIED, accepted by ${accepted.by} (${accepted.what})`;
}

function inWords(known: readonly VerificationStatus[]): string {
  const differences = sum(known, (each) => each.differences);
  const dirty = sum(known, ({ dirtyKeys }) => dirtyKeys);
  const rows = sum(known, ({ rowsVerified }) => rowsVerified);
  const covered = known.every((each) => each.covered);
  const percent = covered ? 100 : Math.min(99, Math.floor(100 * Math.min(...known.map(({ coverage }) => coverage))));
  const more = known.some(({ moreDiffer }) => moreDiffer) ? "more than " : "";
  return `${percent}% verified (${rows} rows), ${dirty} dirty keys, ${more}${differences} differences`;
}

/** Everything compared again from end to end; what was known stands until then. */
export async function askForPass(move: Move, table: string | null, by: string): Promise<void> {
  const lanes = move.lanes.active;
  if (lanes.length === 0) throw nothing(move);
  const known = lanes.flatMap(({ source }) => source.tables.map(({ id }) => id));
  if (table !== null && !known.includes(table)) throw new DrayError("TABLE_UNKNOWN", { table, known });
  await move.note("verify", { table }, by);
  for (const { runtime } of lanes) await runtime.verification.ask(table === null ? null : [table]);
}

/**
 * V3: each range that holds an open difference is copied again. A table in which stale rows can stand in each other's way
 * is copied again as a whole, as W4 says.
 */
export async function repairDifferences(
  move: Move,
  by: string,
  signal: AbortSignal,
): Promise<{ readonly ranges: number; readonly tables: readonly string[] }> {
  let ranges = 0;
  const tables: string[] = [];
  for (const lane of verifiedLanes(move)) {
    for (const table of lane.runtime.verification.state.tables) {
      const keys = table.differences.map(({ key }) => key);
      if (keys.length === 0) continue;
      // What was known of it before would let the repair wait for a capture that nobody starts again.
      if ("capture" in lane.runtime.state().stopped) throw new DrayError("RECOPY_NEEDS_CAPTURE", { table: table.id });
      await move.note("verify-repair", { table: table.id, differences: keys.length }, by);
      const how = await inTime(move, table.id, signal, async (within) => {
        if (await lane.runtime.meetsStaleRows(table.id, within)) return "as a whole";
        return await lane.runtime.verification.repair(table.id, keys, within);
      });
      if (how === "as a whole") {
        await recopyTable(move, table.id, by, signal);
        tables.push(table.id);
      } else ranges += how;
    }
  }
  return { ranges, tables };
}

/** Whoever asks holds the move: nothing else can be done about what it waits for before this has ended. */
async function inTime<T>(
  move: Move,
  table: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { repairPatienceMs } = move.context.settings;
  const patience = AbortSignal.timeout(repairPatienceMs);
  try {
    return await work(AbortSignal.any([signal, patience]));
  } catch (error) {
    signal.throwIfAborted();
    throw patience.aborted ? new DrayError("REPAIR_WAITS", { table, waitedMs: repairPatienceMs }, error) : error;
  }
}

/** With values the rows are compared anew, so that both sides are of one place of the log. */
export async function verificationReport(
  move: Move,
  options: { readonly showValues: boolean },
  signal: AbortSignal,
): Promise<VerificationReport> {
  const differences: DifferenceReport[] = [];
  const lanes = verifiedLanes(move);
  for (const lane of lanes) {
    const { source, store, runtime } = lane;
    const timeout = AbortSignal.any([signal, AbortSignal.timeout(COMPARE_TIMEOUT_MS)]);
    const shown = options.showValues ? await runtime.verification.showDifferences(timeout) : new Map();
    for (const table of runtime.verification.state.tables) {
      for (const difference of table.differences) {
        const row = (shown.get(table.id) ?? []).find((each: { key: Uint8Array }) => same(each.key, difference.key));
        const values = row === undefined ? null : store.pair.describeDifference(source, table.id, row);
        const sides = sidesOf(source.lane, move.context.journal.move);
        differences.push({ ...differenceReport(lane, table.id, difference, values), ...sides });
      }
    }
  }
  return { lanes: lanes.map((lane) => ({ lane: lane.source.lane, ...laneVerification(lane) })), differences };
}

function differenceReport(
  { source, store }: OpenLane,
  table: string,
  { key, kind, columns, seq, foundAtMs }: Difference,
  values: DifferenceReport["values"],
): Omit<DifferenceReport, "source" | "target"> {
  const described = store.pair.describeKey(source, { table, key });
  return { lane: source.lane, table, key: described, kind, columns, seq, foundAtMs, values };
}

/** Those of which something is known: before its capture is open, what was kept of a lane is not read yet. */
function verifiedLanes(move: Move): readonly OpenLane[] {
  const lanes = move.lanes.active.filter(({ runtime }) => runtime.state().coverage !== null);
  if (lanes.length === 0) throw nothing(move);
  return lanes;
}

function nothing(move: Move): DrayError {
  return new DrayError("VERIFY_NOTHING", { move: move.name, phase: move.phase });
}

function tableVerification(table: VerifiedTable, rowsCopied: number): TableVerification {
  const rowsVerified = table.ranges.reduce((total, { seq, rows }) => total + (seq === null ? 0 : rows), 0);
  return {
    table: table.id,
    covered: table.isCovered,
    rowsVerified,
    rowsCopied,
    dirtyKeys: table.dirtyKeys,
    differences: table.differences.length,
    moreDiffer: table.overflows,
    passUnderWay: table.isDue,
  };
}

/** Of the rows; what was never counted counts as one row a table, so that empty tables count too. */
function share(tables: readonly TableVerification[]): number {
  const all = sum(tables, ({ rowsVerified, rowsCopied }) => Math.max(1, rowsVerified, rowsCopied));
  const done = sum(tables, ({ covered, rowsVerified, rowsCopied }) =>
    covered ? Math.max(1, rowsVerified, rowsCopied) : rowsVerified,
  );
  return all === 0 ? 0 : done / all;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
