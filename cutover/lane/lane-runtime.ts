import type { Logger } from "pino";
import type { Connector } from "../../connectors/connector.ts";
import { reasonOf, wantsReopening } from "../../pipeline/backoff.ts";
import type { Begin, LaneMemory, MarkPlace, Stray } from "../../pipeline/capture-options.ts";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { CopyPace } from "../../pipeline/copy-pace.ts";
import type { Coverage } from "../../pipeline/coverage.ts";
import type { KeyBytes, Position, TableCounts } from "../../pipeline/entry.ts";
import { type Lag, LagMeter } from "../../pipeline/lag.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { ChunkBudget, FeedState, LaneSource } from "../../pipeline/source.ts";
import type { Throttle } from "../../pipeline/throttle.ts";
import type { FoundRow } from "../../pipeline/verify/compare.ts";
import type { ApplierState } from "../../sinks/applier-options.ts";
import type { Sink } from "../../sinks/sink.ts";
import type { AttemptLane, Drained, Slipped, Unverified } from "../attempt-lane.ts";
import { ApplyHalf } from "./apply-half.ts";
import { CaptureHalf, type CaptureMode } from "./capture-half.ts";
import { DrainTimes } from "./drain-times.ts";
import type { LostBody } from "./lost-body.ts";
import { VerifyHalf } from "./verify-half.ts";
import type { VerifyMemory } from "./verify-memory.ts";
import { VerifyPace } from "./verify-pace.ts";

