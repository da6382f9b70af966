import { withBackoff } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import type { Outcome, OutcomeDraft, OutcomeResult, OutcomeRow, OutcomeStore } from "../pipeline/outcome.ts";
import type { Probe } from "../pipeline/probe.ts";

export type CommitPointOptions = {
  readonly move: string;
  /** `dray.cutover` of the home store's source, where an outcome is decided (C1). */
  readonly home: OutcomeStore;
  /** `dray.cutover` of the home store's target: no routing before COMMITTED has won here too. */
  readonly target: OutcomeStore;
  readonly clock: Clock;
  readonly probe: Probe;
  /** Outcomes up to this generation are those of earlier moves of the same name, and are not looked at. */
  readonly earlier: number;
  /** A decision that cannot be written yet: the tenant stays fenced, and somebody should know. */
  readonly onHeld: (side: "home" | "target", error: Error) => void;
};

export type Attempted = {
  readonly generation: number;
  /** The server that was the home at the first fence call; null where nobody remembers which it was. */
  readonly homeUuid: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
};

export type DecidedIn = "home" | "target";

/** What each side's dray.cutover says, by generation. */
export type Outcomes = ReadonlyMap<number, Sides>;
type Sides = { readonly home?: OutcomeRow; readonly target?: OutcomeRow };

/** C2: COMMITTED on either side means forward, but for one that lost in the target: nothing was ever routed by it. */
export function isCommitted({ home, target }: Sides): boolean {
  return target === undefined ? home?.outcome === "COMMITTED" : target.outcome === "COMMITTED";
}

/**
 * C1: what became of an attempt is one row (move, generation), the first INSERT wins. The home decides; where another
 * server answers at the home's address (a failover may have lost our row), or nobody remembers which server it was, the
 * target's row does. Both decisions are tried until they are known: until then the caller must leave the tenant fenced.
 */
export class CommitPoint {
  readonly #options: CommitPointOptions;
  #decidedIn: DecidedIn = "home";

  constructor(options: CommitPointOptions) {
    this.#options = options;
  }

  /** Which side's row told what became of the attempt: the target's where the home was another server by then. */
  get decidedIn(): DecidedIn {
    return this.#decidedIn;
  }

  /**
   * COMMITTED if it stands in home and target now, ABORTED if that won. HOME_MOVED where another server answers as the
   * home: an ABORTED that let the tenant write may have been lost with the one before, so that nobody may begin to commit
   * any more. `signal` ends only the time before the first INSERT is sent; once sent, its outcome is waited for.
   */
  async commit(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    const atHome = await this.#insert("home", attempt, "COMMITTED", signal);
    if (atHome === null) throw new DrayError("HOME_MOVED", { generation: attempt.generation });
    return await this.#commitInTarget(attempt, atHome, signal);
  }

  /** The same for a COMMITTED that was seen to stand on either side: no ABORTED can have won before it. */
  async confirm(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    await this.#options.probe("cutover.before-commit");
    const atHome = await this.#insert("home", attempt, "COMMITTED", signal);
    return await this.#commitInTarget(attempt, atHome, signal);
  }

  /** ABORTED if unfencing is allowed now; COMMITTED if that had won: then the only way is forward. */
  async abort(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    const { probe } = this.#options;
    await probe("cutover.before-abort-outcome");
    const outcome = await this.#abort(attempt, signal);
    await probe("cutover.after-abort-outcome");
    return outcome;
  }

