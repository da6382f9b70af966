/** One transaction's name: `source` is the server's uuid, or `uuid:tag`, in lower case. */
export type Gtid = { readonly source: string; readonly number: bigint };

type Interval = { from: bigint; to: bigint };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TAG = /^[a-z_][a-z0-9_]{0,31}$/;
const HIGHEST = 0x7fff_ffff_ffff_ffffn;

/**
 * An exact set of GTIDs, tags included, as MySQL writes it: `uuid:1-5:8:tag:1-3,uuid2:7`. Only `add` and `addAll` change
 * a set; every other operation makes a new one. Numbers are bigint, for a server accepts any up to 2^63 - 1.
 */
export class GtidSet {
  /** Per source: disjoint, ascending, never adjacent. */
  readonly #sources = new Map<string, Interval[]>();
  #text: string | null = null;

  static parse(text: string): GtidSet {
    const set = new GtidSet();
    for (const part of text.replaceAll(/\s/g, "").toLowerCase().split(",")) {
      if (part === "") continue;
      const [uuid, ...words] = part.split(":");
      if (uuid === undefined || !UUID.test(uuid) || words.length === 0) throw new Error(`not a GTID set: ${text}`);
      let source = uuid;
      for (const word of words) {
        if (TAG.test(word)) {
          source = `${uuid}:${word}`;
          continue;
        }
        const ends = /^(\d+)(?:-(\d+))?$/.exec(word);
        if (!ends) throw new Error(`not a GTID set: ${text}`);
        const from = BigInt(ends[1] ?? "");
        set.#insert(source, { from, to: ends[2] === undefined ? from : BigInt(ends[2]) }, text);
      }
    }
    return set;
  }

  get isEmpty(): boolean {
    return this.#sources.size === 0;
  }

  has(gtid: Gtid): boolean {
    const intervals = this.#sources.get(gtid.source);
    if (!intervals) return false;
    const place = firstEndingAt(intervals, gtid.number);
    const interval = intervals[place];
    return interval !== undefined && interval.from <= gtid.number;
  }

  add(gtid: Gtid): void {
    const intervals = this.#sources.get(gtid.source);
    const last = intervals?.at(-1);
    if (last !== undefined && last.to + 1n === gtid.number && gtid.number <= HIGHEST) {
      // The common case: the next transaction of a source.
      last.to = gtid.number;
      this.#text = null;
      return;
    }
    this.#insert(gtid.source, { from: gtid.number, to: gtid.number }, gtidText(gtid));
  }

  addAll(other: GtidSet): void {
    for (const [source, intervals] of other.#sources) {
      for (const interval of intervals) this.#insert(source, { ...interval }, source);
    }
  }

  clone(): GtidSet {
    const copy = new GtidSet();
    for (const [source, intervals] of this.#sources) {
      copy.#sources.set(
        source,
        intervals.map((interval) => ({ ...interval })),
      );
    }
    return copy;
  }

  union(other: GtidSet): GtidSet {
    const all = this.clone();
    all.addAll(other);
    return all;
  }

  intersection(other: GtidSet): GtidSet {
    const both = new GtidSet();
    for (const [source, intervals] of this.#sources) {
      const others = other.#sources.get(source);
      if (!others) continue;
      const shared: Interval[] = [];
      for (let i = 0, j = 0; i < intervals.length && j < others.length; ) {
        const a = intervals[i] as Interval;
        const b = others[j] as Interval;
        const from = a.from > b.from ? a.from : b.from;
        const to = a.to < b.to ? a.to : b.to;
        if (from <= to) shared.push({ from, to });
        if (a.to < b.to) i++;
        else j++;
      }
      if (shared.length > 0) both.#sources.set(source, shared);
    }
    return both;
  }

  /** What is in this set and not in the other. */
  minus(other: GtidSet): GtidSet {
    const rest = new GtidSet();
    for (const [source, intervals] of this.#sources) {
      const left: Interval[] = [];
      const others = other.#sources.get(source) ?? [];
      for (const interval of intervals) {
        let from = interval.from;
        for (let i = firstEndingAt(others, from); i < others.length; i++) {
          const hole = others[i] as Interval;
          if (hole.from > interval.to) break;
          if (hole.from > from) left.push({ from, to: hole.from - 1n });
          from = hole.to + 1n;
        }
        if (from <= interval.to) left.push({ from, to: interval.to });
      }
      if (left.length > 0) rest.#sources.set(source, left);
    }
    return rest;
  }

  isSubsetOf(other: GtidSet): boolean {
    for (const [source, intervals] of this.#sources) {
      const others = other.#sources.get(source);
      if (!others) return false;
      for (const interval of intervals) {
        const around = others[firstEndingAt(others, interval.to)];
        if (around === undefined || around.from > interval.from) return false;
      }
    }
    return true;
  }

  /** How many transactions it holds. */
  count(): bigint {
    let count = 0n;
    for (const intervals of this.#sources.values()) {
      for (const interval of intervals) count += interval.to - interval.from + 1n;
    }
    return count;
  }

  /** MySQL's own form; equal sets have equal texts. */
  toString(): string {
    if (this.#text !== null) return this.#text;
    let text = "";
    let lastUuid = "";
    for (const source of [...this.#sources.keys()].sort()) {
      const uuid = source.slice(0, 36);
      if (uuid !== lastUuid) text += text === "" ? uuid : `,${uuid}`;
      lastUuid = uuid;
      if (source.length > 36) text += source.slice(36);
      for (const { from, to } of this.#sources.get(source) ?? []) text += from === to ? `:${from}` : `:${from}-${to}`;
    }
    this.#text = text;
    return text;
  }

  #insert(source: string, added: Interval, context: string): void {
    if (added.from < 1n || added.to < added.from || added.to > HIGHEST) throw new Error(`not a GTID: ${context}`);
    this.#text = null;
    const intervals = this.#sources.get(source);
    if (!intervals) {
      this.#sources.set(source, [added]);
      return;
    }
    const first = firstEndingAt(intervals, added.from - 1n);
    let behind = first;
    for (; behind < intervals.length; behind++) {
      const met = intervals[behind] as Interval;
      if (met.from > added.to + 1n) break;
      if (met.from < added.from) added.from = met.from;
      if (met.to > added.to) added.to = met.to;
    }
    intervals.splice(first, behind - first, added);
  }
}

export function gtidText(gtid: Gtid): string {
  return `${gtid.source}:${gtid.number}`;
}

export function parseGtid(text: string): Gtid {
  const at = text.lastIndexOf(":");
  const [uuid, tag] = text.slice(0, at).split(":");
  if (!UUID.test(uuid ?? "") || (tag !== undefined && !TAG.test(tag)) || !/^\d+$/.test(text.slice(at + 1))) {
    throw new Error(`not a GTID: ${text}`);
  }
  return { source: text.slice(0, at), number: BigInt(text.slice(at + 1)) };
}

/** Index of the first interval whose end is at or above `number`. */
function firstEndingAt(intervals: readonly Interval[], number: bigint): number {
  let low = 0;
  let high = intervals.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((intervals[middle] as Interval).to < number) low = middle + 1;
    else high = middle;
  }
  return low;
}
