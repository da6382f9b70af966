import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { boundFromKey } from "../../connectors/mysql/key-bytes.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { RowsToSpare } from "../sink.ts";
import type { LaneTransaction } from "./lane-transaction.ts";
import { type OwnKey, ownKeys } from "./own-keys.ts";
import { deleteKeys } from "./row-writer.ts";
import type { TableStatements } from "./table-statements.ts";

/** Locks are held for some milliseconds, and a neighbour's replica gets a breath between two batches. */
const FIRST_ROWS = 200;
const MOST_ROWS = 1_000;
const FEWEST_ROWS = 50;
/** Of the deleting alone: what confirming takes does not shrink with the batch. */
const LONG_MS = 20;
const SHORT_MS = 8;
const PAUSE_MS = 20;

export type CleanupOptions = {
  readonly table: TableStatements;
  readonly transaction: LaneTransaction;
  /** Lends a session for one batch. */
  readonly use: <T>(work: (session: MysqlSession) => Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly onBatch?: (rows: number) => void;
  /** Rows that are left where they are; none where absent. */
  readonly spare?: RowsToSpare;
};

/** `left`: the keys, as text, of the tenant's rows that were spared. */
export type Removed = { readonly rows: number; readonly left: readonly string[] };

/** Rolls a batch back: one of its rows was found to be spared while it was locked. */
class SparedAfterAll extends Error {}

/**
 * Removes the tenant's rows of one table, guarded, in small transactions, each of which names the lane and completes no
 * seq (A2). A batch grows and shrinks with the time that its locks were held. May be stopped anywhere and begun again:
 * what is left is found by the tenant, not remembered.
 */
export async function removeTenantRows(options: CleanupOptions, signal: AbortSignal): Promise<Removed> {
  const { table, use, clock, probe, onBatch, spare } = options;
  let removed = 0;
  let limit = FIRST_ROWS;
  let pass = { after: null as Bound | null, rows: 0, left: [] as string[] };
  for (;;) {
    signal.throwIfAborted();
    const span = { after: pass.after, upTo: null, limit };
    const keys = await use((session) => ownKeys(session, table, span, signal));
    const last = keys.at(-1);
    if (!last) {
      // Once more from the beginning only where something was removed, so that nothing can have slipped behind.
      if (pass.rows === 0) return { rows: removed, left: pass.left };
      pass = { after: null, rows: 0, left: [] };
      continue;
    }
    await spare?.ready(signal);
    const beganMs = clock.monotonicMs();
    const { rows, deletedMs } = await removeBatch(options, keys, signal);
    const tookMs = clock.monotonicMs() - beganMs;
    if (deletedMs > LONG_MS) limit = Math.max(FEWEST_ROWS, Math.floor(limit / 2));
    else if (deletedMs < SHORT_MS) limit = Math.min(MOST_ROWS, limit * 2);
    if (rows === null) continue;
    removed += rows;
    const spared = spare?.known(table.id);
    const left = spared === undefined ? [] : keys.map(({ text }) => text).filter((text) => spared.has(text));
    pass = { after: boundFromKey(table.spec, last.values), rows: pass.rows + rows, left: [...pass.left, ...left] };
    onBatch?.(rows);
    await probe("cleanup.after-batch", { table: table.id, rows: removed });
    await clock.sleep(Math.max(PAUSE_MS, tookMs), signal);
  }
}

/** Null rows: nothing was removed, and the keys are to be looked at again. */
async function removeBatch(
  { table, transaction, use, spare, clock }: CleanupOptions,
  keys: readonly OwnKey[],
  signal: AbortSignal,
): Promise<{ readonly rows: number | null; readonly deletedMs: number }> {
  const isSpared = ({ text }: OwnKey) => spare?.known(table.id).has(text) ?? false;
  const due = keys.filter((key) => !isSpared(key));
  let deletedMs = 0;
  if (due.length === 0) return { rows: 0, deletedMs };
  const values = due.map((key) => key.values);
  const work = async (session: MysqlSession) => {
    const beganMs = clock.monotonicMs();
    const rows = await deleteKeys(session, table, values, signal);
    deletedMs = clock.monotonicMs() - beganMs;
    // Locked now: what was written to them before is known once this resolves, and nothing can be written after it.
    await spare?.confirm(signal);
    if (due.some(isSpared)) throw new SparedAfterAll();
    return rows;
  };
  try {
    const rows = await use((session) => transaction.run(session, null, work, signal));
    return { rows, deletedMs };
  } catch (error) {
    if (error instanceof SparedAfterAll) return { rows: null, deletedMs };
    throw error;
  }
}
