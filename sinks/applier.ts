import { withBackoff } from "../pipeline/backoff.ts";
import type { Coverage } from "../pipeline/coverage.ts";
import type { EntryHeader } from "../pipeline/entry.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import { type ApplierLimits, type ApplierOptions, type ApplierState, LIMITS } from "./applier-options.ts";
import { ApplyCounters } from "./apply-counters.ts";
import { Barriers } from "./barriers.ts";
import { type Batch, lastOf, nextBatch, rangeOf } from "./batch.ts";
import { DoneEntries } from "./done-entries.ts";
import { type BodyNeed, EntryFeed, type ReadyEntry } from "./entry-feed.ts";
import { InFlight } from "./in-flight.ts";
import { beginsAgain, LookAhead } from "./look-ahead.ts";
import { PassedOver } from "./passed-over.ts";
import type { Progress } from "./sink.ts";
import { ViewOpening } from "./view-opening.ts";
import { WaitReasons } from "./wait-reasons.ts";
import { Wakeup } from "./wakeup.ts";
import { Watermark } from "./watermark.ts";

/** A transaction under way when the applier stops may end by itself; after this it is cut off. */
const STOP_GRACE_MS = 5_000;

/**
 * Applies one lane's log to its target, in log order where order matters and beside each other where it provably does
 * not (A2 to A4). Knows no store. What is applied is asked of the target at the start and after every error of unknown
 * outcome, never remembered; transient errors are tried again and shown, a final one ends `run` with its entry (A8).
 */
