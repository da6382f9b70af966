import { withBackoff } from "./backoff.ts";
import {
  type Bound,
  type Coverage,
  isComplete,
  type KeyRange,
  type TableCoverage,
  tableIsComplete,
} from "./coverage.ts";
import type { LaneCapture } from "./lane-capture.ts";
import { readBetweenMarks } from "./marked-read.ts";
import type { ReadRows } from "./open-windows.ts";
import type { Probe } from "./probe.ts";
import type { ChunkBudget, CoveredTable, LaneSource, StreamSource } from "./source.ts";
import type { Throttle } from "./throttle.ts";
import type { Window } from "./window.ts";

export type SnapshotOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly capture: LaneCapture;
  readonly throttle: Throttle;
  readonly probe: Probe;
  /** Ranges read at once. */
  readonly parallel: number;
  readonly budget: ChunkBudget;
  readonly onRetry: (error: Error, attempt: number) => void;
  /** A chunk is in the log. */
  readonly onProgress: () => void;
};

type Work = { readonly range: KeyRange; readonly window: Window };

/**
 * Copies what coverage says is not copied yet: each range is announced in the log, read between two marks, and handed to
 * the capture that closes its window (W1, W3). Ranges of one table follow each other; several are read at once. A root is
 * begun once every other table's last chunk stands in the log (T2).
 */
export class Snapshot {
  readonly #options: SnapshotOptions;
  readonly #tables: ReadonlyMap<string, CoveredTable>;
  #planning: Promise<unknown> = Promise.resolve();

  constructor(options: SnapshotOptions) {
    this.#options = options;
    this.#tables = new Map(options.source.tables.map((table) => [table.id, table]));
  }

  /** Resolves once every table is complete. Any error is final: transient ones are tried again inside. */
  async run(signal: AbortSignal): Promise<void> {
    const left = this.#coverage.tables.flatMap((table) => [...table.open]);
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const workers = Array.from({ length: this.#options.parallel }, () => this.#work(left, both));
    try {
      await Promise.all(workers);
    } catch (error) {
      stop.abort(error);
      await Promise.allSettled(workers);
      throw error;
    }
    if (!isComplete(this.#coverage)) throw new Error("the snapshot ended before every table was complete");
  }

  get #coverage(): Coverage {
    return this.#options.capture.coverage;
  }

  async #work(left: KeyRange[], signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#options.throttle.clear(signal);
      const open = left.shift();
      const work = open ? { range: open, window: this.#options.capture.reopen(open) } : await this.#planNext(signal);
      if (work === null) return;
      await this.#copy(work, signal);
    }
  }

  /** One at a time: each range begins where the last one ended, and its announcement must be in the log before it is read. */
  #planNext(signal: AbortSignal): Promise<Work | null> {
    const planned = this.#planning.then(() => this.#plan(signal));
    this.#planning = planned.catch(() => {});
    return planned;
  }

  async #plan(signal: AbortSignal): Promise<Work | null> {
    signal.throwIfAborted();
    const table = this.#coverage.tables.find((candidate) => candidate.planned !== "end");
    if (table === undefined) return null;
    const covered = this.#tables.get(table.table);
    if (covered === undefined) throw new Error(`${table.table} is covered but not in the lane`);
    if (covered.root) await this.#othersComplete(table, signal);
    const after = table.planned === "end" ? null : table.planned;
    const upTo = await this.#retrying(signal, () =>
      this.#options.stream.nextBound(this.#options.source, table.table, after, this.#options.budget, signal),
    );
    const range: KeyRange = {
      table: table.table,
      pass: table.pass,
      after,
      upTo,
      announces: announcement(covered, upTo),
    };
    return { range, window: await this.#options.capture.announce(range) };
  }

  async #copy(work: Work, signal: AbortSignal): Promise<void> {
    const { capture, probe } = this.#options;
    let window = work.window;
    for (;;) {
      const read = await this.#retrying(signal, () => this.#read(work.range, signal)).catch((error) => {
        capture.discard(window);
        throw error;
      });
      if (read !== null) {
        await probe("capture.after-high-mark", { table: work.range.table });
        if ((await capture.finish(window, read)) !== null) {
          this.#options.onProgress();
          return;
        }
      }
      // M2: the server, its settings or the reader changed in between, so that nothing is known of this read's place.
      capture.discard(window);
      window = capture.reopen(work.range);
    }
  }

  #read(range: KeyRange, signal: AbortSignal): Promise<ReadRows | null> {
    const { stream, source } = this.#options;
    return readBetweenMarks(this.#options, range.table, () => stream.readRange(source, range, signal), signal);
  }

  async #othersComplete(root: TableCoverage, signal: AbortSignal): Promise<void> {
    const others = () => this.#coverage.tables.filter((table) => table.table !== root.table);
    while (!others().every(tableIsComplete)) await this.#options.capture.chunkAppended(signal);
  }

  #retrying<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return withBackoff(work, { signal, onRetry: this.#options.onRetry });
  }
}

/** W3: where keys have no order that we can prove, everything is kept from the first announcement on. */
function announcement(table: CoveredTable, upTo: Bound | null): Bound | "end" {
  return table.ordered && upTo !== null ? upTo : "end";
}
