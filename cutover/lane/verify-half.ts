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
import type { FoundRow } from "../../pipeline/verify/compare.ts";
import { type KeyCost, KeyPace } from "../../pipeline/verify/key-pace.ts";
import type { Span } from "../../pipeline/verify/verified-range.ts";
import { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import { VerifyRounds } from "../../pipeline/verify/verify-rounds.ts";
import type { EntryFollower } from "../../sinks/follower.ts";
import type { LaneSink, Progress } from "../../sinks/sink.ts";
import { Verifier } from "../../sinks/verifier.ts";
import type { Unverified } from "../attempt-lane.ts";
import { compareOpenKeys, type OpenDifference, openDifferences, unknownTables } from "./fenced-comparison.ts";
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
  readonly logger: Logger;
  readonly columnsOf: (table: string, found: FoundRow) => readonly string[];
  readonly describeKey: (table: string, key: KeyBytes) => string;
  /** Why verification should wait though nobody holds the throttle; null: it need not. */
  readonly yieldsTo: () => string | null;
  readonly restPerMs: () => number;
  /** Of one range, in rows and bytes; asked before each. */
  readonly rangeBudget: () => ChunkBudget;
};

/** What the fenced comparison of so many keys will take, and how that is known. */
export type FencedPrediction = { readonly ms: number; readonly msPerKey: number; readonly known: KeyCost["known"] };

/** A read view, and one statement on each side. */
const FENCED_VIEW_MS = 3;
/** While a fence comes down, keys that got dirty wait so long to be compared with others. */
const COMPARE_AGAIN_MS = 5;
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
  #keeping: Promise<void> = Promise.resolve();
  #savedAnchor: LogAnchor | null = null;
  #savedAtMs = Number.NEGATIVE_INFINITY;
  #changed = false;
  #problem: string | null = null;
  #rowsCompared = 0;
  readonly #pace = new KeyPace();

  constructor(options: VerifyHalfOptions) {
    this.#options = options;
    const { source, stream, clock, probe, throttle, rangeBudget: budget, columnsOf, yieldsTo, restPerMs } = options;
    const state = new VerifiedState({ tables: source.tables });
    this.#state = state;
    this.#verifier = new Verifier({
      state,
      clock,
      probe,
      columnsOf,
      onKeysRead: (keys, ms) => this.#pace.took("target", keys, ms),
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
      onKeysRead: (keys, ms) => this.#pace.took("source", keys, ms),
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

  /**
   * The tables, or all of them, are compared again from end to end. When it resolves a process that comes after this one
   * knows of it; where no target has been reached yet, once one has.
   */
  async ask(tables: readonly string[] | null): Promise<void> {
    for (const table of this.#state.tables) if (tables === null || tables.includes(table.id)) table.ask();
    this.#changed = true;
    this.#rounds.wake();
    if (this.#isLoaded) await this.#keepNow();
  }

  compareDirtyNow(signal: AbortSignal): Promise<void> {
    return this.#rounds.compareDirtyNow(signal);
  }

  /** V2: until the signal ends, keys are compared as they get dirty, so that few are left behind the fence. */
  async compareUntil(over: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!over.aborted) {
      // Whatever fails here is compared behind the fence.
      if (this.#state.tables.some(({ dirtyKeys }) => dirtyKeys > 0))
        await this.#rounds.compareDirtyNow(over).catch(() => {});
      await clock.sleep(COMPARE_AGAIN_MS, over).catch(() => {});
    }
  }

  /** By what comparing single keys has taken lately, with or without a fence. */
  predictFenced(keys: number): FencedPrediction {
    const { ms, known } = this.#pace.perKey;
    return { ms: keys === 0 ? 0 : FENCED_VIEW_MS + keys * ms, msPerKey: ms, known };
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

  /** V2: under the fence, behind the mark `seq`; see `compareOpenKeys`. Of a table that is not covered nothing is read. */
  async compareFenced(sink: LaneSink, seq: number, signal: AbortSignal): Promise<Unverified> {
    const { source, stream, clock, columnsOf } = this.#options;
    if (unknownTables(this.#state).length > 0) return this.unverified();
    const options = { source, stream, clock, columnsOf, state: this.#state, pace: this.#pace };
    const differences = await compareOpenKeys(options, sink, seq, signal);
    this.#changed = true;
    return this.#unverified(differences);
  }

  /** What stands against a commit as far as it is known now: tables to be compared, and every difference by name. */
  unverified(): Unverified {
    return this.#unverified([]);
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
    // A pass may have been asked for before anything could be kept.
    if (this.#changed) await this.#keepNow();
  }

  /** While an applier runs: keeps what is known, now and then. Ends with the signal. */
  async keep(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    for (;;) {
      await clock.sleep(1_000, signal).catch(() => {});
      const isDue = clock.monotonicMs() - this.#savedAtMs >= SAVE_EVERY_MS;
      const isAhead = (this.#state.anchor?.seq ?? 0) > (this.#savedAnchor?.seq ?? 0);
      if (signal.aborted || (isDue && (this.#changed || isAhead))) await this.#keepNow();
      if (signal.aborted) return;
    }
  }

  /** The applier has ended. */
  async stop(): Promise<void> {
    await this.#verifier.stop();
  }

  /** Beside what was just found: it may be read anew, and is the better named. */
  #unverified(found: readonly OpenDifference[]): Unverified {
    const named = ({ table, key }: OpenDifference) => `${table} ${this.#options.describeKey(table, key)}`;
    const all = new Map([...openDifferences(this.#state), ...found].map((each) => [named(each), each]));
    const differing = [...all].map(([row, { kind, columns }]) => {
      const at = columns.length === 0 ? "" : ` in ${columns.join(", ")}`;
      return `${row}: ${kind}${at}`;
    });
    return { uncovered: unknownTables(this.#state), differing };
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

  /** One behind the other: each puts a whole state in the place of the one before. What fails is tried again later. */
  #keepNow(): Promise<void> {
    const { logger, source } = this.#options;
    this.#keeping = this.#keeping
      .then(() => this.#save())
      .catch((error: unknown) => {
        this.#changed = true;
        logger.warn({ lane: source.lane, error: reasonOf(error) }, "what is verified could not be kept");
      });
    return this.#keeping;
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

function lostAsNull(error: unknown): null {
  if (isLostBody(error)) return null;
  throw error;
}