  /**
   * ABORTED for every generation up to this one that has no outcome, so that none of them commits once a higher one
   * fences, or once the move has ended. ALREADY_COMMITTED where one has won meanwhile.
   */
  async settle(upTo: number, outcomes: Outcomes, facts: Attempted["facts"], signal: AbortSignal): Promise<void> {
    for (let generation = this.#options.earlier + 1; generation <= upTo; generation++) {
      if (outcomes.has(generation)) continue;
      if ((await this.#abort({ generation, homeUuid: null, facts }, signal)) === "ABORTED") continue;
      throw new DrayError("ALREADY_COMMITTED", { move: this.#options.move, generation });
    }
  }

  /** Every outcome that either side knows, by generation; COMMITTED on either means forward (C2). */
  async read(signal: AbortSignal): Promise<Outcomes> {
    const { home, target, move } = this.#options;
    const [atHome, atTarget] = await Promise.all([
      this.#reading("home", signal, () => home.readOutcomes(move, signal)),
      this.#reading("target", signal, () => target.readOutcomes(move, signal)),
    ]);
    return this.#byGeneration(atHome, atTarget);
  }

  /** As `read`, but a side that does not answer is named instead of waited for: for a person's decision. */
  async readOnce(signal: AbortSignal): Promise<{ readonly rows: Outcomes; readonly unread: readonly string[] }> {
    const { home, target, move } = this.#options;
    const answers = await Promise.allSettled([home.readOutcomes(move, signal), target.readOutcomes(move, signal)]);
    const unread: string[] = [];
    const lists = answers.map((answer, i) => {
      if (answer.status === "fulfilled") return answer.value;
      unread.push(i === 0 ? "home" : "target");
      return [];
    });
    return { rows: this.#byGeneration(lists[0] ?? [], lists[1] ?? []), unread };
  }

  async #abort(attempt: Attempted, signal: AbortSignal): Promise<Outcome> {
    const isKnown = attempt.homeUuid !== null;
    // Another server than the one that was fenced, or perhaps another: only the target can tell who was first (C1).
    const atHome = isKnown ? await this.#insert("home", attempt, "ABORTED", signal) : null;
    const decided = atHome ?? (await this.#insert("target", attempt, "ABORTED", signal));
    if (!isKnown) this.#decidedIn = "target";
    if (decided?.result === "lost") return "COMMITTED";
    // For those who read the home, and for a commit that is still on its way there.
    if (!isKnown) await this.#insert("home", attempt, "ABORTED", signal);
    return "ABORTED";
  }

  async #commitInTarget(attempt: Attempted, atHome: OutcomeResult | null, signal: AbortSignal): Promise<Outcome> {
    const { probe } = this.#options;
    await probe("cutover.after-home-commit");
    // What stands at a home that may be another server decides nothing.
    if (attempt.homeUuid === null) this.#decidedIn = "target";
    else if (atHome?.result === "lost") return "ABORTED";
    const atTarget = await this.#insert("target", attempt, "COMMITTED", signal);
    await probe("cutover.after-target-commit");
    return atTarget?.result === "lost" ? "ABORTED" : "COMMITTED";
  }

  /** Null: another server than the attempt's home answered, and nothing was inserted. */
  async #insert(
    side: "home" | "target",
    attempt: Attempted,
    outcome: Outcome,
    signal: AbortSignal,
  ): Promise<OutcomeResult | null> {
    const { move } = this.#options;
    const expectServerUuid = side === "home" ? attempt.homeUuid : null;
    const draft: OutcomeDraft = { ...attempt, homeUuid: attempt.homeUuid ?? "", move, outcome, expectServerUuid };
    try {
      return await this.#reading(side, signal, () => this.#options[side].insertOutcome(draft, signal));
    } catch (error) {
      if (!isDrayError(error, "HOME_MOVED")) throw error;
      this.#decidedIn = "target";
      return null;
    }
  }

  #reading<T>(side: "home" | "target", signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { clock, onHeld } = this.#options;
    return withBackoff(work, { signal, maxMs: 1_000, clock, onRetry: (error) => onHeld(side, error) });
  }

  #byGeneration(atHome: readonly OutcomeRow[], atTarget: readonly OutcomeRow[]): Outcomes {
    const rows = new Map<number, { home?: OutcomeRow; target?: OutcomeRow }>();
    for (const row of atHome) rows.set(row.generation, { home: row });
    for (const row of atTarget) rows.set(row.generation, { ...rows.get(row.generation), target: row });
    for (const generation of rows.keys()) if (generation <= this.#options.earlier) rows.delete(generation);
    return rows;
  }
}
