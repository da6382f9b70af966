import { decide } from "../../cutover/adapters/reference-state.ts";
import type { AttemptLane } from "../../cutover/attempt-lane.ts";
import { CommitPoint, type CommitPointOptions, type Outcomes } from "../../cutover/commit-point.ts";
import { Fencing, type FencingOptions } from "../../cutover/fencing.ts";
import type { Clock } from "../../pipeline/clock.ts";

type YesNo = "yes" | "no";

/** The rules that the world and its coordinators keep to: each is a seam at which a mutant takes one away. */
export type Rules = {
  // The coordinator's parts.
  readonly makeFencing: (options: FencingOptions) => Fencing;
  readonly makeCommitPoint: (options: CommitPointOptions, fencing: Fencing) => CommitPoint;
  readonly attemptClock: (clock: Clock, maxPauseMs: number) => Clock;
  readonly attemptLane: (lane: AttemptLane) => AttemptLane;
  /** C2: the highest generation that is known, above which the next one is taken. */
  readonly highest: (known: number, outcomes: Outcomes, adapters: number) => number;
  readonly looksForUnknown: YesNo;
  /** Which server was the home of an attempt that nobody noted. */
  readonly foundHome: "nobody knows" | "who answers now";
  /** When `dray abort` closes the lane. */
  readonly abortCloses: "first" | "before the rows go";
  // The far ends.
  readonly decide: typeof decide;
  /** Runs out unless pinned: null where it never does. */
  readonly supervisedExpiryMs: number | null;
  readonly checksHomeUuid: YesNo;
  readonly firstInsertWins: YesNo;
  readonly quiesces: YesNo;
  /** C6: before COMMITTED the target's failover candidate has all that the target had. */
  readonly confirmsTargets: YesNo;
  readonly graces: YesNo;
  // The lanes.
  readonly closesLanes: YesNo;
  readonly sealsLanes: YesNo;
  readonly dropsOwnTransactions: YesNo;
  /** Where capture of the way back begins. */
  readonly reverseBegins: "at the mark" | "when the lane is opened";
};

export const RULES: Rules = {
  makeFencing: (options) => new Fencing(options),
  makeCommitPoint: (options) => new CommitPoint(options),
  attemptClock: (clock) => clock,
  attemptLane: (lane) => lane,
  highest: (known, outcomes, adapters) => Math.max(known, ...outcomes.keys(), adapters),
  looksForUnknown: "yes",
  foundHome: "nobody knows",
  abortCloses: "first",
  decide,
  supervisedExpiryMs: null,
  checksHomeUuid: "yes",
  firstInsertWins: "yes",
  quiesces: "yes",
  confirmsTargets: "yes",
  graces: "yes",
  closesLanes: "yes",
  sealsLanes: "yes",
  dropsOwnTransactions: "yes",
  reverseBegins: "at the mark",
};
