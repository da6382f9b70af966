import type { AttemptLane, Drained } from "./attempt-lane.ts";

/** What proves that nothing came between S1 and S2: one writer of the log saw both, and no change in between. */
export type Proof = {
  readonly lane: string;
  readonly epoch: number;
  readonly s1: number;
  readonly s2: number;
  /** The newest entry with a change; below s1. */
  readonly lastChange: number;
};

/** A lane whose capture was opened anew between S1 and S2, and the two writer epochs. */
export type Reopened = { readonly lane: string; readonly s1Epoch: number; readonly s2Epoch: number };

/**
 * leaked: a change of the tenant came behind S1. unproven: none is known, but no one writer of the log saw both marks, so
 * that nobody can tell what the one before carried behind S1.
 */
export type Interval =
  | { readonly kind: "proven"; readonly proof: readonly Proof[] }
  | { readonly kind: "leaked" }
  | { readonly kind: "unproven"; readonly reopened: readonly Reopened[] };

/** Of every lane: what it carried, and holds, between its two marks. A change that is known counts before what is not. */
export function judgeInterval(
  lanes: readonly AttemptLane[],
  first: readonly Drained[],
  second: readonly Drained[],
): Interval {
  const proof: Proof[] = [];
  const reopened: Reopened[] = [];
  for (const [i, lane] of lanes.entries()) {
    const [before, after] = [first[i] as Drained, second[i] as Drained];
    const [s1, s2] = [before.place.header, after.place.header];
    // A later epoch begins behind S1's entry: whatever it has carried came behind S1 too.
    if (after.lastChangeSeq >= s1.seq || lane.held() > 0) return { kind: "leaked" };
    if (s1.epoch === s2.epoch) {
      proof.push({ lane: lane.lane, epoch: s2.epoch, s1: s1.seq, s2: s2.seq, lastChange: after.lastChangeSeq });
    } else reopened.push({ lane: lane.lane, s1Epoch: s1.epoch, s2Epoch: s2.epoch });
  }
  return reopened.length === 0 ? { kind: "proven", proof } : { kind: "unproven", reopened };
}
