import type { KeyRange } from "./coverage.ts";
import type { KeyBytes } from "./entry.ts";
import type { ChunkRows } from "./source.ts";
import { Window } from "./window.ts";

/** What was read for a window, and how often the reader had connected by then (M2). */
export type ReadRows = { readonly rows: ChunkRows; readonly high: string; readonly connects: number };

type Open = { read: ReadRows | null; readonly done: PromiseWithResolvers<boolean> };

/**
 * The windows of a lane that are open now. A window closes when both have come: the rows that were read, and its `high`
 * mark in the stream, whichever is first. Where the reader has connected anew in between, nothing is known of what the
 * read saw, and the window is discarded (M2).
 */
export class OpenWindows {
  readonly #connects: () => number;
  /** Appends the chunk at this place of the stream; resolves once it is durable. */
  readonly #append: (window: Window, rows: ChunkRows) => Promise<void>;
  readonly #open = new Map<Window, Open>();
  /** `high` marks that the stream showed before their rows were handed in. */
  readonly #early = new Set<string>();

  constructor(options: {
    readonly connects: () => number;
    readonly append: (window: Window, rows: ChunkRows) => Promise<void>;
  }) {
    this.#connects = options.connects;
    this.#append = options.append;
  }

  /** Open from this place of the stream on. */
  open(range: KeyRange): Window {
    const window = new Window(range);
    const done = Promise.withResolvers<boolean>();
    done.promise.catch(() => {});
    this.#open.set(window, { read: null, done });
    return window;
  }

  discard(window: Window): void {
    this.#open.delete(window);
  }

  isReading(table: string): boolean {
    return [...this.#open.keys()].some((window) => window.range.table === table);
  }

  /** A change of the tenant passes. */
  saw(table: string, key: KeyBytes): void {
    for (const window of this.#open.keys()) window.saw(table, key);
  }

  /** Resolves with true once the chunk is in the log, with false where the window was discarded. */
  async finish(window: Window, read: ReadRows): Promise<boolean> {
    const open = this.#open.get(window);
    if (open === undefined) throw new Error("the window is not open");
    open.read = read;
    // Keys that changed since the mark passed may be left out too, which is never wrong: the log has them (W1).
    if (this.#early.delete(read.high)) this.#close(window, open, read);
    return await open.done.promise;
  }

  /** The stream has come to a `high` mark. */
  high(nonce: string): void {
    for (const [window, open] of this.#open) {
      if (open.read?.high !== nonce) continue;
      this.#close(window, open, open.read);
      return;
    }
    this.#early.add(nonce);
  }

  fail(error: unknown): void {
    for (const { done } of this.#open.values()) done.reject(error);
  }

  #close(window: Window, { done }: Open, read: ReadRows): void {
    this.#open.delete(window);
    if (this.#connects() !== read.connects) {
      done.resolve(false);
      return;
    }
    this.#append(window, read.rows).then(() => done.resolve(true), done.reject);
  }
}
