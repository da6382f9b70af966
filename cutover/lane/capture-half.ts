import { reasonOf } from "../../pipeline/backoff.ts";
import type { Begin, LaneMemory, MarkPlace, Stray } from "../../pipeline/capture-options.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { type Coverage, isComplete } from "../../pipeline/coverage.ts";
import { LaneCapture } from "../../pipeline/lane-capture.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { Snapshot } from "../../pipeline/snapshot.ts";
import type { ChunkBudget, LaneSource, StreamSource } from "../../pipeline/source.ts";
import type { Throttle } from "../../pipeline/throttle.ts";
import { Latch } from "./latch.ts";
import { Supervised } from "./supervised.ts";
import type { VerifyHalf } from "./verify-half.ts";

/**
 * carrying: capture and copy. watching: the lane was closed by a commit, and only strays matter (C5). standby: it leads
 * back, is connected, and carries nothing yet (C7).
 */
export type CaptureMode = "carrying" | "watching" | "standby";

export type CaptureHalfOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly log: ChangeLog;
  readonly memory: LaneMemory;
  readonly throttle: Throttle;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly parallelRanges: number;
  readonly chunkBudget: ChunkBudget;
  readonly mode: CaptureMode;
  /** 0, or above where an earlier lane of the move has copied already (W4). */
  readonly firstPass: number;
  readonly leadsBack: boolean;
  readonly begins: Begin | null;
  readonly verify: Pick<VerifyHalf, "run">;
  readonly onOpened: () => void;
  readonly onMark: (place: MarkPlace) => void;
  readonly onChunk: (seq: number, bytes: number) => void;
  readonly onStray: (stray: Stray) => Promise<void>;
  /** The last chunk of every table stands in the log, before `seq`. Awaited; called again after a restart or a recopy. */
  readonly onCopied: (seq: number, signal: AbortSignal) => Promise<void>;
  readonly onStopped: (error: unknown) => void;
};

type Recopy = { readonly tables: readonly string[]; readonly done: PromiseWithResolvers<number> };

/**
 * The source's side of a lane: a writer epoch after the other, each going on from the log's tail, and the snapshot that
 * rides on it. Behind a seal no new epoch is opened before somebody decides what becomes of it.
 */
export class CaptureHalf {
  readonly #options: CaptureHalfOptions;
  readonly #supervised: Supervised<LaneCapture>;
  readonly #mayOpen = new Latch<true>();
  #mode: CaptureMode;
  /** Which wrote S2: what it held and saw counts though it may have ended since. */
  #sealed: LaneCapture | null = null;
  #begins: Begin | null;
  /** Set once the lane carries: what rides on it, snapshot and verification, begins. */
  readonly #carries = new Latch<true>();
  #recopies: Recopy[] = [];
  #copyLife = new AbortController();
  #copyProblem: string | null = null;
  #coverage: Coverage | null = null;

