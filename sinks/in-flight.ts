import type { KeyRange } from "../pipeline/coverage.ts";
import { waitFor } from "../pipeline/wait.ts";
import type { ReadyEntry } from "./entry-feed.ts";

/** Null: what is read is of no pass. */
type TouchedRange = Pick<KeyRange, "table" | "after" | "upTo"> & { readonly pass: number | null };

/** What a transaction under way touches, or a comparison whose view is being opened. */
export type Footprint = {
  /** Per table, the keys of its changes, or those that are compared. */
  readonly keys: ReadonlyMap<string, ReadonlySet<string>>;
  readonly range: TouchedRange | null;
};

export type TableRules = {
  mayOvertake(table: string): boolean;
  hasOtherUnique(table: string): boolean;
};

type Span = { readonly after: string | null; readonly upTo: string | null };

/**
 * Which entries may go beside those under way (A2, A4): they share no key, and where a table's changes may not overtake
 * each other, no table. Chunks of one pass are disjoint; a change and a chunk of one table go together only where the
 * keys' order proves that the change lies outside the range. What is compared (V1) is held by the same rules until its
 * read view stands: it sees every earlier write of what it reads, and no later one.
 */
export class InFlight {
  readonly #rules: TableRules;
  /** Writes, and what is about to be read. */
  readonly #footprints = new Set<Footprint>();
  readonly #writes = new Map<Footprint, PromiseWithResolvers<void>>();

  constructor(rules: TableRules) {
    this.#rules = rules;
  }

  /** Writes, and views that are being opened. */
  get count(): number {
    return this.#footprints.size;
  }

  get writes(): number {
    return this.#writes.size;
  }

  add(footprint: Footprint): void {
    const applied = Promise.withResolvers<void>();
    applied.promise.catch(() => {}); // mostly nobody waits for it
    this.#footprints.add(footprint);
    this.#writes.set(footprint, applied);
  }

  /**
   * No later write of what is read is admitted until it is removed. Resolves once every earlier one is applied; rejects
   * with what has kept one from being so.
   */
  async addRead(footprint: Footprint, signal: AbortSignal): Promise<void> {
    this.#footprints.add(footprint);
    const earlier = [...this.#writes].filter(([write]) => this.#isMet(write, footprint));
    for (const [, applied] of earlier) await waitFor(applied, signal);
  }

  /** It has ended: a write is applied, or has failed for good; a view stands, or will not. */
  remove(footprint: Footprint, failure: unknown = null): void {
    const write = this.#writes.get(footprint);
    if (failure === null) write?.resolve();
    else write?.reject(failure);
    this.#footprints.delete(footprint);
    this.#writes.delete(footprint);
  }

  admitsChanges(entry: ReadyEntry): boolean {
    if (this.#footprints.size === 0) return true;
    for (const footprint of this.#footprints) {
      for (let i = 0; i < entry.changes.length; i++) {
        const table = entry.changes[i]?.table ?? "";
        const key = entry.keys[i] ?? "";
        const keys = footprint.keys.get(table);
        if (keys && (!this.#rules.mayOvertake(table) || keys.has(key))) return false;
        if (footprint.range?.table === table && this.#meets(footprint.range, key)) return false;
      }
    }
    return true;
  }

  admitsChunk(range: KeyRange): boolean {
    for (const footprint of this.#footprints) if (this.#meetsRange(footprint, range)) return false;
    return true;
  }

  #isMet(write: Footprint, read: Footprint): boolean {
    if (read.range !== null) return this.#meetsRange(write, read.range);
    for (const [table, keys] of read.keys) {
      const written = write.keys.get(table);
      if (written && !this.#rules.mayOvertake(table)) return true;
      for (const key of keys) {
        if (written?.has(key) || (write.range?.table === table && this.#meets(write.range, key))) return true;
      }
    }
    return false;
  }

  #meetsRange(footprint: Footprint, range: TouchedRange): boolean {
    if (footprint.range?.table === range.table && this.#overlap(footprint.range, range)) return true;
    for (const key of footprint.keys.get(range.table) ?? []) if (this.#meets(range, key)) return true;
    return false;
  }

  #meets(range: TouchedRange, key: string): boolean {
    if (this.#rules.hasOtherUnique(range.table)) return true;
    const span = spanOf(range);
    return span === null || ((span.after === null || key > span.after) && (span.upTo === null || key <= span.upTo));
  }

  #overlap(a: TouchedRange, b: TouchedRange): boolean {
    if (this.#rules.hasOtherUnique(a.table)) return true;
    const one = spanOf(a);
    const two = spanOf(b);
    if (one && two) return !endsBefore(one, two) && !endsBefore(two, one);
    // Keys without an order: one pass hands out every range once, so only the same range again can overlap.
    return a.pass !== b.pass || sameStart(a, b);
  }
}

const spans = new WeakMap<TouchedRange, { readonly span: Span | null }>();

/** The range in KeyBytes as text, whose order is the keys' order; null where the table's keys have none. */
function spanOf(range: TouchedRange): Span | null {
  const known = spans.get(range);
  if (known) return known.span;
  const ordered = range.after?.key !== null && range.upTo?.key !== null;
  const span = ordered ? { after: text(range.after?.key), upTo: text(range.upTo?.key) } : null;
  spans.set(range, { span });
  return span;
}

function text(hex: string | null | undefined): string | null {
  return hex ? Buffer.from(hex, "hex").toString("latin1") : null;
}

function endsBefore(a: Span, b: Span): boolean {
  return a.upTo !== null && b.after !== null && a.upTo <= b.after;
}

function sameStart(a: TouchedRange, b: TouchedRange): boolean {
  return JSON.stringify(a.after?.values ?? null) === JSON.stringify(b.after?.values ?? null);
}
