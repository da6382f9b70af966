import {
  type Decision,
  decide,
  type ReferenceCall,
  type TenantRecord,
} from "../../cutover/adapters/reference-state.ts";
import type { AttemptLane, Drained } from "../../cutover/attempt-lane.ts";
import { type Attempted, CommitPoint, type CommitPointOptions } from "../../cutover/commit-point.ts";
import { Fencing } from "../../cutover/fencing.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { Outcome } from "../../pipeline/outcome.ts";
import type { Schedule } from "./explore.ts";
import { RULES, type Rules } from "./rules.ts";
import { STORIES } from "./stories.ts";

/** What the model covers; each of them has at least one mutant, and every mutant is to be found. */
export const CLAUSES = {
  S2: "a second drain, and the proof that nothing came between the two",
  Grace: "the longest time that an application acts on an old answer is waited for",
  Quiesce: "who was writing when the fence came down is waited for",
  C1: "the outcome is one row, the first INSERT wins, and nothing is unfenced or routed before it stands",
  C2: "whatever is forgotten or restored, what the databases and adapters know decides",
  C3: "a fence holds until it is unfenced, and one that ends by itself is pinned",
  C4: "each call carries its generation, and an ended or lower one is refused",
  C5: "the lane is closed for good at the commit, and by an abort",
  C6: "the target's candidate has what the target had",
  C7: "no loops, and the way back begins at its generation's mark",
  C11: "one deadline from the first fence call to COMMITTED",
} as const;
export type Clause = keyof typeof CLAUSES;

/** One rule taken away, and the others kept: an exploration that does not notice proves nothing of the rule. */
export type Mutant = {
  readonly clause: Clause;
  readonly missing: string;
  readonly rules: Rules;
  /** What it shows in, where chance seldom brings it about. */
  readonly schedule: Schedule | null;
};

const without = (named: `${Clause}: ${string}`, rules: Partial<Rules>, schedule: Schedule | null = null): Mutant => {
  const [clause, missing] = named.split(": ", 2) as [Clause, string];
  return { clause, missing, rules: { ...RULES, ...rules }, schedule };
};

/** Unfences first, and writes ABORTED then. */
class EarlyUnfence extends CommitPoint {
  readonly #fencing: Fencing;

  constructor(options: CommitPointOptions, fencing: Fencing) {
    super(options);
    this.#fencing = fencing;
  }

  override async abort(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    await this.#fencing.unfence(attempt.generation, signal, () => {});
    return await super.abort(attempt, signal);
  }
}

/** Takes the home's COMMITTED for both. */
class HomeAlone extends CommitPoint {
  constructor(options: CommitPointOptions) {
    const { target } = options;
    super({
      ...options,
      target: {
        readOutcomes: (move, signal) => target.readOutcomes(move, signal),
        serverIdentity: (signal) => target.serverIdentity(signal),
        insertOutcome: (draft, signal) =>
          draft.outcome === "COMMITTED" ? Promise.resolve({ result: "won" }) : target.insertOutcome(draft, signal),
      },
    });
  }
}

/** Goes on committing in the target where the home is another server, whoever answered there before. */
class CommitsBehindFailover extends CommitPoint {
  override commit(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    return super.confirm(attempt, signal);
  }
}

/** Lets lower generations be. */
class SettlesNothing extends CommitPoint {
  override async settle(): Promise<void> {}
}

/** Asks nobody whether a fence that ends by itself has held. */
class Unpinned extends Fencing {
  override async pin(): Promise<void> {}
}

function skippingS2(lane: AttemptLane): AttemptLane {
  let first: Drained | null = null;
  return {
    lane: lane.lane,
    compareUntil: (over) => lane.compareUntil(over),
    rest: () => lane.rest(),
    drain: async (signal) => {
      first = { ...(await lane.drain(signal)), lastChangeSeq: 0 };
      return first;
    },
    seal: async (signal) => first ?? (await lane.seal(signal)),
    verify: (behind, signal) => lane.verify(behind, signal),
    unverified: () => lane.unverified(),
    slipped: () => [],
    held: () => 0,
    release: () => lane.release(),
    close: (signal) => lane.close(signal),
  };
}

