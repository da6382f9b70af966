import { type Bound, sameBound } from "../coverage.ts";
import type { KeyBytes } from "../entry.ts";
import { keyText } from "../key-text.ts";
import type { DifferenceKind, Found } from "./compare.ts";
import {
  blank,
  endTextOf,
  isBelow,
  joined,
  mayJoin,
  type Range,
  type RangeDigest,
  type Span,
  type VerifiedRange,
} from "./verified-range.ts";

/** A difference that stands until a later comparison of the key finds none. */
export type Difference = {
  readonly key: KeyBytes;
  readonly kind: DifferenceKind;
  /** Null until the row itself was compared; empty for a missing or an extra row. */
  readonly columns: readonly string[] | null;
  /** The place of the log at which it was real. */
  readonly seq: number;
  readonly foundAtMs: number;
};

export type TableState = {
  readonly table: string;
  readonly pass: number;
  readonly ranges: readonly VerifiedRange[];
  readonly dirty: readonly (readonly [KeyBytes, number])[];
  readonly differences: readonly Difference[];
};

/** V2: beyond so many dirty keys of a table a range falls back to being compared as a whole. */
export const DIRTY_CAP = 100_000;
const FALL_BACK_TO = 0.8;
/** So many differences of a table are kept by name. A range with more differs until it is compared again. */
export const MOST_DIFFERENCES = 10_000;

/**
 * What is known of one table: which ranges were found equal, at which place of the log, and which keys have changed
 * since (V2). A pure fold: whoever has folded the same entries and comparisons knows the same.
 */
export class VerifiedTable {
  readonly id: string;
  readonly #ordered: boolean;
  readonly #cap: number;
  readonly #most: number;
  #pass: number;
  #ranges: Range[] = [blank()];
  /** By key text, the one that changed longest ago first. */
  readonly #dirty = new Map<string, number>();
  readonly #differences = new Map<string, Difference>();
  /** Counts the passes that were asked for: work that began before the last one does not answer it. */
  #asked = 0;
  /** The last place of the log at which a comparison of the table has ended. */
  #latest = 0;

  constructor(options: {
    readonly id: string;
    readonly ordered: boolean;
    readonly pass: number;
    readonly cap?: number;
    readonly mostDifferences?: number;
  }) {
    this.id = options.id;
    this.#ordered = options.ordered;
    this.#pass = options.pass;
    this.#cap = options.cap ?? DIRTY_CAP;
    this.#most = options.mostDifferences ?? MOST_DIFFERENCES;
  }