  constructor(options: CaptureHalfOptions) {
    this.#options = options;
    this.#mode = options.mode;
    this.#begins = options.begins;
    if (options.mode === "carrying") this.#carries.set(true);
    this.#mayOpen.set(true);
    this.#supervised = new Supervised({
      clock: options.clock,
      run: (signal, ready) => this.#run(signal, ready),
      onStopped: (error) => {
        for (const { done } of this.#recopies.splice(0)) done.reject(error);
        options.onStopped(error);
      },
    });
  }

  get capture(): LaneCapture | null {
    return this.#supervised.part;
  }

  /** As the log says; the last known one while no epoch is open. */
  get coverage(): Coverage | null {
    return this.#supervised.part?.coverage ?? this.#coverage;
  }

  get stopped(): unknown {
    return this.#supervised.stopped;
  }

  get waiting(): readonly string[] {
    const { retrying } = this.#supervised;
    return [...(retrying ? [`capture: ${retrying}`] : []), ...(this.#copyProblem ? [this.#copyProblem] : [])];
  }

  start(): void {
    this.#supervised.start();
  }

  stop(reason: string): Promise<void> {
    return this.#supervised.stop(reason);
  }

  wait(signal: AbortSignal): Promise<LaneCapture> {
    return this.#supervised.wait(signal);
  }

  /** The one that sealed; the one that is open where none did. */
  get sealed(): LaneCapture | null {
    return this.#sealed ?? this.capture;
  }

  /** S2. From its place in the stream on nothing is carried, and no other epoch may begin, until `release` or `watch`. */
  async seal(signal: AbortSignal): Promise<MarkPlace> {
    // Asked for again: whoever had an earlier S2 gave it up, and its capture may have ended since.
    this.#letOpen();
    const capture = await this.#supervised.wait(signal);
    this.#mayOpen.unset();
    this.#sealed = capture;
    try {
      return await capture.seal(signal);
    } catch (error) {
      // Nobody has this S2, so nothing is decided by it: the next epoch may begin, and be sealed in its turn.
      this.#letOpen();
      throw error;
    }
  }

  release(): void {
    this.#supervised.part?.release();
    this.#letOpen();
  }

  /** C7: where a lane in standby is to begin, before that mark is committed. */
  beginAt(begin: Begin): void {
    this.#begins = begin;
    this.#supervised.part?.beginAt(begin);
  }

  /** The outcome is committed: what the tenant writes from the mark on is carried. */
  carry(): void {
    this.#mode = "carrying";
    this.#carries.set(true);
  }

  watch(): void {
    this.#mode = "watching";
    this.#carries.unset();
    this.#supervised.part?.watch();
    this.#letOpen();
  }

  /** W4: these tables are copied again, from a new start mark on. Resolves with its seq once that stands in the log. */
  async recopy(tables: readonly string[]): Promise<number> {
    const done = Promise.withResolvers<number>();
    this.#recopies.push({ tables, done });
    this.#copyLife.abort(new Error("tables are to be copied again"));
    return await done.promise;
  }

  #letOpen(): void {
    this.#sealed = null;
    this.#mayOpen.set(true);
  }

  async #run(signal: AbortSignal, ready: (capture: LaneCapture) => void): Promise<void> {
    const { source, stream, log, memory, probe, onMark, onChunk, onStray, onOpened } = this.#options;
    const { firstPass, leadsBack } = this.#options;
    await this.#mayOpen.wait(signal);
    const mode = this.#mode;
    const capture = await LaneCapture.open(
      {
        source,
        stream,
        log,
        memory,
        probe,
        mode,
        begins: this.#begins,
        firstPass,
        leadsBack,
        onMark,
        onChunk,
        onStray,
      },
      signal,
    );
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const { verify } = this.#options;
    const ride = (work: () => Promise<never>) => this.#carries.wait(both).then(work);
    const riding =
      mode === "watching"
        ? [forever(both)]
        : [ride(() => this.#copy(capture, both)), ride(() => verify.run(capture, both))];
    const tasks = [capture.run(both), ...riding];
    onOpened();
    ready(capture);
    try {
      await Promise.race(tasks);
    } catch (error) {
      // Whoever waits for a mark, or for rows to be compared, learns what ended it, and whether to try again.
      stop.abort(error);
      throw error;
    } finally {
      this.#coverage = capture.coverage;
      await Promise.allSettled(tasks);
    }
  }

  /** Copies what coverage still asks for, then waits for a recopy; until aborted. */
  async #copy(capture: LaneCapture, signal: AbortSignal): Promise<never> {
    for (;;) {
      this.#copyLife = new AbortController();
      const life = this.#copyLife.signal;
      for (const { tables, done } of this.#recopies.splice(0)) {
        await capture.recopy(tables, signal).then(done.resolve, done.reject);
      }
      const both = AbortSignal.any([signal, life]);
      try {
        await this.#copyOnce(capture, both);
        await forever(both);
      } catch (error) {
        signal.throwIfAborted();
        if (!life.aborted) throw error;
      }
    }
  }

  async #copyOnce(capture: LaneCapture, signal: AbortSignal): Promise<void> {
    const { source, stream, throttle, probe, parallelRanges, chunkBudget, onCopied } = this.#options;
    if (!isComplete(capture.coverage)) {
      const snapshot = new Snapshot({
        source,
        stream,
        capture,
        throttle,
        probe,
        parallel: parallelRanges,
        budget: chunkBudget,
        onRetry: (error) => {
          this.#copyProblem = `snapshot: ${reasonOf(error)}`;
        },
        onProgress: () => {
          this.#copyProblem = null;
        },
      });
      await snapshot.run(signal);
    }
    this.#copyProblem = null;
    const { header } = await capture.mark("sentinel", signal);
    await onCopied(header.seq, signal);
  }
}

/** Rejects with the signal's reason; never resolves. */
function forever(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
