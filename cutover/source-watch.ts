import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { RowsToSpare } from "../sinks/sink.ts";

/** A lane that watches the source from which rows are removed. */
export type WatchedLane = {
  readonly lane: string;
  /** How long a mark took through it and back, in ms. */
  readonly echo: (signal: AbortSignal) => Promise<number>;
  /** The final error that stopped it. */
  readonly stopped: () => unknown;
  readonly start: () => void;
};

export type SourceWatchOptions = {
  readonly move: string;
  readonly lanes: readonly WatchedLane[];
  readonly clock: Clock;
  /** By the lane's table, as keys' text: what was written behind the fence, as far as is known. */
  readonly known: (table: string) => ReadonlySet<string>;
  /** A lane whose strays are not all known; null: none. */
  readonly missedBy: () => string | null;
  /** Null: it waits no more. */
  readonly onWaiting: (reason: string | null) => void;
};

/** Beside the deleting, rows are locked no longer than this: nobody is to wait for more than 100 ms behind us. */
export const MOST_CONFIRM_MS = 75;
/** A mark that takes longer than others of late is of a moment in which locked rows would wait too long for the next. */
const TIMES_MEDIAN = 3;
const LEAST_READY_MS = 40;
export const MOST_READY_MS = 60;
const ECHOES_KEPT = 15;
/** One that takes longer is not measured, but missed. */
const ANSWER_MS = 5_000;
const AGAIN_MS = 500;
const START_AGAIN_MS = 5_000;

/**
 * Rows are removed only where it is known which were written behind the fence: a mark that comes back through the watch of
 * the source while they are locked proves it. Where none comes back in time, or too many rows were written for each to be
 * known, nothing is removed, and it is said why.
 */
export class SourceWatch implements RowsToSpare {
  readonly #options: SourceWatchOptions;
  #echoes: number[] = [];
  #startedMs = Number.NEGATIVE_INFINITY;

  constructor(options: SourceWatchOptions) {
    if (options.lanes.length === 0) throw new DrayError("FINISH_WITHOUT_LANES", { move: options.move });
    this.#options = options;
  }

  known(table: string): ReadonlySet<string> {
    return this.#options.known(table);
  }

  /** Waits, and says for what, until marks come back as fast as they must while rows are locked. */
  async ready(signal: AbortSignal): Promise<void> {
    const { clock, onWaiting } = this.#options;
    let isTold = false;
    const onRetry = (error: Error) => {
      isTold = true;
      onWaiting(reasonOf(error));
    };
    await withBackoff(() => this.#lookOnce(signal), { signal, onRetry, maxMs: AGAIN_MS, clock });
    if (isTold) onWaiting(null);
  }

  async confirm(signal: AbortSignal): Promise<void> {
    await this.#echo(MOST_CONFIRM_MS, signal);
    this.#requireAllKnown();
  }

  async #lookOnce(signal: AbortSignal): Promise<void> {
    this.#requireAllKnown();
    this.#startStopped();
    const tookMs = await this.#echo(ANSWER_MS, signal);
    this.#echoes = [...this.#echoes.slice(1 - ECHOES_KEPT), tookMs];
    const limitMs = this.#limitMs();
    const { move } = this.#options;
    if (tookMs > limitMs) throw new DrayError("SOURCE_WATCH_BEHIND", { move, tookMs: Math.round(tookMs), limitMs });
  }

  /** A slow source is not a busy one: what it takes as a rule is no reason to wait, unless rows were locked too long. */
  #limitMs(): number {
    const sorted = [...this.#echoes].sort((one, other) => one - other);
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
    return Math.round(Math.min(MOST_READY_MS, Math.max(LEAST_READY_MS, TIMES_MEDIAN * median)));
  }

  async #echo(withinMs: number, signal: AbortSignal): Promise<number> {
    const { move, lanes } = this.#options;
    const within = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
    try {
      return Math.max(...(await Promise.all(lanes.map(({ echo }) => echo(within)))));
    } catch (error) {
      signal.throwIfAborted();
      throw new DrayError("SOURCE_WATCH_BEHIND", { move, withinMs, error: reasonOf(error) }, error);
    }
  }

  #requireAllKnown(): void {
    const lane = this.#options.missedBy();
    if (lane !== null) throw new DrayError("STRAYS_UNKNOWN", { move: this.#options.move, lane });
  }

  /** What stopped it may have been put right; nobody can ask for a retry while a move is finishing. */
  #startStopped(): void {
    const { lanes, clock } = this.#options;
    const stopped = lanes.filter((lane) => lane.stopped() !== undefined);
    if (stopped.length === 0 || clock.monotonicMs() - this.#startedMs < START_AGAIN_MS) return;
    this.#startedMs = clock.monotonicMs();
    for (const lane of stopped) lane.start();
  }
}