  get pass(): number {
    return this.#pass;
  }
  get asked(): number {
    return this.#asked;
  }
  get ranges(): readonly VerifiedRange[] {
    return this.#ranges;
  }
  get dirtyKeys(): number {
    return this.#dirty.size;
  }
  get differences(): readonly Difference[] {
    return [...this.#differences.values()];
  }
  /** Every range has been compared since the table was copied. */
  get isCovered(): boolean {
    return this.#ranges.every(({ seq }) => seq !== null);
  }
  /** More rows differ than `differences` names. */
  get overflows(): boolean {
    return this.#ranges.some(({ overflows }) => overflows);
  }
  /** Ranges are still to be compared, or differences by their key. */
  get isDue(): boolean {
    if (this.#ranges.some(({ due }) => due)) return true;
    for (const key of this.#differences.keys()) if (this.#dirty.has(key)) return true;
    return false;
  }

  /** The table is copied again, or nothing is known of it any more. */
  reset(pass: number): void {
    this.#pass = pass;
    this.#ranges = [blank()];
    this.#dirty.clear();
    this.#differences.clear();
  }

  /** Everything is to be compared again; what was known stands until then. */
  ask(): void {
    this.#asked++;
    this.#ranges = this.#ranges.map((range) => ({ ...range, due: true }));
  }

  /** The keys of open differences are compared again by themselves. */
  recheck(): void {
    for (const [key, { seq }] of this.#differences) this.#makeDirty(key, seq);
  }

  /** The range around a key, for a repair; the whole table where its keys have no order. */
  spanOf(key: KeyBytes): Span {
    if (!this.#ordered) return { after: null, upTo: null };
    const { after, upTo } = this.#rangeOf(keyText(key));
    return { after, upTo };
  }

  /** It was written anew, as by a repair: every range that may hold a part of it is compared again as a whole. */
  forget(span: Span): void {
    const exact = this.#ranges.findIndex(
      ({ after, upTo }) => sameBound(after, span.after) && sameBound(upTo, span.upTo),
    );
    if (exact !== -1) return this.#fallBack(exact);
    for (const [i, range] of this.#ranges.entries()) if (this.#mayOverlap(range, span)) this.#fallBack(i);
  }

  /** An entry of the log changed the row. */
  changed(key: string, seq: number): void {
    if (!this.#isTracked(key)) return;
    this.#dirty.delete(key);
    this.#dirty.set(key, seq);
    if (this.#dirty.size > this.#cap) this.#shrink();
  }

  /**
   * The first piece of the table that is to be compared, and that nobody works at: of ranges that were compared before, as
   * many as lie one behind the other, for they may be compared as one again. Where keys have no order, one range.
   */
  nextDue(isTaken: (range: Span) => boolean): Span | null {
    const first = this.#ranges.findIndex((range) => range.due && !isTaken(range));
    if (first === -1) return null;
    const { after } = this.#ranges[first] as Range;
    let last = first;
    while (this.#mayJoin(last) && !isTaken(this.#ranges[last + 1] as Range)) last++;
    return { after, upTo: (this.#ranges[last] as Range).upTo };
  }

  /** A range is to begin and end here; false where the span is no piece of what `nextDue` told. */
  cut(span: Span): boolean {
    const first = this.#ranges.findIndex(({ after }) => sameBound(after, span.after));
    if (first === -1) return false;
    let last = first;
    while (this.#mayJoin(last) && this.#endsBehind(span.upTo, this.#ranges[last] as Range)) last++;
    // The last one is cut before it is joined, so that its rows stay with what is left of it.
    if (this.#split({ after: (this.#ranges[last] as Range).after, upTo: span.upTo }) === null) return false;
    const pieces = this.#ranges.slice(first, last + 1);
    this.#ranges.splice(first, pieces.length, pieces.reduce(joined));
    return true;
  }

  /**
   * A verify entry of this range stands at `seq`: from here on its changes are kept by key, so that none is missed while
   * the comparison is under way. A range that lies in no single one of ours is of no use (null).
   */
  began(span: Span, seq: number, leftOut: readonly string[]): boolean {
    const place = this.#split(span);
    if (place === null) return false;
    const range = this.#ranges[place] as Range;
    if (range.trackedFrom === null) this.#ranges[place] = { ...range, trackedFrom: seq };
    for (const key of leftOut) this.changed(key, Math.max(seq, this.#dirty.get(key) ?? 0));
    return true;
  }

  /** What was compared of a range at `seq`: `keys` are all that stood on either side, the left-out ones not among them. */
  comparedRange(
    span: Span,
    compared: {
      readonly seq: number;
      readonly rows: number;
      readonly digest: RangeDigest;
      readonly keys: Iterable<string>;
      readonly found: readonly Found[];
      readonly asked: number;
      readonly nowMs: number;
    },
  ): void {
    const place = this.#ranges.findIndex(
      ({ after, upTo }) => sameBound(after, span.after) && sameBound(upTo, span.upTo),
    );
    const range = this.#ranges[place];
    // Fallen back or copied again meanwhile: nothing has been kept of what changed since.
    if (range === undefined || range.trackedFrom === null || range.trackedFrom > compared.seq) return;
    const { seq, rows, digest, keys, found, asked, nowMs } = compared;
    this.#latest = Math.max(this.#latest, seq);
    this.#ranges[place] = {
      ...range,
      ...{ seq, rows, digest, overflows: false },
      due: asked === this.#asked ? false : range.due,
    };
    const differing = new Set(found.map(({ key }) => keyText(key)));
    if (this.#dirty.size > 0 || this.#differences.size > 0) {
      for (const key of keys) if (!differing.has(key)) this.#clear(key, seq);
    }
    for (const key of this.#differences.keys()) {
      if (differing.has(key)) continue;
      // What is on neither side was not in the lists. Left-out keys are dirty.
      if (this.#ordered && !this.#dirty.has(key) && this.#rangeOf(key) === this.#ranges[place]) this.#clear(key, seq);
      else this.#makeDirty(key, seq);
    }
    for (const { key, kind } of found) {
      const text = keyText(key);
      if (this.#differences.size >= this.#most && !this.#differences.has(text)) {
        this.#ranges[place] = { ...(this.#ranges[place] as Range), overflows: true };
        break;
      }
      this.#makeDirty(text, seq);
      if ((this.#differences.get(text)?.seq ?? 0) > seq) continue;
      this.#differences.set(text, { key: Buffer.from(key), kind, columns: null, seq, foundAtMs: nowMs });
    }
  }

  /** A row that was compared by its key at `seq`. */
  comparedKey(key: KeyBytes, seq: number, found: Omit<Difference, "key" | "seq"> | null): void {
    const text = keyText(key);
    const isOvertaken = seq < this.#latest;
    this.#latest = Math.max(this.#latest, seq);
    if ((this.#differences.get(text)?.seq ?? 0) > seq) return;
    if (found === null) return this.#clear(text, seq);
    this.#differences.set(text, { ...found, key: Buffer.from(key), seq });
    // A comparison of a later place that ended before this one may have found it equal: it is compared once more.
    if (isOvertaken) this.#makeDirty(text, seq);
    else if ((this.#dirty.get(text) ?? 0) <= seq) this.#dirty.delete(text);
  }

  /** Up to `limit`, those that changed longest ago first. */
  oldestDirty(limit: number): readonly KeyBytes[] {
    const keys: KeyBytes[] = [];
    for (const text of this.#dirty.keys()) {
      if (keys.length >= limit) break;
      keys.push(Buffer.from(text, "latin1"));
    }
    return keys;
  }

  /** Every key of which equality is not known: those that are dirty, and those of open differences. */
  openKeys(): readonly KeyBytes[] {
    const known = this.differences.filter(({ key }) => !this.#dirty.has(keyText(key))).map(({ key }) => key);
    return [...this.oldestDirty(this.#dirty.size), ...known];
  }

  state(): TableState {
    return {
      table: this.id,
      pass: this.#pass,
      ranges: this.#ranges.map(({ trackedFrom, endText, ...kept }) => kept),
      dirty: [...this.#dirty].map(([key, seq]) => [Buffer.from(key, "latin1"), seq] as const),
      differences: this.differences,
    };
  }

  /** As `state` said. What was being compared then is compared again, and a pass that was asked for meanwhile stands. */
  restore(state: TableState): void {
    this.#pass = state.pass;
    this.#ranges = state.ranges.map((range) => ({
      ...range,
      // Kept by an earlier version, it has neither.
      digest: range.digest ?? null,
      overflows: range.overflows ?? false,
      due: range.due || range.seq === null || this.#asked > 0,
      trackedFrom: range.seq,
      endText: endTextOf(range.upTo),
    }));
    this.#dirty.clear();
    for (const [key, seq] of state.dirty) this.#dirty.set(keyText(key), seq);
    this.#differences.clear();
    for (const difference of state.differences) this.#differences.set(keyText(difference.key), difference);
  }

  #clear(key: string, seq: number): void {
    if ((this.#differences.get(key)?.seq ?? 0) <= seq && this.#differences.delete(key)) this.#nameMore();
    if ((this.#dirty.get(key) ?? Number.POSITIVE_INFINITY) <= seq) this.#dirty.delete(key);
  }

  /** Where there is room for names again, as behind a repair, what could not be named is looked for. */
  #nameMore(): void {
    if (this.#differences.size >= this.#most / 2 || !this.overflows) return;
    this.#ranges = this.#ranges.map((range) => (range.overflows ? { ...range, due: true } : range));
  }

  #makeDirty(key: string, seq: number): void {
    if (!this.#dirty.has(key)) this.#dirty.set(key, seq);
  }

  #isTracked(key: string): boolean {
    if (!this.#ordered) return this.#ranges.some(({ trackedFrom }) => trackedFrom !== null);
    return this.#rangeOf(key).trackedFrom !== null;
  }

  /** Ordered keys only: the first range whose end is not below the key. */
  #rangeOf(key: string): Range {
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const end = (this.#ranges[middle] as Range).endText;
      if (end === null || key <= end) high = middle;
      else low = middle + 1;
    }
    return this.#ranges[low] as Range;
  }

  #mayOverlap({ after, upTo, endText }: Range, span: Span): boolean {
    if (!this.#ordered) return true;
    const begins = after === null || span.upTo === null || isBelow(endTextOf(after), endTextOf(span.upTo));
    return begins && (upTo === null || span.after === null || isBelow(endTextOf(span.after), endText));
  }

  /** The place of a range that is exactly the span, cut out of the larger one that begins where it does. */
  #split(span: Span): number | null {
    const place = this.#ranges.findIndex(({ after }) => sameBound(after, span.after));
    const range = this.#ranges[place];
    if (range === undefined) return null;
    if (sameBound(range.upTo, span.upTo)) return place;
    const endText = endTextOf(span.upTo);
    const isInside = span.upTo !== null && (range.upTo === null || (this.#ordered && isBelow(endText, range.endText)));
    if (!isInside) return null;
    const first: Range = { ...range, upTo: span.upTo, endText, rows: 0, digest: null };
    const rest: Range = { ...range, after: span.upTo, digest: null };
    this.#ranges.splice(place, 1, first, rest);
    return place;
  }

  /** With the one behind it. */
  #mayJoin(place: number): boolean {
    const [one, next] = [this.#ranges[place], this.#ranges[place + 1]];
    return this.#ordered && one !== undefined && next !== undefined && mayJoin(one, next);
  }

  #endsBehind(upTo: Bound | null, { endText }: Range): boolean {
    return upTo === null ? endText !== null : isBelow(endText, endTextOf(upTo));
  }

  #shrink(): void {
    while (this.#dirty.size > this.#cap * FALL_BACK_TO) {
      if (!this.#ordered) {
        this.#ranges = [blank()];
        this.#dirty.clear();
        return;
      }
      const counts = new Map<Range, number>();
      for (const key of this.#dirty.keys()) {
        const range = this.#rangeOf(key);
        counts.set(range, (counts.get(range) ?? 0) + 1);
      }
      const [fullest] = [...counts].reduce((most, next) => (next[1] > most[1] ? next : most));
      this.#fallBack(this.#ranges.indexOf(fullest));
    }
  }

  #fallBack(place: number): void {
    const range = this.#ranges[place];
    if (range === undefined) return;
    const fallen: Range = { ...range, seq: null, overflows: false, digest: null, due: true, trackedFrom: null };
    if (this.#ordered) {
      for (const key of this.#dirty.keys()) if (this.#rangeOf(key) === range) this.#dirty.delete(key);
    }
    this.#ranges[place] = fallen;
  }
}
