import { randomUUID } from "node:crypto";
import { keepRunning, reasonOf } from "../../pipeline/backoff.ts";
import type { ChunkStore } from "../../pipeline/chunk-store/chunk-store.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { LogAnchor } from "../../pipeline/entry.ts";
import { isLostBody } from "../../pipeline/entry-codec.ts";
import type { DrayError } from "../../pipeline/errors.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { LaneSource } from "../../pipeline/source.ts";
import { Applier } from "../../sinks/applier.ts";
import type { ApplierState } from "../../sinks/applier-options.ts";
import type { LaneSink, Sink } from "../../sinks/sink.ts";
import { type LostBody, passedOver } from "./lost-body.ts";
import { Supervised } from "./supervised.ts";
import type { VerifyHalf } from "./verify-half.ts";

export type ApplyHalfOptions = {
  readonly source: LaneSource;
  readonly sink: Sink;
  readonly log: ChangeLog;
  readonly chunkStore: ChunkStore;
  readonly clock: Clock;
  readonly probe: Probe;
  /** How long applied entries stay in the log. */
  readonly keepAppliedMs: number;
  readonly verify: Pick<VerifyHalf, "open" | "keep" | "stop" | "follower" | "savedAnchor">;
  readonly onApplied: (seq: number) => void;
  /** L6: has the tables of a lost body copied again; the seq of each from which on it is. Rejects where it cannot be. */
  readonly makeUpFor: (loss: LostBody, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>;
  readonly onStopped: (error: unknown) => void;
};

export type Applying = { readonly applier: Applier; readonly sink: LaneSink };

const TRIM_EVERY_MS = 10_000;

/** The target's side of a lane: an applier epoch after the other, each asking the target where it stands (A7). */
export class ApplyHalf {
  readonly #options: ApplyHalfOptions;
  readonly #supervised: Supervised<Applying>;
  readonly #skipped = new Set<number>();
  #paused: string | null = null;
  #anchor: LogAnchor | null = null;
  /** Null where a person, or a new process, takes the lane again whoever has it (A7). */
  #lastEpoch: number | null = null;
  readonly #claim = randomUUID();
  #trimProblem: string | null = null;
  /** What must be made up for before the lane is opened again. */
  #lost: ((signal: AbortSignal) => Promise<ReadonlySet<number>>) | null = null;
  #lostReason: string | null = null;

  constructor(options: ApplyHalfOptions) {
    this.#options = options;
    this.#supervised = new Supervised({
      clock: options.clock,
      run: (signal, ready) => this.#run(signal, ready),
      onStopped: options.onStopped,
    });
  }

  /** The entry that the target recorded last, as far as was asked; null before. */
  get anchor(): LogAnchor | null {
    return this.#anchor;
  }

  get stopped(): unknown {
    return this.#supervised.stopped;
  }

  get retrying(): string | null {
    const lost = this.stopped === null ? this.#lostReason : null;
    return lost ?? this.#supervised.retrying ?? this.#trimProblem;
  }

  state(): ApplierState | null {
    return this.#supervised.part?.applier.state() ?? null;
  }

  start(): void {
    if (this.stopped !== null) {
      this.#lastEpoch = null;
      // It may be back.
      this.#lost = null;
      this.#lostReason = null;
    }
    this.#supervised.start();
  }

  stop(reason: string): Promise<void> {
    return this.#supervised.stop(reason);
  }

  wait(signal: AbortSignal): Promise<Applying> {
    return this.#supervised.wait(signal);
  }

  pause(reason: string): void {
    this.#paused = reason;
    this.#supervised.part?.applier.pause(reason);
  }

  resume(): void {
    this.#paused = null;
    this.#supervised.part?.applier.resume();
  }

  /** A8: passes over one entry; the caller has journalled it. */
  skip(seq: number): void {
    this.#skipped.add(seq);
    this.#supervised.part?.applier.skip(seq);
  }

  /**
   * Runs `work` at the place that `mark` commits: everything before it applied, nothing behind. The applier is held for
   * the mark's round trip, so that it cannot pass the place before it knows that it must stop there.
   */
  async atMark<M extends { readonly header: { readonly seq: number } }, T>(
    mark: () => Promise<M>,
    work: (sink: LaneSink) => Promise<T>,
    signal: AbortSignal,
  ): Promise<{ readonly place: M; readonly done: Promise<T> }> {
    const { applier, sink } = await this.#supervised.wait(signal);
    applier.pause("a mark is on its way");
    try {
      const place = await mark();
      const done = applier.atBarrier(place.header.seq + 1, () => work(sink));
      done.catch(() => {});
      return { place, done };
    } finally {
      if (this.#paused === null) applier.resume();
    }
  }

  async #run(signal: AbortSignal, ready: (part: Applying) => void): Promise<void> {
    if (this.#lost !== null) {
      for (const seq of await this.#lost(signal)) this.#skipped.add(seq);
      this.#lost = null;
      this.#lostReason = null;
    }
    const { source, sink, log, chunkStore, clock, probe, verify, onApplied } = this.#options;
    const { lane, move, tenant, tables } = source;
    const laneSink = await sink.open(
      { lane, move, tenant, tables, lastEpoch: this.#lastEpoch, claim: this.#claim },
      signal,
    );
    this.#lastEpoch = laneSink.epoch;
    try {
      const progress = await laneSink.progress(signal);
      this.#anchor = progress.anchor;
      await verify.open(laneSink, progress, signal);
      const applier = new Applier({
        log,
        lane,
        sink: laneSink,
        chunkStore,
        clock,
        probe,
        follower: verify.follower,
        onApplied: (header) => onApplied(header.seq),
      });
      for (const seq of this.#skipped) applier.skip(seq);
      if (this.#paused !== null) applier.pause(this.#paused);
      const life = new AbortController();
      const both = AbortSignal.any([signal, life.signal]);
      const onRetry = (error: Error) => {
        this.#trimProblem = reasonOf(error);
      };
      // A target that goes away for a moment ends neither the trimming nor, by a rejection nobody hears, the process.
      const trimming = keepRunning((each) => this.#trim(laneSink, each), { clock, signal: both, onRetry });
      const applying = applier.run(both);
      const keeping = verify.keep(both);
      ready({ applier, sink: laneSink });
      try {
        await Promise.race([applying, trimming]);
      } catch (error) {
        life.abort(error);
        // Nobody finds this part any more while the source is read again.
        if (!isLostBody(error)) throw error;
        this.#lose(error, laneSink);
      } finally {
        life.abort(new Error("applying ended"));
        await Promise.allSettled([applying, trimming, keeping]);
        await verify.stop();
        this.#trimProblem = null;
      }
    } finally {
      await laneSink.close();
    }
  }

  #lose(error: DrayError, sink: LaneSink): void {
    const { log, source, makeUpFor } = this.#options;
    const meetsStaleRows = (table: string) => sink.meetsStaleRows(table);
    const after = this.#anchor;
    const options = { log, lane: source.lane, after, error, meetsStaleRows, makeUpFor };
    this.#lost = (signal) => passedOver(options, signal);
    this.#lostReason = `what a lost body held is read again: ${reasonOf(error)}`;
  }

  /** L2, L7: what the target has durably applied goes from the log after a while, but for the entry it has recorded. */
  async #trim(sink: LaneSink, signal: AbortSignal): Promise<void> {
    const { clock, log, keepAppliedMs, source } = this.#options;
    const reached: { readonly atMs: number; readonly anchor: LogAnchor }[] = [];
    for (;;) {
      await clock.sleep(TRIM_EVERY_MS, signal);
      const { anchor } = await sink.progress(signal);
      this.#trimProblem = null;
      if (anchor === null) continue;
      this.#anchor = anchor;
      if (Number.isFinite(keepAppliedMs)) reached.push({ atMs: clock.monotonicMs(), anchor });
      let old: LogAnchor | null = null;
      while (reached[0] && clock.monotonicMs() - reached[0].atMs >= keepAppliedMs)
        old = reached.shift()?.anchor ?? null;
      // What is verified is folded on from where it was kept (V2).
      const folded = this.#options.verify.savedAnchor;
      if (old && folded && folded.seq < old.seq) old = folded;
      if (old) await log.trim(source.lane, old);
    }
  }
}
