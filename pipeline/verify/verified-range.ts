import type { Bound } from "../coverage.ts";

export type Span = { readonly after: Bound | null; readonly upTo: Bound | null };

/** Ranges of a table lie one behind the other, from its first key to its last. */
export type VerifiedRange = Span & {
  /** The seq it was compared at last; null: not since the table was copied, or no longer kept by key. */
  readonly seq: number | null;
  /** More of its rows differed then than are kept by name: it differs until it is compared as a whole again. */
  readonly overflows: boolean;
  readonly rows: number;
  /** Of the rows that were compared at `seq`; null where it was cut since, or not compared. */
  readonly digest: RangeDigest | null;
  /** It is to be compared, for the first time or in the pass that was asked for last. */
  readonly due: boolean;
};

/**
 * The digests of a range's rows in one, on either side, in hex. They are keyed by the entry alone that they were compared
 * for: one side may be held against the other, and nothing else against either.
 */
export type RangeDigest = { readonly source: string; readonly target: string };

export type Range = VerifiedRange & {
  /** Changes behind this seq are kept by key; null: none are, as the range will be compared as a whole. */
  readonly trackedFrom: number | null;
  /** Its end, as key texts sort; null where keys have no order, and at the table's end. */
  readonly endText: string | null;
};

export function blank(): Range {
  const kept = { after: null, upTo: null, seq: null, overflows: false, rows: 0, digest: null, due: true };
  return { ...kept, trackedFrom: null, endText: null };
}

/** Null: behind all. */
export function isBelow(one: string | null, other: string | null): boolean {
  return one !== null && (other === null || one < other);
}

/** Ranges that were compared before may be compared as one again: nothing that is known of either is given up. */
export function mayJoin(one: Range, next: Range): boolean {
  return one.due && next.due && one.seq !== null && next.seq !== null;
}

/** One behind the other. What is kept by key stays, of both. */
export function joined(one: Range, next: Range): Range {
  return {
    ...{ after: one.after, upTo: next.upTo, endText: next.endText },
    seq: least(one.seq, next.seq),
    trackedFrom: most(one.trackedFrom, next.trackedFrom),
    overflows: one.overflows || next.overflows,
    rows: one.rows + next.rows,
    digest: null,
    due: true,
  };
}

export function endTextOf(bound: Bound | null): string | null {
  return bound?.key ? Buffer.from(bound.key, "hex").toString("latin1") : null;
}

function least(one: number | null, other: number | null): number | null {
  return one === null || other === null ? null : Math.min(one, other);
}

/** Null: of one of them nothing is kept. */
function most(one: number | null, other: number | null): number | null {
  return one === null || other === null ? null : Math.max(one, other);
}