export type LaneRuntimeOptions = {
  readonly source: LaneSource;
  readonly connector: Connector;
  readonly sink: Sink;
  readonly log: ChangeLog;
  readonly chunkStore: ChunkStore;
  readonly memory: Omit<LaneMemory, "anchor">;
  readonly verifyMemory: VerifyMemory;
  readonly throttle: Throttle;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly logger: Logger;
  readonly heartbeatMs: number;
  readonly parallelRanges: number;
  readonly chunkBudget: ChunkBudget;
  readonly verifySharePercent: number;
  /** How long applied entries stay in the log. */
  readonly keepAppliedMs: number;
  readonly mode: CaptureMode;
  readonly firstPass: number;
  /** Its target has every row already, and it begins at the mark of a generation (C7). */
  readonly leadsBack: boolean;
  /** Where it begins, or began, as far as an outcome says so. */
  readonly begins: Begin | null;
  /** The columns in which two rows of a table differ, as the kind of store encodes them. */
  readonly columnsOf: (table: string, found: FoundRow) => readonly string[];
  /** The key's columns as text. */
  readonly describeKey: (table: string, key: KeyBytes) => string;
  /** C5, in the target. */
  readonly closeInTarget: (signal: AbortSignal) => Promise<void>;
  /** L6: has the tables of a lost body copied again. */
  readonly makeUpFor: (loss: LostBody, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>;
  /** Every table's last chunk is durably applied. */
  readonly onCopied: () => void;
  /** Behind the seal; an alarm is durable when it resolves. */
  readonly onStray: (stray: Stray) => Promise<void>;
  /** What was told as stray before goes its way after all: the seal was lifted. */
  readonly onCarried: () => void;
  /** A final error stopped one half; the other goes on. */
  readonly onStopped: (half: Half, error: unknown) => void;
};

export type Half = "capture" | "apply";

export type LaneState = {
  readonly coverage: Coverage | null;
  readonly feed: FeedState | null;
  readonly tailSeq: number | null;
  readonly apply: ApplierState | null;
  /** The final errors that stopped a half. */
  readonly stopped: Readonly<Partial<Record<Half, unknown>>>;
  /** Every reason why something of the lane waits. */
  readonly waiting: readonly string[];
  readonly lag: Lag;
};

/** The source counted between two marks, the target at exactly the first, and what was carried before each of the two. */
export type LaneCount = {
  readonly atSource: Readonly<Record<string, number>>;
  readonly atTarget: Readonly<Record<string, number>>;
  readonly before: TableCounts;
  readonly after: TableCounts;
};

/** One lane at work: a half on each side of the log, and the lag between them. */
export class LaneRuntime implements AttemptLane {
  readonly drains: DrainTimes;
  readonly #options: LaneRuntimeOptions;
  readonly #capture: CaptureHalf;
  readonly #apply: ApplyHalf;
  readonly #verify: VerifyHalf;
  readonly #verifyPace: VerifyPace;
  readonly #lag: LagMeter;
  readonly #pace: CopyPace;
  #mode: CaptureMode;
  #tailSeq: number | null = null;
  #durablePosition: Position | null = null;
  #isCopied = false;
  #copied: string | null = null;

  constructor(options: LaneRuntimeOptions) {
    this.#options = options;
    this.drains = new DrainTimes(options.clock);
    this.#mode = options.mode;
    this.#pace = new CopyPace({ throttle: options.throttle, lane: options.source.lane });
    this.#lag = new LagMeter({ clock: options.clock, intervalMs: options.heartbeatMs });
    this.#verifyPace = new VerifyPace({
      ...options,
      sharePercent: options.verifySharePercent,
      isCopied: () => this.#isCopied,
      lastChangeSeq: () => this.#capture.capture?.state().lastChangeSeq ?? 0,
      lagSeconds: () => this.#lag.read().seconds,
    });
    this.#verify = new VerifyHalf({
      ...options,
      stream: options.connector,
      yieldsTo: () => this.#verifyPace.yieldsTo(),
      restPerMs: () => this.#verifyPace.restPerMs(),
      rangeBudget: () => this.#verifyPace.rangeBudget(),
    });
    const verify = this.#verify;
    this.#apply = new ApplyHalf({
      ...options,
      verify,
      onApplied: (seq) => {
        this.#lag.applied(seq);
        this.#pace.applied(seq);
      },
      onStopped: (error) => options.onStopped("apply", error),
    });
    this.#capture = new CaptureHalf({
      ...options,
      verify,
      stream: options.connector,
      memory: { ...options.memory, anchor: async () => this.#apply.anchor },
      onOpened: () => {
        this.#lag.reset();
        this.#pace.reset();
      },
      onChunk: (seq, bytes) => this.#pace.appended(seq, bytes),
      onMark: (place) => this.#onMark(place),
      onCopied: (seq, signal) => this.#onCopied(seq, signal),
      onStopped: (error) => options.onStopped("capture", error),
    });
  }

  /** By the capture that is open now. */
  get changesCarried(): number {
    const carried = this.#capture.capture?.state().carried ?? {};
    return Object.values(carried).reduce((sum, each) => sum + each.insert + each.update + each.delete, 0);
  }

  get verification(): VerifyHalf {
    return this.#verify;
  }

  /** Every table's last chunk is durably applied. */
  get isCopied(): boolean {
    return this.#isCopied;
  }

  /** How far the log certainly holds the source's stream; null before this process has seen it. */
  get durablePosition(): Position | null {
    return this.#durablePosition;
  }

  get lane(): string {
    return this.#options.source.lane;
  }

  /** Starts what a final error, or nothing yet, has stopped. */
  start(): void {
    this.#capture.start();
    if (this.#mode === "carrying") this.#apply.start();
  }

  /** Ends both halves and waits for what is under way. */
  async stop(reason: string): Promise<void> {
    await Promise.all([this.#capture.stop(reason), this.#apply.stop(reason)]);
  }

  state(): LaneState {
    const apply = this.#apply.state();
    const feed = this.#capture.capture?.state().feed ?? null;
    const waiting = [...this.#capture.waiting, ...this.#options.throttle.reasons];
    if (feed?.reason) waiting.push(feed.reason);
    if (this.#apply.retrying) waiting.push(`apply: ${this.#apply.retrying}`);
    if (apply?.reason) waiting.push(apply.reason);
    if (this.#copied) waiting.push(this.#copied);
    if (this.#verify.waiting) waiting.push(this.#verify.waiting);
    const stopped: Partial<Record<Half, unknown>> = {};
    if (this.#capture.stopped !== null) stopped.capture = this.#capture.stopped;
    if (this.#apply.stopped !== null) stopped.apply = this.#apply.stopped;
    const { coverage } = this.#capture;
    return { coverage, feed, tailSeq: this.#tailSeq, apply, stopped, waiting, lag: this.#lag.read() };
  }

  /** Snapshot and apply stand still; capture goes on, so that the source's log is not needed later. */
  pause(reason: string): void {
    this.#options.throttle.hold("operator", reason);
    this.#apply.pause(reason);
  }

  resume(): void {
    this.#options.throttle.release("operator");
    this.#apply.resume();
  }

  /** Resolves with the seq from which on the tables are copied again (W4). */
  recopy(tables: readonly string[]): Promise<number> {
    this.#isCopied = false;
    return this.#capture.recopy(tables);
  }

  /** W4: whether rows of the table that are stale in the target may stand in each other's way. */
  async meetsStaleRows(table: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#apply.wait(signal)).sink.meetsStaleRows(table);
  }

  skip(seq: number): void {
    this.#apply.skip(seq);
  }

  /** Null where the lane began a new epoch meanwhile, so that nothing can be said. */
  async count(signal: AbortSignal): Promise<LaneCount | null> {
    const { connector, source } = this.#options;
    const capture = await this.#capture.wait(signal);
    const { place: low, done } = await this.#apply.atMark(
      () => capture.mark("count", signal),
      (sink) => sink.openReadView(signal),
      signal,
    );
    const atSource = await connector.countRows(source, signal);
    const high = await capture.mark("count", signal);
    const view = await done;
    try {
      const atTarget = await view.countRows(signal);
      if (low.header.epoch !== high.header.epoch) return null;
      return { atSource, atTarget, before: low.carried, after: high.carried };
    } finally {
      await view.close();
    }
  }

  async drain(signal: AbortSignal): Promise<Drained> {
    const capture = await this.#capture.wait(signal);
    return await this.drains.timed(async () => this.#applied(await capture.mark("sentinel", signal), signal));
  }

  async seal(signal: AbortSignal): Promise<Drained> {
    return await this.#applied(await this.#capture.seal(signal), signal);
  }

  describeKey(table: string, key: KeyBytes): string {
    return this.#options.describeKey(table, key);
  }

  compareUntil(over: AbortSignal): Promise<void> {
    return this.#verify.compareUntil(over);
  }

  rest(): void {
    this.#verifyPace.isFenced = true;
  }

  async verify({ place }: Drained, signal: AbortSignal): Promise<Unverified> {
    const { sink } = await this.#apply.wait(signal);
    return await this.#verify.compareFenced(sink, place.header.seq, signal);
  }

  unverified(): Unverified {
    return this.#verify.unverified();
  }

  held(): number {
    return this.#capture.sealed?.heldChanges ?? 0;
  }

  slipped(): readonly Slipped[] {
    return (this.#capture.sealed?.sinceSentinel ?? []).flatMap(({ transaction, committedAtMs, session, changes }) =>
      changes.map(({ table, key }) => ({
        lane: this.lane,
        table,
        key: this.describeKey(table, key),
        transaction,
        committedAtMs,
        session,
      })),
    );
  }

  release(): void {
    this.#verifyPace.isFenced = false;
    const held = this.held();
    this.#capture.release();
    if (held > 0) this.#options.onCarried();
  }

  /** C7: where a lane in standby is to begin; told before that mark is committed. */
  beginAt(begin: Begin): void {
    this.#capture.beginAt(begin);
  }

  /** C7: resolves once the lane has come to that mark, so that whatever comes behind it will be carried. */
  async comeTo({ generation, nonce }: Begin, signal: AbortSignal): Promise<"its mark" | "another mark"> {
    const capture = await this.#capture.wait(signal);
    if (capture.begunAt === null) await capture.arrived(nonce, signal);
    return capture.begunAt === generation ? "its mark" : "another mark";
  }

  /** The outcome is committed: from its mark on the lane carries, applies, and is verified. */
  carry(): void {
    this.#mode = "carrying";
    this.#capture.carry();
    this.#apply.start();
  }

  /** How long a mark takes to come back through a lane in standby, in ms: the proof that it is connected. */
  async echo(signal: AbortSignal): Promise<number> {
    const { clock } = this.#options;
    const capture = await this.#capture.wait(signal);
    const beganMs = clock.monotonicMs();
    await capture.mark("sentinel", signal);
    return clock.monotonicMs() - beganMs;
  }

  /** Commits a mark where the lane in standby reads; resolves once it is durable there. */
  async writeMark(signal: AbortSignal): Promise<void> {
    const { connector, source } = this.#options;
    const capture = await this.#capture.wait(signal);
    await connector.mark(source.lane, capture.state().epoch, "low", signal);
  }

  async close(signal: AbortSignal): Promise<void> {
    this.#mode = "watching";
    this.#capture.watch();
    await this.#apply.stop("the lane is closed");
    await this.#options.closeInTarget(signal);
  }

  async #applied(place: MarkPlace, signal: AbortSignal): Promise<Drained> {
    for (let isReached = false; !isReached; ) {
      const { applier } = await this.#apply.wait(signal);
      isReached = await applier.whenWatermark(place.header.seq, signal).then(
        () => true,
        async (error) => {
          // The applier that comes after it takes up where the target stands.
          if (!wantsReopening(error)) throw error;
          await this.#options.clock.sleep(5, signal);
          return false;
        },
      );
    }
    return { place, lastChangeSeq: this.#capture.sealed?.state().lastChangeSeq ?? Number.POSITIVE_INFINITY };
  }

  async #onCopied(seq: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      if (this.#apply.state() === null) {
        // Nobody is in a hurry here: a target that is gone for hours is not asked for more often because of this.
        const { stopped } = this.#apply;
        if (stopped !== null) this.#copied = `waiting for the target: ${reasonOf(stopped)}`;
        await this.#options.clock.sleep(50, signal);
        continue;
      }
      try {
        const { applier } = await this.#apply.wait(signal);
        await applier.whenWatermark(seq, signal);
        break;
      } catch (error) {
        signal.throwIfAborted();
        this.#copied = `waiting for the target: ${reasonOf(error)}`;
        await this.#options.clock.sleep(50, signal);
      }
    }
    this.#copied = null;
    this.#isCopied = true;
    this.#options.onCopied();
  }

  #onMark(place: MarkPlace): void {
    this.#tailSeq = place.header.seq;
    this.#durablePosition = place.header.position;
    if (place.mark.kind !== "heartbeat") return;
    const markedMs = this.#options.connector.markedAtMs(place.mark.nonce);
    if (markedMs !== null) this.#lag.inLog(place.header.seq, markedMs);
  }
}
