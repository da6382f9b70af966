import { type BackoffOptions, withBackoff } from "../pipeline/backoff.ts";
import type { MarkPlace } from "../pipeline/capture-options.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import type { Outcome } from "../pipeline/outcome.ts";
import type { Probe } from "../pipeline/probe.ts";
import { type AcknowledgedTarget, acknowledgedIn } from "./acknowledged.ts";
import { type CommitPoint, type DecidedIn, isCommitted, type Outcomes } from "./commit-point.ts";
import type { Direction } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import { type Step, type StepEvent, type StepName, Timeline } from "./timeline.ts";
import { type BeginMarks, marksIn } from "./way-back.ts";

/** A drained mark, and what its lane's log says about it. */
export type Drained = {
  readonly place: MarkPlace;
  /** The newest entry with changes, in the writer epoch of `place`. */
  readonly lastChangeSeq: number;
};

/** A row that was written behind S1, though the tenant was fenced. */
export type Slipped = {
  readonly lane: string;
  readonly table: string;
  readonly key: string;
  /** The source's name of its transaction, its time there, and the session that wrote it where the source tells. */
  readonly transaction: string;
  readonly committedAtMs: number;
  readonly session: number | null;
};

/** What proves that nothing came between S1 and S2: one writer of the log saw both, and no change in between. */
export type Proof = {
  readonly lane: string;
  readonly epoch: number;
  readonly s1: number;
  readonly s2: number;
  /** The newest entry with a change; below s1. */
  readonly lastChange: number;
};

/** One lane as a cutover sees it. */
export interface AttemptLane {
  readonly lane: string;
  /** Commits a sentinel and resolves once the target has durably applied all before it. */
  drain(signal: AbortSignal): Promise<Drained>;
  /** The same, and nothing of the tenant is carried from that place on. */
  seal(signal: AbortSignal): Promise<Drained>;
  /** Behind that drained mark: the rows that changed lately, on both sides. Empty: none differs. */
  verify(behind: Drained, signal: AbortSignal): Promise<readonly string[]>;
  /** Changes held behind the seal. */
  held(): number;
  /** What was written behind S1, by name. */
  slipped(): readonly Slipped[];
  /** Lifts the seal: what was held is carried after all. */
  release(): void;
  /** C5: the commit point is passed; the lane is closed in the target and only watched from here on. */
  close(signal: AbortSignal): Promise<void>;
}

export type AttemptOptions = {
  readonly generation: number;
  readonly direction: Direction;
  readonly lanes: readonly AttemptLane[];
  readonly fencing: Fencing;
  readonly commitPoint: CommitPoint;
  /** Waits for the source's transactions that were writing when the fence came down. */
  readonly quiesce: (deadlineMs: number, signal: AbortSignal) => Promise<void>;
  /** accepted: a person answers for rows that were not compared. */
  readonly verify: "compared" | "accepted";
  /** C7: marks the place from which on the new home's writes are carried back; the nonces by lane, none without a way back. */
  readonly prepare: (signal: AbortSignal) => Promise<BeginMarks>;
  /** C6: behind the proof; fails where a candidate does not have everything by the time the signal ends. */
  readonly confirmTargets: (sealed: readonly Drained[], signal: AbortSignal) => Promise<readonly AcknowledgedTarget[]>;
  /** The home's server uuid, read before the first fence call; null where an attempt is recovered that nobody noted. */
  readonly homeUuid: string | null;
  /** C11: from the first fence call to COMMITTED. */
  readonly maxPauseMs: number;
  /** How long routing may stay without a clear answer before a person is asked. */
  readonly routePatienceMs: number;
  readonly clock: Clock;
  readonly probe: Probe;
  readonly onStep: (event: StepEvent) => void;
  /** Something is tried again while the tenant waits: an alarm. */
  readonly onHeld: (step: StepName, error: Error) => void;
  /** A write slipped in between S1 and S2: durable before anything is done about it. */
  readonly onSlipped: (rows: readonly Slipped[]) => Promise<void>;
  /** What is done about it: drained again, or the attempt is aborted. */
  readonly slipPolicy: "drain-again" | "abort";
  /** Durable before the next thing happens: COMMITTED stands on both sides. */
  readonly onCommitted: (targets: readonly AcknowledgedTarget[], marks: BeginMarks) => Promise<void>;
};

