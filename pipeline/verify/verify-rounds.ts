import { withBackoff } from "../backoff.ts";
import type { Clock } from "../clock.ts";
import { type Bound, sameBound } from "../coverage.ts";
import type { KeyBytes } from "../entry.ts";
import { DrayError, isDrayError } from "../errors.ts";
import type { LaneCapture } from "../lane-capture.ts";
import { type MarkedReadOptions, readBetweenMarks } from "../marked-read.ts";
import type { ChunkBudget } from "../source.ts";
import type { Throttle } from "../throttle.ts";
import { waitFor } from "../wait.ts";
import type { WindowScope } from "../window.ts";
import type { Span } from "./verified-range.ts";
import type { VerifiedState } from "./verified-state.ts";
import type { VerifiedTable } from "./verified-table.ts";
import { digested, type WindowRows } from "./window-body.ts";

export type VerifyRoundsOptions = Omit<MarkedReadOptions, "capture"> & {
  readonly state: VerifiedState;
  readonly clock: Clock;
  readonly throttle: Throttle;
  /** Of one range, as things are now. */
  readonly budget: () => ChunkBudget;
  /** What became of the verify entry of that seq. */
  readonly outcome: (seq: number, signal: AbortSignal) => Promise<"compared" | "passed">;
  /** Why nothing should be read now though nobody holds the throttle: the stream goes first. Null: go on. */
  readonly yieldsTo: () => string | null;
  /** How long one of two workers rests for each millisecond that it has read: 0 takes what the machine gives. */
  readonly restPerMs: () => number;
  /** The source has read single keys. */
  readonly onKeysRead: (keys: number, ms: number) => void;
  readonly onRetry: (error: Error) => void;
  readonly onProgress: () => void;
};

/** Ranges read at once: one is compared while the next is read. */
export const RANGES_AT_ONCE = 2;
/** One entry's worth of single keys. */
const KEYS_AT_ONCE = 1_000;
/** Beside a copy or changes they come in lots, so many a round if these are not too small, each with a rest in proportion behind. */
const LOTS_A_ROUND = 20;
const SMALLEST_LOT = 50;
const REST_BETWEEN_LOTS = 3;
/** How long a key may be dirty before it is compared by itself; what changes all the time is compared so often. */
const KEYS_EVERY_MS = 1_000;
const LOOK_AGAIN_MS = 250;
/** What was slow to be read, as where the source was away, is no reason to rest for hours. */
const LONGEST_REST_MS = 10_000;

type Repair = Work & { readonly done: PromiseWithResolvers<void> };
type Work = { readonly table: VerifiedTable; readonly span: Span };

/**
 * The source's half of verification (V1, V2): reads ranges that are due, and keys that have changed since, between two
 * marks, and has them appended; the comparing is the target's business. Nothing of it is remembered here: what is due is
 * asked of the state, so that a restart goes on where that stands.
 */
export class VerifyRounds {
  readonly #options: VerifyRoundsOptions;
  readonly #inWork = new Set<Work>();
  #planning: Promise<unknown> = Promise.resolve();
  readonly #idling = new Set<AbortController>();
  #waiting: string | null = null;
  #hurry: PromiseWithResolvers<void>[] = [];
  #repairs: Repair[] = [];

  constructor(options: VerifyRoundsOptions) {
    this.#options = options;
  }

  /** Why nothing is read now; null while it works or has nothing to do. */
  get waiting(): string | null {
    return this.#waiting;
  }

  /** Something is due that was not. */
  wake(): void {
    for (const each of this.#idling) each.abort(new Error("something is due"));
  }

  /** Resolves once every key that is dirty now has been compared, or has changed again meanwhile. */
  async compareDirtyNow(signal: AbortSignal): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#hurry.push(done);
    this.wake();
    try {
      await waitFor(done, signal);
    } finally {
      this.#hurry = this.#hurry.filter((each) => each !== done);
    }
  }

  /** V3: the range is read again and replaces what stands in the target. Resolves once that stands in the log. */
  async repair(table: VerifiedTable, span: Span, signal: AbortSignal): Promise<void> {
    const done = Promise.withResolvers<void>();
    const repair = { table, span, done };
    this.#repairs.push(repair);
    this.wake();
    try {
      await waitFor(done, signal);
    } finally {
      // Nobody waits for it any more: what still differs is asked for again.
      this.#repairs = this.#repairs.filter((each) => each !== repair);
    }
  }