function neverLate(clock: Clock, maxPauseMs: number): Clock {
  return {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    sleep: (ms, signal) => clock.sleep(ms === maxPauseMs ? Number.POSITIVE_INFINITY : ms, signal),
  };
}

/** A call of a lower generation is taken as one of the next. */
function anyGeneration(tenant: TenantRecord, call: ReferenceCall, nowMs: number): Decision {
  const generation = Math.max(call.generation, tenant.generation + (call.generation < tenant.generation ? 1 : 0));
  const decision = decide(tenant, { ...call, generation }, nowMs);
  if ("refused" in decision) return decision;
  return { next: { ...decision.next, generation: Math.max(call.generation, tenant.generation) } };
}

/** An unfence that is forgotten as soon as it is done. */
function unfenceForgotten(tenant: TenantRecord, call: ReferenceCall, nowMs: number): Decision {
  const open = tenant.state === "open" && tenant.generation === call.generation;
  return decide(open ? { ...tenant, generation: tenant.generation - 1 } : tenant, call, nowMs);
}

export const MUTANTS: readonly Mutant[] = [
  without("S2: the second drain and its proof", { attemptLane: skippingS2 }),
  without("Grace: the grace", { graces: "no" }),
  without("Quiesce: the list of writers", { quiesces: "no" }),
  without("C1: ABORTED before unfence", {
    makeCommitPoint: (options, fencing) => new EarlyUnfence(options, fencing),
  }),
  without("C1: COMMITTED in the target before route", { makeCommitPoint: (options) => new HomeAlone(options) }),
  without("C1: the first INSERT wins", { firstInsertWins: "no" }),
  without("C1: the home's uuid, checked in the INSERT", { checksHomeUuid: "no" }, STORIES.committedIsLost),
  without(
    "C1: nobody begins to commit behind a failover",
    { makeCommitPoint: (options) => new CommitsBehindFailover(options) },
    STORIES.abortedIsLost,
  ),
  without("C2: a generation above what others know", { highest: (known) => known }),
  without("C2: lower generations are settled first", { makeCommitPoint: (options) => new SettlesNothing(options) }),
  without(
    "C2: an attempt that the control store does not know is looked for",
    { looksForUnknown: "no" },
    STORIES.fenceIsForgotten,
  ),
  without(
    "C2: who answers now is not taken for the home of such an attempt",
    { foundHome: "who answers now" },
    STORIES.committedIsLostAndForgotten,
  ),
  without("C3: a supervised fence holds until it is unfenced", { supervisedExpiryMs: 60_000 }),
  without("C3: a fence that ends by itself is pinned", { makeFencing: (options) => new Unpinned(options) }),
  without("C4: a lower generation is refused", { decide: anyGeneration }),
  without("C4: unfence is final", { decide: unfenceForgotten }),
  without("C5: the lane is closed at the commit", { closesLanes: "no" }, STORIES.lateBehindTheSeal),
  without("C5: what comes behind the seal is held", { sealsLanes: "no" }, STORIES.lateBehindTheSeal),
  without(
    "C5: an abort closes the lane before it settles",
    { abortCloses: "before the rows go" },
    STORIES.abortMeetsCutover,
  ),
  without(
    "C6: the target's candidate has what the target had, before COMMITTED",
    { confirmsTargets: "no" },
    STORIES.candidateLags,
  ),
  without("C7: a lane's own transactions are passed over", { dropsOwnTransactions: "no" }),
  without("C7: the way back begins at the mark", { reverseBegins: "when the lane is opened" }),
  without("C11: the deadline", { attemptClock: neverLate }),
];