export type AttemptResult = {
  readonly outcome: "committed" | "aborted" | "needs-person";
  readonly steps: readonly Step[];
  /** First fence call sent to last routing answer, or to the last unfence where it was aborted. */
  readonly pauseMs: number;
  /** Of that, waiting for adapters, and the grace. */
  readonly adapterMs: number;
  readonly repeats: number;
  /** Empty where the attempt did not come so far. */
  readonly proof: readonly Proof[];
  /** A mark of this generation may stand at the new home. */
  readonly isMarked: boolean;
  readonly decidedIn: DecidedIn;
  readonly error: unknown;
};

/** A write that slips between S1 and S2 is carried by draining again; one that keeps coming is a leak. */
const REPEATS = 5;

/**
 * One run of the cutover with its own generation (C): fence, quiesce, drain to S1, verify, prepare, pin, drain to S2 and
 * prove that nothing came between, confirm the target's candidates, commit, route. Whatever fails before the commit point
 * aborts: ABORTED is written first (C1) and only its success unfences. Behind it there is only forward.
 */
export class Attempt {
  readonly #options: AttemptOptions;
  readonly #timeline: Timeline;
  #repeats = 0;
  #targets: readonly AcknowledgedTarget[] = [];
  #marks: BeginMarks = {};
  #proof: readonly Proof[] = [];
  #isMarked = false;

  constructor(options: AttemptOptions) {
    this.#options = options;
    this.#timeline = new Timeline({ clock: options.clock, onStep: options.onStep });
  }