  /** Until aborted; any other error is final. */
  async run(capture: LaneCapture, signal: AbortSignal): Promise<never> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const workers = Array.from({ length: RANGES_AT_ONCE }, () => this.#workRanges(capture, both));
    workers.push(this.#workKeys(capture, both));
    try {
      return await Promise.race(workers);
    } catch (error) {
      stop.abort(error);
      throw error;
    } finally {
      await Promise.allSettled(workers);
      this.#inWork.clear();
    }
  }

  async #workRanges(capture: LaneCapture, signal: AbortSignal): Promise<never> {
    const { clock } = this.#options;
    for (;;) {
      await this.#mayRead(signal);
      const beganMs = clock.monotonicMs();
      const work = await this.#planNext(capture, signal);
      if (work === null) {
        await this.#idle(LOOK_AGAIN_MS * 4, signal);
        continue;
      }
      let readMs: number;
      try {
        const seq = await this.#range(capture, work, signal);
        readMs = clock.monotonicMs() - beganMs;
        // Whatever holds the target up, nobody works meanwhile: it is no reason to rest.
        if (seq !== null) await this.#options.outcome(seq, signal);
      } finally {
        this.#inWork.delete(work);
      }
      await this.#rest(readMs, signal);
    }
  }

  /** In short pieces, as what it is for may end: traffic, or the copy. */
  async #rest(workedMs: number, signal: AbortSignal): Promise<void> {
    const { clock, restPerMs } = this.#options;
    const beganMs = clock.monotonicMs();
    for (;;) {
      const restMs = Math.min(workedMs * restPerMs(), LONGEST_REST_MS) - (clock.monotonicMs() - beganMs);
      if (restMs < 1) return;
      await clock.sleep(Math.min(restMs, LOOK_AGAIN_MS), signal);
    }
  }

  async #workKeys(capture: LaneCapture, signal: AbortSignal): Promise<never> {
    for (;;) {
      const hurry = this.#hurry.splice(0);
      for (const repair of this.#repairs.splice(0)) await this.#repair(capture, repair, signal);
      try {
        if (hurry.length === 0) await this.#unlessHurried((either) => this.#mayRead(either), signal);
        const isAwaited = () => hurry.length + this.#hurry.length + this.#repairs.length > 0;
        for (const table of this.#options.state.tables) await this.#dirtyOf(capture, table, isAwaited, signal);
      } catch (error) {
        for (const each of hurry) each.reject(error);
        throw error;
      }
      for (const each of hurry) each.resolve();
      if (this.#hurry.length + this.#repairs.length === 0) await this.#idle(KEYS_EVERY_MS, signal);
    }
  }

  async #repair(capture: LaneCapture, { table, span, done }: Repair, signal: AbortSignal): Promise<void> {
    const { stream, source } = this.#options;
    const range = { table: table.id, pass: Math.max(1, table.pass), ...span, announces: "end" } as const;
    try {
      for (let seq: number | null = null; seq === null; ) {
        const read = () => stream.readRange(source, range, signal);
        seq = await this.#append(capture, { purpose: "repair", range }, read, signal);
        if (seq === null && !this.#isFollowed(capture, table))
          throw new DrayError("REPAIR_OVERTAKEN", { table: table.id });
      }
      done.resolve();
    } catch (error) {
      done.reject(error);
      if (!isDrayError(error, "REPAIR_OVERTAKEN")) throw error;
    }
  }

  /** The keys of a table that are dirty now, each once. */
  async #dirtyOf(
    capture: LaneCapture,
    table: VerifiedTable,
    isAwaited: () => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const { restPerMs } = this.#options;
    const lot = Math.min(Math.max(Math.ceil(table.dirtyKeys / LOTS_A_ROUND), SMALLEST_LOT), KEYS_AT_ONCE);
    for (let left = table.dirtyKeys; left > 0 && this.#isFollowed(capture, table); ) {
      const inLots = restPerMs() > 0 && !isAwaited();
      const keys = table.oldestDirty(Math.min(left, inLots ? lot : KEYS_AT_ONCE));
      if (keys.length === 0) return;
      const read = await this.#keys(capture, table, keys, signal);
      if (read === null) return;
      left -= keys.length;
      // Looked at again: whoever has come meanwhile has woken nobody.
      if (!inLots || left <= 0 || isAwaited()) continue;
      await this.#idle(Math.min(read.ms * REST_BETWEEN_LOTS, LONGEST_REST_MS), signal);
      if (!isAwaited()) await this.#unlessHurried((either) => this.#mayRead(either), signal);
    }
  }

  /** How long the source's part took, as whatever holds the target up is no reason to rest; null: given up. */
  async #keys(
    capture: LaneCapture,
    { id: table }: VerifiedTable,
    keys: readonly KeyBytes[],
    signal: AbortSignal,
  ): Promise<{ readonly ms: number } | null> {
    const { stream, source, clock, onKeysRead, outcome } = this.#options;
    const scope = { form: "keys", table, keys: keys.length } as const;
    const beganMs = clock.monotonicMs();
    const read = async () => {
      const readAtMs = clock.monotonicMs();
      const rows = await stream.readKeys(source, table, keys, signal);
      onKeysRead(keys.length, clock.monotonicMs() - readAtMs);
      return rows;
    };
    const seq = await this.#append(capture, { purpose: "verify", scope, keys }, read, signal);
    const ms = clock.monotonicMs() - beganMs;
    return seq !== null && (await outcome(seq, signal)) === "compared" ? { ms } : null;
  }

  /** The seq of its entry; null where there is none. */
  async #range(capture: LaneCapture, { table, span }: Work, signal: AbortSignal): Promise<number | null> {
    const { stream, source, onProgress } = this.#options;
    const range = { table: table.id, after: span.after, upTo: span.upTo };
    const scope = { form: "range", ...range } as const;
    const read = async () => await digested(await stream.readRange(source, range, signal));
    const seq = await this.#append(capture, { purpose: "verify", scope }, read, signal);
    onProgress();
    return seq;
  }

  /** The entry's seq; null where the table is copied again meanwhile, or nothing is known of the read's place (M2). */
  async #append(
    capture: LaneCapture,
    opened: WindowScope & { readonly purpose: "verify" | "repair" },
    read: () => Promise<WindowRows>,
    signal: AbortSignal,
  ): Promise<number | null> {
    const { onRetry } = this.#options;
    const window = capture.open(opened);
    if (window === null) return null;
    try {
      const { table } = window;
      const rows = await withBackoff(() => readBetweenMarks({ ...this.#options, capture }, table, read, signal), {
        signal,
        onRetry,
      });
      return rows === null ? null : await capture.finish(window, rows);
    } finally {
      capture.discard(window);
    }
  }

  /** One at a time, so that two workers never take the same range. */
  #planNext(capture: LaneCapture, signal: AbortSignal): Promise<Work | null> {
    const planned = this.#planning.then(() => this.#plan(capture, signal));
    this.#planning = planned.catch(() => {});
    return planned;
  }

  async #plan(capture: LaneCapture, signal: AbortSignal): Promise<Work | null> {
    signal.throwIfAborted();
    for (const table of this.#options.state.tables) {
      if (!this.#isFollowed(capture, table)) continue;
      const due = table.nextDue((range) => this.#isInWork(table, range));
      if (due === null) continue;
      const work = { table, span: { after: due.after, upTo: await this.#endOf(table, due, signal) } };
      if (!table.cut(work.span)) continue;
      this.#inWork.add(work);
      return work;
    }
    return null;
  }

  /** Of the next piece of what is due, by the budget. */
  async #endOf(table: VerifiedTable, { after, upTo }: Span, signal: AbortSignal): Promise<Bound | null> {
    const { stream, source, budget, onRetry } = this.#options;
    const next = await withBackoff(() => stream.nextBound(source, table.id, after, budget(), signal), {
      signal,
      onRetry,
    });
    if (next === null || upTo === null) return upTo === null ? next : upTo;
    // Keys without an order cannot be compared here: such a range is taken as it was cut before.
    if (next.key === null || upTo.key === null) return upTo;
    return Buffer.compare(Buffer.from(next.key, "hex"), Buffer.from(upTo.key, "hex")) < 0 ? next : upTo;
  }

  #isInWork(table: VerifiedTable, { after }: Span): boolean {
    for (const work of this.#inWork) if (work.table === table && sameBound(work.span.after, after)) return true;
    return false;
  }

  /** The state has come to the pass that the capture copies, and that pass is complete. */
  #isFollowed(capture: LaneCapture, table: VerifiedTable): boolean {
    const covered = capture.coverage.tables.find((each) => each.table === table.id);
    return covered !== undefined && covered.pass === table.pass && capture.isFollowed(table.id);
  }

  async #mayRead(signal: AbortSignal): Promise<void> {
    const { throttle, clock, yieldsTo } = this.#options;
    for (;;) {
      await throttle.clear(signal);
      this.#waiting = yieldsTo();
      if (this.#waiting === null) return;
      await clock.sleep(LOOK_AGAIN_MS, signal);
    }
  }

  async #idle(ms: number, signal: AbortSignal): Promise<void> {
    await this.#unlessHurried((either) => this.#options.clock.sleep(ms, either), signal);
  }

  /** Waits, but no longer than until something is due. */
  async #unlessHurried(wait: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const early = new AbortController();
    this.#idling.add(early);
    try {
      await wait(AbortSignal.any([signal, early.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!early.signal.aborted) throw error;
    } finally {
      this.#idling.delete(early);
    }
  }
}