export class Applier {
  readonly #options: ApplierOptions;
  readonly #limits: ApplierLimits;
  readonly #barriers = new Barriers();
  readonly #inFlight: InFlight;
  readonly #counters = new ApplyCounters();
  readonly #reasons = new WaitReasons();
  readonly #moved = new Wakeup();
  readonly #done = new DoneEntries();
  /** Tables whose next pass begins with an empty table in the target. */
  readonly #beginsEmpty = new Set<string>();
  readonly #watermark: Watermark;
  readonly #lookAhead: LookAhead;
  readonly #passedOver = new PassedOver();
  readonly #views: ViewOpening;
  /** What an applier before this one passed over is not known, and is brought by the log up to here. */
  #passedUnknownTo = 0;
  #feed: EntryFeed | null = null;
  /** The next entry to be applied, or passed over. */
  #nextSeq = 1;
  /** As of the last entry that was taken. */
  #taken: Coverage = { tables: [] };
  #paused: string | null = null;
  #failure: unknown = null;

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#inFlight = new InFlight(options.sink);
    const { log, lane, chunkStore, sink, clock, probe, onApplied } = options;
    const peek = (index: number) => this.#feed?.peek(index);
    const isSkipped = (seq: number) => this.#done.isSkipped(seq);
    this.#lookAhead = new LookAhead({ log, lane, chunkStore, peek, isSkipped });
    this.#views = new ViewOpening({
      ...{ inFlight: this.#inFlight, passedOver: this.#passedOver, probe },
      open: (seq, signal) => this.#untilDone(`verify ${seq}`, () => sink.openReadView(signal), signal),
      isEmptied: (table) => this.#beginsEmpty.has(table),
      onEnd: (failure) => {
        this.#failure ??= failure;
        this.#moved.notify();
      },
    });
    const reasons = this.#reasons;
    this.#watermark = new Watermark({ sink, clock, probe, reasons, onApplied: (header) => onApplied?.(header) });
  }

  /** Everything up to this seq is durably applied, and the target says so itself. */
  get watermark(): number {
    return this.#watermark.seq;
  }

  /** Resolves by event once the watermark has reached `seq`; rejects with the signal's reason, or why it stopped. */
  whenWatermark(seq: number, signal: AbortSignal): Promise<void> {
    return this.#watermark.whenDurable(seq, signal);
  }

  /**
   * Runs `callback` when the watermark is exactly seq - 1 and before any later entry is applied; applying goes on when
   * it has ended. Rejects with BARRIER_PASSED where entry `seq` is applied already.
   */
  atBarrier<T>(seq: number, callback: () => Promise<T>): Promise<T> {
    const waiting = this.#barriers.add(seq, callback);
    this.#moved.notify();
    return waiting;
  }

  /** The entry counts as applied without being applied; the caller has journalled it (A8). */
  skip(seq: number): void {
    this.#done.skip(seq);
    this.#moved.notify();
  }

  pause(reason: string): void {
    this.#paused = reason;
  }

  resume(): void {
    this.#paused = null;
    this.#moved.notify();
  }

  state(): ApplierState {
    return {
      watermark: this.watermark,
      appliedSeq: this.#watermark.appliedSeq,
      headSeqSeen: this.#feed?.headSeq ?? 0,
      inFlight: this.#inFlight.writes,
      reason: this.#reasons.first ?? (this.#paused === null ? null : `paused: ${this.#paused}`),
      applied: this.#counters.counts(),
    };
  }

  /** Until aborted (resolves, nothing is under way any more) or a final error. Once. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#feed) throw new Error("an applier runs once");
    const stop = new AbortController();
    const work = AbortSignal.any([signal, stop.signal]);
    const cut = new AbortController();
    const tasks: Promise<never>[] = [];
    try {
      const feed = this.#begin(await this.#open(work));
      tasks.push(feed.run(work), this.#watermark.run(work), this.#dispatch(feed, work, cut.signal));
      await Promise.race(tasks);
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) this.#failure ??= error;
    }
    stop.abort();
    await Promise.allSettled(tasks);
    await this.#windDown(cut);
    if (this.#failure !== null) throw this.#failure;
  }

  async #open(signal: AbortSignal): Promise<Progress> {
    const { sink, lane, log } = this.#options;
    const progress = await this.#untilDone("progress", () => sink.progress(signal), signal);
    if (progress.closed) throw new DrayError("LANE_CLOSED", { lane });
    if (progress.watermark > 0 || progress.applied.length > 0) {
      const { lastSeq } = await this.#untilDone("log", () => log.stats(lane), signal);
      this.#passedUnknownTo = lastSeq ?? 0;
    }
    return progress;
  }

  #begin(progress: Progress): EntryFeed {
    const { log, lane, chunkStore } = this.#options;
    this.#done.startWith(progress.applied);
    this.#nextSeq = progress.watermark + 1;
    this.#watermark.startAt(progress.anchor);
    this.#feed = new EntryFeed({
      log,
      lane,
      chunkStore,
      after: progress.anchor,
      budgetBytes: this.#limits.prefetchBytes,
      needsBody: (header) => this.#needsBody(header),
      onReady: () => {
        this.#reasons.clear("log");
        this.#moved.notify();
      },
      onRetry: this.#reasons.retrying("log"),
    });
    return this.#feed;
  }

  #needsBody(header: EntryHeader): BodyNeed {
    if (!this.#done.has(header)) return "applied";
    return this.#options.follower?.needsBody(header) === true ? "followed" : "no";
  }

  async #dispatch(feed: EntryFeed, signal: AbortSignal, cut: AbortSignal): Promise<never> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#failure !== null) throw this.#failure;
      const head = feed.peek(0);
      if (this.#paused !== null) await this.#moved.wait(signal);
      else if (this.#barriers.first <= this.#nextSeq) await this.#standStill(signal);
      else if (!head || !(await this.#start(head, feed, signal, cut))) await this.#moved.wait(signal);
    }
  }

  async #standStill(signal: AbortSignal): Promise<void> {
    await this.#drain(signal);
    // What the target has above its watermark since before a restart would already be seen at an earlier place.
    await this.#barriers.runBefore(Math.max(this.#nextSeq, this.#done.end + 1));
  }

  /** False: the head must wait for something under way. */
  async #start(head: ReadyEntry, feed: EntryFeed, signal: AbortSignal, cut: AbortSignal): Promise<boolean> {
    const { detail, seq, lane } = head.header;
    const isDone = this.#done.has(head.header);
    if (isDone || detail.kind === "mark" || detail.kind === "range") {
      const again = isDone ? null : beginsAgain(head.header);
      if (again !== null && (await this.#isInTheWay(again, signal))) this.#beginsEmpty.add(again);
      // Nothing may come between this look and the taking: a unit that waits adds to it at any time.
      const emptied = again !== null && this.#beginsEmpty.has(again) ? again : null;
      if (emptied !== null) {
        await this.#drainAndClear(emptied, signal);
        // Not before: a view that was still opening must know of it, and a unit that waited may have added it again.
        this.#beginsEmpty.delete(emptied);
      }
      this.#take(feed, [head])();
      // Durable before anything later: cleared again after a restart, it would take rows that later seqs brought.
      if (emptied !== null) await this.#watermark.whenDurable(seq, signal);
      return true;
    }
    if (detail.kind === "verify") {
      this.#compare(head, signal);
      return true;
    }
    if (detail.kind !== "changes" && detail.kind !== "chunk") {
      throw new DrayError("ENTRY_KIND_NOT_YET", { lane, seq, kind: detail.kind });
    }
    if (this.#inFlight.writes >= this.#options.sink.sessions) return false;
    const batch = detail.kind === "chunk" ? this.#chunkBatch(head) : this.#changesBatch(feed);
    if (!batch || batch.entries.length === 0) return false;
    void this.#apply(batch, this.#take(feed, batch.entries), cut);
    return true;
  }

  /** V1: what is behind it goes on, up to what would write what it reads. */
  #compare(head: ReadyEntry, signal: AbortSignal): void {
    const { follower } = this.#options;
    const { seq } = head.header;
    // Of an earlier applier: what the target has above its watermark would already be seen, what was passed over not yet.
    const isKnown = seq > this.#done.end && seq > this.#passedUnknownTo;
    const isWanted = follower !== undefined && isKnown && follower.wants(head.header);
    this.#take(this.#feed as EntryFeed, [head])();
    follower?.compare(head, isWanted ? this.#views.open(head, signal) : null);
  }

  #take(feed: EntryFeed, entries: readonly ReadyEntry[]): () => void {
    const { header, anchor } = entries.at(-1) as ReadyEntry;
    for (const entry of entries) this.#options.follower?.take(entry);
    feed.take(entries.length);
    this.#taken = header.coverage;
    this.#nextSeq = header.seq + 1;
    return this.#watermark.open(
      entries.map((entry) => entry.header),
      anchor,
    );
  }

  #changesBatch(feed: EntryFeed): Batch {
    return nextBatch({
      peek: (index) => feed.peek(index),
      inFlight: this.#inFlight,
      limits: this.#limits,
      isDone: (entry) => this.#done.has(entry.header),
      beforeSeq: this.#barriers.first,
    });
  }

  #chunkBatch(head: ReadyEntry): Batch | null {
    const { detail } = head.header;
    if (detail.kind !== "chunk" || !this.#inFlight.admitsChunk(detail.range)) return null;
    return { entries: [head], footprint: { keys: new Map(), range: detail.range } };
  }

  async #apply(batch: Batch, finish: () => void, cut: AbortSignal): Promise<void> {
    this.#inFlight.add(batch.footprint);
    const name = `seq ${batch.entries[0]?.header.seq}`;
    let failure: unknown = null;
    try {
      await withBackoff(
        async (attempt) => {
          // A8: the last attempt's outcome may be unknown, and only the target knows it.
          if (attempt > 1 && (await this.#hasApplied(batch, cut))) return;
          await this.#send(batch, cut).catch(async (error: unknown) => {
            if (isDrayError(error, "GUARD_CONTENDED")) await this.#giveWay(batch, cut);
            throw error;
          });
        },
        { signal: cut, onRetry: this.#reasons.retrying(name) },
      );
      this.#counters.add(batch.entries);
      this.#passedOver.applied(batch.entries, rangeOf(batch).last);
      finish();
      for (const entry of batch.entries) entry.release();
    } catch (error) {
      failure = error;
      // Cut off while stopping: the target says at the next start what became of it.
      if (!cut.aborted) this.#failure ??= error;
    } finally {
      this.#reasons.clear(name);
      this.#inFlight.remove(batch.footprint, failure);
      if (this.#inFlight.writes === 0) this.#lookAhead.clear();
      this.#moved.notify();
    }
  }

  #send(batch: Batch, signal: AbortSignal): Promise<void> {
    const { sink } = this.#options;
    const head = batch.entries[0] as ReadyEntry;
    const { seq, nonce, detail } = head.header;
    const unit = { last: rangeOf(batch).last, coverage: head.header.coverage };
    this.#passedOver.begin(unit);
    const changedLater = (table: string, key: string) => {
      if (!this.#lookAhead.changedLater({ table, key }, unit)) return false;
      this.#passedOver.add(table, key, unit);
      return true;
    };
    if (detail.kind === "chunk" && head.chunk) {
      const { leftOut, rows: body } = head.chunk;
      const { range, rows } = detail;
      return sink.applyChunk({ seq, nonce, range, leftOut, body, rows, changedLater }, signal);
    }
    const changes = batch.entries.map((entry) => entry.changes);
    return sink.applyChanges({ seqs: rangeOf(batch), changes, changedLater }, signal);
  }

  async #hasApplied(batch: Batch, signal: AbortSignal): Promise<boolean> {
    const { watermark, applied } = await this.#options.sink.progress(signal);
    const { first, last } = rangeOf(batch);
    return last <= watermark || applied.some((range) => range.first <= first && last <= range.last);
  }

  /**
   * A8: another move's row keeps the batch waiting, and that move may wait for a row of this one: such as are gone at the
   * source without a word in the log, because their table was about to be copied again.
   */
  async #giveWay(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#lookAhead.search(lastOf(batch).anchor, signal);
    for (const { table } of this.#taken.tables) {
      // As of now: while one table is emptied, another's pass may begin.
      const now = this.#taken.tables.find((each) => each.table === table);
      const isFollowing = now !== undefined && (now.pass === 0 || now.announced !== null);
      if (now === undefined || (isFollowing && this.#lookAhead.latestPass(table) <= now.pass)) continue;
      // The pass begins behind this batch, so that nothing of what it brings can be there yet.
      this.#beginsEmpty.add(table);
      await this.#clear(table, signal);
    }
  }

  /** W4: whether stale rows of a table that is copied again could be in the way, of itself or of another move. */
  async #isInTheWay(table: string, signal: AbortSignal): Promise<boolean> {
    const { sink } = this.#options;
    return sink.meetsStaleRows(table) || (await this.#untilDone("clear", () => sink.isShared(table, signal), signal));
  }

  async #drainAndClear(table: string, signal: AbortSignal): Promise<void> {
    await this.#drain(signal);
    await this.#untilDone("clear", () => this.#clear(table, signal), signal);
  }

  /** A large table takes minutes, in which nothing else of the lane moves: status says why. */
  async #clear(table: string, signal: AbortSignal): Promise<void> {
    const text = (rows: number) => `${table} is emptied of stale rows before it is copied again: ${rows} removed`;
    await this.#reasons.counting("clear", text, (add) => this.#options.sink.clearTable(table, signal, add));
  }

  /** Tried again where the error is transient, its reason shown under `name` until it is done. */
  async #untilDone<T>(name: string, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const done = await withBackoff(work, { signal, onRetry: this.#reasons.retrying(name) });
    this.#reasons.clear(name);
    return done;
  }

  /** Nothing is under way. */
  async #settle(signal: AbortSignal): Promise<void> {
    while (this.#inFlight.count > 0) {
      await this.#moved.wait(signal);
      if (this.#failure !== null) throw this.#failure;
    }
  }

  /** Nothing is under way and the durable watermark stands at the last entry taken. */
  async #drain(signal: AbortSignal): Promise<void> {
    await this.#settle(signal);
    await this.#watermark.whenDurable(this.#watermark.appliedSeq, signal);
  }

  async #windDown(cut: AbortController): Promise<void> {
    const { clock, lane } = this.#options;
    const ended = new AbortController();
    const grace = clock.sleep(STOP_GRACE_MS, ended.signal).then(
      () => cut.abort(new DrayError("APPLY_CUT_OFF", { lane })),
      () => {},
    );
    while (this.#inFlight.count > 0) await this.#moved.wait(ended.signal);
    if (!isDrayError(this.#failure, "FENCED") && !isDrayError(this.#failure, "LANE_CLOSED")) {
      // Not needed for correctness: the target knows what is applied above its watermark. It only saves reading again.
      await this.#watermark.flush(cut.signal).catch(() => {});
    }
    ended.abort();
    await grace;
    const why = this.#failure ?? new DrayError("APPLIER_STOPPED", { lane });
    this.#watermark.end(why);
    this.#barriers.end(why);
  }
}