  /**
   * The gate has been passed and the generation is durable. Nothing that an operator or the deadline does stops what
   * follows a decision; `forward` ends the waiting for one that cannot be written or read, for a person to resolve (C2).
   */
  async run(forward: AbortSignal): Promise<AttemptResult> {
    const { clock, maxPauseMs, probe } = this.#options;
    const deadlineMs = clock.monotonicMs() + maxPauseMs;
    const deadline = new AbortController();
    const timer = clock.sleep(maxPauseMs, deadline.signal).then(
      () => deadline.abort(new DrayError("PAUSE_TOO_LONG", { step: this.#timeline.current, maxPauseMs })),
      () => {},
    );
    const inTime = AbortSignal.any([forward, deadline.signal]);
    let outcome: Outcome;
    try {
      await probe("cutover.before-fence");
      await this.#towardsCommit(deadlineMs, inTime);
      outcome = await this.#commit(inTime);
    } catch (error) {
      forward.throwIfAborted();
      // Who was waited for says more than that it took too long.
      const isNamed = isDrayError(error, "TARGET_CANDIDATE_BEHIND");
      // An INSERT of COMMITTED whose answer did not come in time is settled by the one of ABORTED: the first won (C1).
      return await this.#abort(inTime.aborted && !isNamed ? inTime.reason : error, forward);
    } finally {
      if (!deadline.signal.aborted) deadline.abort(new Error("in time"));
      await timer;
    }
    return await this.#decided(outcome, forward);
  }

  /**
   * C2: an attempt that a crash cut short. COMMITTED on either side: forward. None: ABORTED, then unfence. While the home
   * cannot be read nothing is decided and the tenant stays fenced.
   */
  async recover(signal: AbortSignal): Promise<AttemptResult> {
    // Whether its mark was written is not known any more.
    this.#isMarked = true;
    const { commitPoint, generation } = this.#options;
    const rows = (await commitPoint.read(signal)).get(generation);
    if (rows !== undefined && isCommitted(rows)) {
      const committed = new Map([[generation, rows]]);
      this.#targets = acknowledgedIn(committed);
      this.#marks = marksIn(committed, generation);
      this.#proof = proofIn(committed, generation);
      return await this.#decided(await this.#confirm(signal), signal);
    }
    return await this.#abort(new DrayError("ATTEMPT_CUT_SHORT", { generation }), signal);
  }

  async #towardsCommit(deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { fencing, generation, quiesce, confirmTargets, probe } = this.#options;
    await this.#timeline.run("fence", () => fencing.fence(generation, this.#options.maxPauseMs, signal));
    await probe("cutover.after-fence");
    await this.#timeline.run("quiesce", () => quiesce(deadlineMs, signal));
    await probe("cutover.after-quiesce");
    for (;;) {
      const first = await this.#timeline.run("drain", () => this.#drainAll((lane) => lane.drain(signal), signal));
      await probe("cutover.after-s1");
      const differing = await this.#timeline.run("verify", () => this.#verifyAll(first, signal));
      await probe("cutover.after-verify");
      this.#isMarked = true;
      this.#marks = await this.#timeline.run("prepare", () => this.#options.prepare(signal));
      await probe("cutover.after-prepare");
      await this.#timeline.run("pin", () => fencing.pin(generation, signal));
      await probe("cutover.after-pin");
      const second = await this.#timeline.run("drain-again", () => this.#drainAll((lane) => lane.seal(signal), signal));
      await probe("cutover.after-s2");
      signal.throwIfAborted();
      if (this.#isProven(first, second)) {
        if (differing.length > 0) {
          throw new DrayError("VERIFY_DIFFERS", { generation, rows: differing.slice(0, 10), count: differing.length });
        }
        this.#proof = this.#proofOf(first, second);
        this.#targets = await this.#timeline.run("confirm", () => confirmTargets(second, signal));
        return;
      }
      const slipped = this.#options.lanes.flatMap((lane) => lane.slipped());
      await this.#options.onSlipped(slipped);
      // What came between has been, or will now be, carried: drain again and prove again.
      for (const lane of this.#options.lanes) lane.release();
      const limit = this.#options.slipPolicy === "abort" ? 0 : REPEATS;
      if (++this.#repeats > limit) throw new DrayError("FENCE_LEAKS", { generation, repeats: limit, rows: slipped });
    }
  }

  /** Every lane at once; a lane that lost its reader or writer meanwhile is drained anew within the deadline. */
  async #drainAll(drain: (lane: AttemptLane) => Promise<Drained>, signal: AbortSignal): Promise<readonly Drained[]> {
    const { clock } = this.#options;
    const options: BackoffOptions = { signal, onRetry: (error) => this.#held(error), minMs: 5, maxMs: 100, clock };
    return await Promise.all(this.#options.lanes.map((lane) => withBackoff(() => drain(lane), options)));
  }

  /** V2: only what changed since it was verified last; what slips in meanwhile is found by the proof, and drained again. */
  async #verifyAll(first: readonly Drained[], signal: AbortSignal): Promise<readonly string[]> {
    if (this.#options.verify === "accepted") return [];
    const options: BackoffOptions = {
      signal,
      onRetry: (error) => this.#held(error),
      minMs: 5,
      maxMs: 100,
      clock: this.#options.clock,
    };
    const found = this.#options.lanes.map((lane, i) =>
      withBackoff(() => lane.verify(first[i] as Drained, signal), options),
    );
    return (await Promise.all(found)).flat();
  }

  /** No lane carried, or holds, a change of the tenant behind S1; one writer epoch saw both. */
  #isProven(first: readonly Drained[], second: readonly Drained[]): boolean {
    return this.#options.lanes.every((lane, i) => {
      const s1 = first[i]?.place.header;
      const s2 = second[i];
      if (s1 === undefined || s2 === undefined) return false;
      return s1.epoch === s2.place.header.epoch && s2.lastChangeSeq < s1.seq && lane.held() === 0;
    });
  }

  #proofOf(first: readonly Drained[], second: readonly Drained[]): readonly Proof[] {
    return this.#options.lanes.map(({ lane }, i) => {
      const [s1, s2] = [first[i] as Drained, second[i] as Drained];
      const { epoch, seq } = s2.place.header;
      return { lane, epoch, s1: s1.place.header.seq, s2: seq, lastChange: s2.lastChangeSeq };
    });
  }

  async #commit(signal: AbortSignal): Promise<Outcome> {
    const { commitPoint, generation, homeUuid } = this.#options;
    const facts = this.#facts();
    return await this.#timeline.run("commit", () => commitPoint.commit({ generation, homeUuid, facts }, signal));
  }

  /** What a process that takes over must find with COMMITTED, on either side. */
  #facts(): Readonly<Record<string, unknown>> {
    const steps = this.#timeline.steps.map(({ step, tookMs }) => ({ step, tookMs: Math.round(tookMs) }));
    const { direction } = this.#options;
    return { direction, steps, targets: this.#targets, marks: this.#marks, proof: this.#proof };
  }

  async #confirm(signal: AbortSignal): Promise<Outcome> {
    const { commitPoint, generation, homeUuid } = this.#options;
    const facts = this.#facts();
    return await this.#timeline.run("commit", () => commitPoint.confirm({ generation, homeUuid, facts }, signal));
  }

  async #decided(outcome: Outcome, signal: AbortSignal): Promise<AttemptResult> {
    if (outcome === "COMMITTED") return await this.#forward(signal);
    const { generation } = this.#options;
    return await this.#unfence(new DrayError("ATTEMPT_ABORTED_ELSEWHERE", { generation }), signal);
  }

  /** COMMITTED stands on both sides. */
  async #forward(signal: AbortSignal): Promise<AttemptResult> {
    const { fencing, generation, lanes, probe, onCommitted, routePatienceMs } = this.#options;
    // The journal follows the outcome's row (K1): routing does not wait for it.
    const noted = onCommitted(this.#targets, this.#marks);
    noted.catch(() => {}); // awaited below
    const closing = Promise.all(
      lanes.map((lane) => withBackoff(() => lane.close(signal), this.#patiently("route", signal))),
    );
    closing.catch(() => {}); // awaited below; routing must not wait for it
    try {
      await this.#timeline.run("route", () => fencing.route(generation, signal, routePatienceMs));
    } catch (error) {
      await Promise.all([noted, closing]);
      if (!isDrayError(error, "ROUTE_AMBIGUOUS")) throw error;
      return this.#result("needs-person", error);
    }
    const result = this.#result("committed", null);
    await probe("cutover.after-route");
    await Promise.all([noted, closing]);
    await fencing.retire(generation, signal, (error) => this.#options.onHeld("route", error));
    await probe("cutover.after-retire");
    return result;
  }

  async #abort(error: unknown, signal: AbortSignal): Promise<AttemptResult> {
    const { commitPoint, generation, homeUuid } = this.#options;
    const facts = {
      direction: this.#options.direction,
      step: this.#timeline.current,
      code: isDrayError(error) ? error.code : "INTERNAL",
    };
    const outcome = await commitPoint.abort({ generation, homeUuid, facts }, signal);
    // It had won after all; the target's row may still be missing, and no routing goes before it.
    if (outcome === "COMMITTED") return await this.#decided(await this.#confirm(signal), signal);
    return await this.#unfence(error, signal);
  }

  async #unfence(error: unknown, signal: AbortSignal): Promise<AttemptResult> {
    const { fencing, generation, lanes, probe, onHeld } = this.#options;
    for (const lane of lanes) lane.release();
    await this.#timeline.run("unfence", () =>
      fencing.unfence(generation, signal, (failure) => onHeld("unfence", failure)),
    );
    await probe("cutover.after-unfence");
    return this.#result("aborted", error);
  }

  #result(outcome: AttemptResult["outcome"], error: unknown): AttemptResult {
    const { fencing, commitPoint } = this.#options;
    return {
      outcome,
      decidedIn: commitPoint.decidedIn,
      steps: this.#timeline.steps,
      pauseMs: this.#timeline.elapsedMs,
      adapterMs: fencing.adapterMs + fencing.graceMs,
      repeats: this.#repeats,
      isMarked: this.#isMarked,
      proof: this.#proof,
      error,
    };
  }

  #patiently(step: StepName, signal: AbortSignal): BackoffOptions {
    const { clock, onHeld } = this.#options;
    return { signal, onRetry: (error) => onHeld(step, error), maxMs: 1_000, clock };
  }

  #held(error: Error): void {
    this.#options.onHeld(this.#timeline.current, error);
  }
}

/** As COMMITTED keeps it on either side, for a process that did not write it. */
function proofIn(rows: Outcomes, generation: number): readonly Proof[] {
  const row = rows.get(generation);
  const kept = (row?.home ?? row?.target)?.facts["proof"];
  return Array.isArray(kept) ? (kept as readonly Proof[]) : [];
}
