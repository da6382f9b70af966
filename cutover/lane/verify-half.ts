import type { Logger } from "pino";
import { reasonOf } from "../../pipeline/backoff.ts";
import { decodeChanges } from "../../pipeline/change-codec.ts";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { sameBound } from "../../pipeline/coverage.ts";
import type { KeyBytes, LogAnchor } from "../../pipeline/entry.ts";
import { isLostBody, openBody } from "../../pipeline/entry-codec.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { LaneCapture } from "../../pipeline/lane-capture.ts";
import { anchorOf } from "../../pipeline/log/lane-writer.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import { readUpToNow } from "../../pipeline/log/read-up-to-now.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { ChunkBudget, LaneSource, StreamSource } from "../../pipeline/source.ts";
import type { Throttle } from "../../pipeline/throttle.ts";
import { compareRows, type FoundRow } from "../../pipeline/verify/compare.ts";
import { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import type { Span } from "../../pipeline/verify/verified-table.ts";
import { VerifyRounds } from "../../pipeline/verify/verify-rounds.ts";
import type { EntryFollower } from "../../sinks/follower.ts";
import type { LaneSink, Progress } from "../../sinks/sink.ts";
import { Verifier } from "../../sinks/verifier.ts";
import type { VerifyMemory } from "./verify-memory.ts";

export type VerifyHalfOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly log: ChangeLog;
  readonly chunkStore: ChunkStore;
  readonly verifyMemory: VerifyMemory;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly throttle: Throttle;
  readonly chunkBudget: ChunkBudget;
  readonly logger: Logger;
  readonly columnsOf: (table: string, found: FoundRow) => readonly string[];
  /** Why verification should wait though nobody holds the throttle; null: it need not. */
  readonly yieldsTo: () => string | null;
  readonly restPerMs: () => number;
};

/** A row that differed while nothing was written. */
export type FencedDifference = {
  readonly table: string;
  readonly found: FoundRow;
  readonly columns: readonly string[];
};

/** A read view, and one statement on each side. */
const FENCED_VIEW_MS = 3;
const GUESSED_MS_PER_KEY = 0.03;
/** Read on both sides at once by one statement each. */
const FENCED_KEYS_AT_ONCE = 2_000;
/** What was folded since is folded again from the log after a restart. */
const SAVE_EVERY_MS = 10_000;

/**
 * Verification of one lane (V): the rounds that read the source ride on its capture, the comparing on its applier, and
 * what is known lies beside the sink, with the place of the log up to which it holds.
 */
export class VerifyHalf {
  readonly #options: VerifyHalfOptions;
  readonly #state: VerifiedState;
  readonly #verifier: Verifier;
  readonly #rounds: VerifyRounds;
  #isLoaded = false;
  #savedAnchor: LogAnchor | null = null;
  #savedAtMs = Number.NEGATIVE_INFINITY;
  #changed = false;
  #problem: string | null = null;
  #rowsCompared = 0;
  #msPerKey = GUESSED_MS_PER_KEY;

