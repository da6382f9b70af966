import type { KeyBytes } from "./entry.ts";
import type { WindowRows } from "./verify/window-body.ts";
import { Window, type WindowScope } from "./window.ts";

/** What was read for a window, and how often the reader had connected by then (M2). */
export type ReadRows = { readonly rows: WindowRows; readonly high: string; readonly connects: number };

type Open = { read: ReadRows | null; readonly done: PromiseWithResolvers<number | null> };

/**
 * The windows of a lane that are open now. A window closes when both have come: the rows that were read, and its `high`
 * mark in the stream, whichever is first. Where the reader has connected anew in between, nothing is known of what the
 * read saw, and the window is discarded (M2).
 */
export class OpenWindows {
  readonly #connects: () => number;
  /** Appends at this place of the stream; resolves with the entry's seq once it is durable, null where it is refused. */
  readonly #append: (window: Window, rows: WindowRows) => Promise<number | null>;
  readonly #open = new Map<Window, Open>();
  /** `high` marks that the stream showed before their rows were handed in. */
  readonly #early = new Set<string>();

  constructor(options: {
    readonly connects: () => number;
    readonly append: (window: Window, rows: WindowRows) => Promise<number | null>;
  }) {
    this.#connects = options.connects;
    this.#append = options.append;
  }

  /** Open from this place of the stream on. */
  open(scope: WindowScope): Window {
    const window = new Window(scope);
    const done = Promise.withResolvers<number | null>();
    done.promise.catch(() => {});
    this.#open.set(window, { read: null, done });
    return window;
  }

  discard(window: Window): void {
    this.#open.delete(window);
  }

  isCopying(table: string): boolean {
    return [...this.#open.keys()].some((window) => window.table === table && window.opened.purpose === "copy");
  }

  /** Whoever waits for one of these is told that it is to be read again. */
  giveUp(tables: readonly string[]): void {
    for (const [window, { done }] of this.#open) {
      if (!tables.includes(window.table)) continue;
      this.#open.delete(window);
      done.resolve(null);
    }
  }

  /** A change of the tenant passes. */
  saw(table: string, key: KeyBytes): void {
    for (const window of this.#open.keys()) window.saw(table, key);
  }

  /** Resolves with the entry's seq once it is in the log, with null where the window was discarded. */
  async finish(window: Window, read: ReadRows): Promise<number | null> {
    const open = this.#open.get(window);
    if (open === undefined) return null; // given up meanwhile
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
      done.resolve(null);
      return;
    }
    this.#append(window, read.rows).then(done.resolve, done.reject);
  }
}
