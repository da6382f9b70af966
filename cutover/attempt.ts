import { type BackoffOptions, withBackoff } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import type { Outcome } from "../pipeline/outcome.ts";
import type { Probe } from "../pipeline/probe.ts";
import { type AcknowledgedTarget, acknowledgedIn } from "./acknowledged.ts";
import type { AttemptLane, Drained, Slipped, Unverified } from "./attempt-lane.ts";
import { type CommitPoint, type DecidedIn, isCommitted, type Outcomes } from "./commit-point.ts";
import type { Direction } from "./direction.ts";
import type { Fencing } from "./fencing.ts";
import { type Interval, judgeInterval, type Proof, type Reopened } from "./proof.ts";
import { type Step, type StepEvent, type StepName, Timeline } from "./timeline.ts";
import { type BeginMarks, marksIn } from "./way-back.ts";

export type AttemptOptions = {
  readonly generation: number;
  readonly direction: Direction;
  readonly lanes: readonly AttemptLane[];
  readonly fencing: Fencing;
  readonly commitPoint: CommitPoint;
  /** Waits for the source's transactions that were writing when the fence came down. */
  readonly quiesce: (deadlineMs: number, signal: AbortSignal) => Promise<void>;
  /** Lanes of which the gate said no and a person answers for what is not verified: their rows are not compared. */
  readonly accepted: ReadonlySet<string>;
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
  /** A lane's capture was opened anew between S1 and S2, so that nothing is proven: durable as well. */
  readonly onUnproven: (reopened: readonly Reopened[]) => Promise<void>;
  /** What is done about a write that slipped in: drained again, or the attempt is aborted. */
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

/** What slips between S1 and S2 is carried by draining again; where that goes on, the attempt is aborted. */
const REPEATS = 5;

/** Where the way back took so long beside S2, there is another S2. */
const SEALED_LONG_AGO_MS = 100;

/**
 * One run of the cutover with its own generation (C): fence, quiesce, drain to S1, verify, pin, drain to S2 and prove
 * that nothing came between, prepare, confirm the target's candidates, commit, route. Whatever fails before the commit point
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
      this.#targets = acknowledgedIn(committed, generation);
      this.#marks = marksIn(committed, generation);
      this.#proof = proofIn(committed, generation);
      return await this.#decided(await this.#confirm(signal), signal);
    }
    return await this.#abort(new DrayError("ATTEMPT_CUT_SHORT", { generation }), signal);
  }

  async #towardsCommit(deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { quiesce, probe } = this.#options;
    await this.#timeline.run("fence", () => this.#fence(signal));
    await probe("cutover.after-fence");
    await this.#timeline.run("quiesce", () => quiesce(deadlineMs, signal));
    await probe("cutover.after-quiesce");
    for (;;) if ((await this.#round(signal)) === "proven") return;
  }

  /** Until the fences hold and the grace is over, rows are compared as they change: what is left then is waited for. */
  async #fence(signal: AbortSignal): Promise<void> {
    const { fencing, generation, maxPauseMs } = this.#options;
    const down = new AbortController();
    const either = AbortSignal.any([signal, down.signal]);
    const comparing = this.#compared().map((lane) => lane.compareUntil(either));
    try {
      await fencing.fence(generation, maxPauseMs, signal);
    } finally {
      down.abort(new Error("the fences hold"));
      await Promise.allSettled(comparing);
      for (const lane of this.#options.lanes) lane.rest();
    }
  }

  /** From S1 to S2 and what they prove. A round that proves nothing has told so, and may be taken again. */
  async #round(signal: AbortSignal): Promise<"proven" | "again"> {
    const { lanes, confirmTargets, probe } = this.#options;
    const first = await this.#timeline.run("drain", () => this.#drainAll((lane) => lane.drain(signal), signal));
    await probe("cutover.after-s1");
    const differing = await this.#timeline.run("verify", () => this.#verifyAll(first, signal));
    await probe("cutover.after-verify");
    const second = await this.#seal(differing, signal);
    await probe("cutover.after-s2");
    signal.throwIfAborted();
    const interval = judgeInterval(lanes, first, second);
    if (interval.kind !== "proven") return await this.#again(interval);
    this.#requireEqual(differing);
    this.#proof = interval.proof;
    this.#targets = await this.#timeline.run("confirm", () => confirmTargets(second, signal));
    await probe("cutover.before-commit");
    signal.throwIfAborted();
    this.#requireVerified();
    // What came behind S2 and is known by now is not committed over; what comes later is a stray (C5).
    return lanes.some((lane) => lane.held() > 0) ? await this.#again({ kind: "leaked" }) : "proven";
  }

  /**
   * S2. The lanes that lead back come to their marks meanwhile; the first of the two that fails ends both. Rows that differ
   * end the attempt, or are drained again where something slipped in: nobody prepares for that.
   */
  async #seal(differing: readonly string[], signal: AbortSignal): Promise<readonly Drained[]> {
    const { fencing, generation, prepare, probe, clock } = this.#options;
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const seal = () => this.#timeline.run("drain-again", () => this.#drainAll((lane) => lane.seal(either), either));
    if (differing.length > 0) return await seal();
    this.#isMarked = true;
    const preparing = prepare(either);
    preparing.catch((error: unknown) => failed.abort(error));
    try {
      await this.#timeline.run("pin", () => fencing.pin(generation, either));
      await probe("cutover.after-pin");
      const sealed = await seal();
      const sealedMs = clock.monotonicMs();
      this.#marks = await this.#timeline.run("prepare", () => preparing);
      await probe("cutover.after-prepare");
      // What proves that nothing came must not be old by the time it is judged.
      return clock.monotonicMs() - sealedMs > SEALED_LONG_AGO_MS ? await seal() : sealed;
    } catch (error) {
      failed.abort(error);
      throw failed.signal.reason;
    }
  }

  /** What came between has been, or will now be, carried: told, and then drained and proven again, as the policy allows. */
  async #again(interval: Exclude<Interval, { readonly kind: "proven" }>): Promise<"again"> {
    const { generation, lanes, slipPolicy, onSlipped, onUnproven } = this.#options;
    const rows = interval.kind === "leaked" ? lanes.flatMap((lane) => lane.slipped()) : [];
    if (interval.kind === "leaked") await onSlipped(rows);
    else await onUnproven(interval.reopened);
    for (const lane of lanes) {
      lane.release();
      lane.rest();
    }
    this.#repeats++;
    // A capture that was opened anew is nobody's fault: what the manifest says of leaks does not count for it.
    const limit = interval.kind === "leaked" && slipPolicy === "abort" ? 0 : REPEATS;
    if (this.#repeats <= limit) return "again";
    if (interval.kind === "leaked") throw new DrayError("FENCE_LEAKS", { generation, repeats: limit, rows });
    throw new DrayError("INTERVAL_UNPROVEN", { generation, repeats: limit, lanes: interval.reopened });
  }

  /** Every lane at once; a lane that lost its reader or writer meanwhile is drained anew within the deadline. */
  async #drainAll(drain: (lane: AttemptLane) => Promise<Drained>, signal: AbortSignal): Promise<readonly Drained[]> {
    const options = this.#backoff(signal);
    return await Promise.all(this.#options.lanes.map((lane) => withBackoff(() => drain(lane), options)));
  }

  /** V2: only what changed since it was verified last; what slips in meanwhile is found by the proof, and drained again. */
  async #verifyAll(first: readonly Drained[], signal: AbortSignal): Promise<readonly string[]> {
    const options = this.#backoff(signal);
    const found = this.#options.lanes.map(async (lane, i) =>
      this.#isAccepted(lane) ? null : await withBackoff(() => lane.verify(first[i] as Drained, signal), options),
    );
    const unverified = (await Promise.all(found)).filter((each) => each !== null);
    this.#requireCovered(unverified);
    return unverified.flatMap(({ differing }) => differing);
  }

  /** The tenant waits: tried again soon, and told. */
  #backoff(signal: AbortSignal): BackoffOptions {
    return { signal, onRetry: (error) => this.#held(error), minMs: 5, maxMs: 100, clock: this.#options.clock };
  }

  #isAccepted({ lane }: AttemptLane): boolean {
    return this.#options.accepted.has(lane);
  }

  #compared(): readonly AttemptLane[] {
    return this.#options.lanes.filter((lane) => !this.#isAccepted(lane));
  }

  /** V2: what was verified may have been lost, or a pass have ended, since the fenced comparison. */
  #requireVerified(): void {
    const unverified = this.#compared().map((lane) => lane.unverified());
    this.#requireCovered(unverified);
    this.#requireEqual(unverified.flatMap(({ differing }) => differing));
  }

  /** V2: dirty keys say what changed since a table was compared, and nothing of one that was not. */
  #requireCovered(unverified: readonly Unverified[]): void {
    const { generation } = this.#options;
    const tables = unverified.flatMap(({ uncovered }) => uncovered);
    if (tables.length > 0) throw new DrayError("VERIFICATION_LOST", { generation, tables });
  }

  #requireEqual(differing: readonly string[]): void {
    const { generation } = this.#options;
    if (differing.length === 0) return;
    throw new DrayError("VERIFY_DIFFERS", { generation, rows: differing.slice(0, 10), count: differing.length });
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