  constructor(options: VerifyHalfOptions) {
    this.#options = options;
    const { source, stream, clock, probe, throttle, chunkBudget: budget, columnsOf, yieldsTo, restPerMs } = options;
    const state = new VerifiedState({ tables: source.tables });
    this.#state = state;
    this.#verifier = new Verifier({
      state,
      clock,
      probe,
      columnsOf,
      onCompared: ({ rows, reason }) => {
        this.#rowsCompared += rows;
        this.#problem = reason;
        this.#changed = true;
      },
    });
    this.#rounds = new VerifyRounds({
      source,
      stream,
      state,
      clock,
      probe,
      throttle,
      budget,
      yieldsTo,
      restPerMs,
      outcome: (seq, signal) => this.#verifier.outcome(seq, signal),
      onRetry: (error) => {
        this.#problem = reasonOf(error);
      },
      onProgress: () => {
        this.#problem = null;
      },
    });
  }

  get state(): VerifiedState {
    return this.#state;
  }

  get follower(): EntryFollower {
    return this.#verifier;
  }

  /** Rows compared by this process. */
  get rowsCompared(): number {
    return this.#rowsCompared;
  }

  get waiting(): string | null {
    const why = this.#rounds.waiting ?? this.#problem;
    return why === null ? null : `verification: ${why}`;
  }

  /** Before it, entries of the log are not needed for verification; null: none is. */
  get savedAnchor(): LogAnchor | null {
    return this.#savedAnchor;
  }

  /** The tables, or all of them, are compared again from end to end. */
  ask(tables: readonly string[] | null): void {
    for (const table of this.#state.tables) if (tables === null || tables.includes(table.id)) table.ask();
    this.#changed = true;
    this.#rounds.wake();
  }

  compareDirtyNow(signal: AbortSignal): Promise<void> {
    return this.#rounds.compareDirtyNow(signal);
  }

  /** By what comparing single keys has taken lately; it is said before a fence, and measured under it. */
  predictFencedMs(keys: number): number {
    return keys === 0 ? 0 : FENCED_VIEW_MS + keys * this.#msPerKey;
  }

  /** V3: the ranges around these keys are copied again; each once. Resolves when that stands in the log. */
  async repair(table: string, keys: readonly KeyBytes[], signal: AbortSignal): Promise<number> {
    const verified = this.#state.table(table);
    const spans: Span[] = [];
    for (const key of keys) {
      const span = verified.spanOf(key);
      if (!spans.some((known) => sameBound(known.after, span.after) && sameBound(known.upTo, span.upTo)))
        spans.push(span);
    }
    for (const span of spans) await this.#rounds.repair(verified, span, signal);
    return spans.length;
  }

  /** The rows of the open differences as they are now, on both sides at one place of the log; kept nowhere. */
  async showDifferences(signal: AbortSignal): Promise<ReadonlyMap<string, readonly FoundRow[]>> {
    for (const table of this.#state.tables) table.recheck();
    const stop = this.#verifier.collect();
    try {
      await this.#rounds.compareDirtyNow(signal);
    } finally {
      stop();
    }
    return this.#verifier.collected;
  }

  /**
   * V2: every dirty key on both sides, and each that was found to differ since the gate was asked, behind a mark that the
   * target has applied and while the tenant is fenced: then nothing changes, and what is found is real if the proof holds
   * that nothing did. `seq` is the mark's.
   */
  async compareFenced(sink: LaneSink, seq: number, signal: AbortSignal): Promise<readonly FencedDifference[]> {
    const { source, stream, clock, columnsOf } = this.#options;
    const differences: FencedDifference[] = [];
    // Listed at once, for a round that ends meanwhile takes what it has compared off the dirty keys.
    const dirty = this.#state.tables.map((table) => {
      table.recheck();
      return { table, keys: table.oldestDirty(table.dirtyKeys) };
    });
    if (dirty.every(({ keys }) => keys.length === 0)) return [];
    const beganMs = clock.monotonicMs();
    let compared = 0;
    const view = await sink.openReadView(signal);
    try {
      for (const { table, keys: all } of dirty) {
        for (const keys of slices(all, FENCED_KEYS_AT_ONCE)) {
          const [rows, atTarget] = await Promise.all([
            stream.readKeys(source, table.id, keys, signal),
            view.readKeys(table.id, keys, signal),
          ]);
          compared += keys.length;
          const atSource = new Map(rows.single().map(({ key, row }) => [keyText(key), row]));
          const asked = keys.map((key) => ({ key, row: atSource.get(keyText(key)) ?? null }));
          const found = compareRows(asked, atTarget);
          for (const each of found)
            differences.push({ table: table.id, found: each, columns: columnsOf(table.id, each) });
          if (found.length === 0) for (const key of keys) table.comparedKey(key, seq, null);
        }
      }
    } finally {
      await view.close();
    }
    this.#changed = true;
    this.#msPerKey = Math.max(0.001, (clock.monotonicMs() - beganMs - FENCED_VIEW_MS) / Math.max(50, compared));
    return differences;
  }

  /** The source's half, as long as one capture lives. */
  run(capture: LaneCapture, signal: AbortSignal): Promise<never> {
    return this.#rounds.run(capture, signal);
  }

  /** Before an applier begins at this progress: what is known is folded up to its watermark. */
  async open(sink: LaneSink, progress: Progress, signal: AbortSignal): Promise<void> {
    if (!this.#isLoaded) await this.#load();
    this.#isLoaded = true;
    this.#state.comparesWith(sink.server);
    const known = this.#state.anchor;
    if (known === null) this.#state.startAt(progress.anchor);
    else if (known.seq < progress.watermark) await this.#foldOn(known, progress, signal);
  }

  /** While an applier runs: keeps what is known, now and then. Ends with the signal. */
  async keep(signal: AbortSignal): Promise<void> {
    const { clock, logger, source } = this.#options;
    for (;;) {
      await clock.sleep(1_000, signal).catch(() => {});
      const isDue = clock.monotonicMs() - this.#savedAtMs >= SAVE_EVERY_MS;
      const isAhead = (this.#state.anchor?.seq ?? 0) > (this.#savedAnchor?.seq ?? 0);
      if (signal.aborted || (isDue && (this.#changed || isAhead))) {
        await this.#save().catch((error: unknown) => {
          logger.warn({ lane: source.lane, error: reasonOf(error) }, "what is verified could not be kept");
        });
      }
      if (signal.aborted) return;
    }
  }

  /** The applier has ended. */
  async stop(): Promise<void> {
    await this.#verifier.stop();
  }

  async #load(): Promise<void> {
    const { verifyMemory, source, logger } = this.#options;
    const bytes = await verifyMemory.load(source.lane);
    if (bytes === null) return;
    try {
      if (this.#state.unpack(bytes)) this.#savedAnchor = this.#state.anchor;
    } catch (error) {
      logger.warn({ lane: source.lane, error: reasonOf(error) }, "what was verified cannot be read: it begins anew");
      this.#state.reset();
    }
  }

  async #save(): Promise<void> {
    const { verifyMemory, source, clock, probe } = this.#options;
    const anchor = this.#state.anchor;
    const bytes = this.#state.pack();
    if (bytes === null) return;
    this.#changed = false;
    await verifyMemory.save(source.lane, bytes);
    this.#savedAnchor = anchor;
    this.#savedAtMs = clock.monotonicMs();
    await probe("verify.after-save");
  }

  /** What the target has applied since this was kept, read from the log again. */
  async #foldOn(from: LogAnchor, progress: Progress, signal: AbortSignal): Promise<void> {
    const { log, source, chunkStore, logger } = this.#options;
    try {
      for await (const entry of readUpToNow({ log, lane: source.lane, after: from }, signal)) {
        const { header } = entry;
        if (header.seq > progress.watermark) return;
        const body = header.detail.kind === "changes" ? await openBody(entry, chunkStore).catch(lostAsNull) : null;
        const changes = body === null ? [] : decodeChanges(body);
        const keys = changes.map(({ key }) => keyText(key));
        this.#state.take({ header, anchor: anchorOf(header, entry.offset), changes, keys });
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isDrayError(error, "LOG_TRUNCATED") && !isDrayError(error, "LOG_CORRUPT")) throw error;
      logger.warn(
        { lane: source.lane, error: reasonOf(error) },
        "the log does not reach back: verification begins anew",
      );
      this.#state.startAt(progress.anchor);
    }
  }
}

function slices<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

function lostAsNull(error: unknown): null {
  if (isLostBody(error)) return null;
  throw error;
}
