import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import type { Change, LaneId } from "../pipeline/entry.ts";
import { DrayError, type ErrorCode, isDrayError } from "../pipeline/errors.ts";
import type { AcknowledgedTarget } from "./acknowledged.ts";
import type { DecidedIn } from "./commit-point.ts";
import type { JsonObject, NewMove } from "./control-store.ts";
import { type Direction, type Side, wayFrom } from "./direction.ts";
import type { FinishNote } from "./finish-note.ts";
import type { MoveContext } from "./move-context.ts";
import { type LaneNote, MoveLanes } from "./move-lanes.ts";
import type { PredictedStep, StepTime } from "./move-service.ts";
import { allowed, type Phase, type PhaseEvent, RUNNING } from "./phases.ts";
import {
  goOnCopyingAll,
  journalRecopies,
  makeUpFor,
  type Recopied,
  type Recopying,
  recopyAll,
  recopyTable,
  resumeRecopies,
} from "./recopy.ts";
import { StoppedLanes } from "./stopped-lanes.ts";
import { StrayMemory, type Strays, straysWith } from "./strays.ts";
import { TargetWatch } from "./target-watch.ts";
import { leadsAway, type Unrouted, unrouted } from "./unrouted.ts";
import { type Rollback, standBy, standByAgain } from "./way-back.ts";

/** A seq that counts as applied without being applied; a difference until each of `tables` has been copied again. */
export type Skipped = { readonly lane: string; readonly seq: number; readonly tables: readonly string[] };

/** An error that needs a person. */
export type MoveProblem = { readonly code: string; readonly message: string; readonly facts: JsonObject };

/** What the control store keeps of a move beside its phase. */
export type MoveDetails = Strays & {
  /** Seqs that were passed over, by lane, until their tables are copied again (A8). */
  readonly skipped: readonly Skipped[];
  readonly recopying: readonly Recopying[];
  readonly recopied: readonly Recopied[];
  /** The generation of the lanes that are to copy everything again; null once they are there. */
  readonly recopyingAll: number | null;
  /** The error that needs a person; null where nobody is needed. */
  readonly problem: MoveProblem | null;
  /** Committed, and no route has answered; null where nothing is left to route. */
  readonly unrouted: Unrouted | null;
  /** The cutover as it ended, for status. */
  readonly attempt: AttemptNote | null;
  /** By lane; one that is not named is active. */
  readonly lanes: Readonly<Record<string, LaneNote>>;
  /** Where the tenant lives, by the last outcome that COMMITTED; generation 0 before the first. */
  readonly lives: { readonly side: Side; readonly generation: number };
  /** As preflight found it (C8). */
  readonly rollback: Rollback;
  /** A person answers for what was not verified when the tenant was switched; null where nobody does. */
  readonly accepted: { readonly by: string; readonly what: string } | null;
  /** The highest generation of earlier moves of the same name; 0 where there was none. */
  readonly earlier: number;
  /** `dray finish`, as far as it is; null before it is asked for. */
  readonly finish: FinishNote | null;
  /** C6: what must stand in each target, whichever server is it by now; empty before the commit. */
  readonly targets: readonly AcknowledgedTarget[];
};

export type AttemptNote = {
  readonly generation: number;
  readonly direction: Direction;
  readonly outcome: "running" | "committed" | "aborted" | "unknown";
  readonly step: string;
  readonly reason: string | null;
  readonly steps: readonly StepTime[];
  readonly predicted: readonly PredictedStep[];
  readonly decidedIn: DecidedIn;
  /** The server that was the home at the first fence call; null where the attempt was found, and nobody noted it. */
  readonly homeUuid: string | null;
  readonly pauseMs: number | null;
  readonly adapterMs: number | null;
};

/** By this process: an application that goes on writing to the wrong side must not fill the control store. */
const STRAYS_NOTED = 100;

const BLANK: MoveDetails = {
  skipped: [],
  recopying: [],
  recopied: [],
  recopyingAll: null,
  problem: null,
  unrouted: null,
  attempt: null,
  lanes: {},
  lives: { side: "from", generation: 0 },
  rollback: { kind: "unavailable", why: ["preflight of an earlier version did not look for it"] },
  accepted: null,
  earlier: 0,
  strays: [],
  straysMissed: [],
  finish: null,
  targets: [],
};

/**
 * One move in this process: its place in the state machine, its lanes, and one command at a time. What a command does
 * beyond that stands in files of its own (cutover-run.ts, move-end.ts).
 */
export class Move {
  readonly context: MoveContext;
  readonly lanes: MoveLanes;
  #busy: { readonly by: string; readonly command: string } | null = null;
  #steps: Promise<unknown> = Promise.resolve();
  readonly #life = new AbortController();
  readonly #watchers = new Set<() => void>();
  #strays = 0;
  readonly #targetWatch = new TargetWatch(this);
  /** Rows that were written at a side that the tenant had left. */
  readonly strayMemory: StrayMemory;
  readonly #stopped = new StoppedLanes(this);

  constructor(context: MoveContext) {
    this.context = context;
    this.strayMemory = new StrayMemory(this.details);
    this.lanes = new MoveLanes(context, {
      notes: () => this.details.lanes,
      keepStrays: (lane, changes) => this.#keepStrays(lane, changes),
      onCarried: (lane) => {
        this.strayMemory.saw(lane, null);
        this.#inBackground(() => this.#noStrays(lane));
      },
      onCopied: () => this.#inBackground(() => this.#copied()),
      onStopped: (lane) => this.#inBackground(() => this.#stopped.stopped(lane)),
      onStray: (facts) => this.#noteStray(facts),
      makeUpFor: (lane, loss, signal) => makeUpFor(this, lane, loss, signal),
    });
  }

  get name(): string {
    return this.context.journal.move.name;
  }

  get phase(): Phase {
    return this.context.journal.phase;
  }

  get details(): MoveDetails {
    return { ...BLANK, ...(this.context.journal.move.details as Partial<MoveDetails>) };
  }

  /** Which way the next switch goes, and the active lanes carry. */
  get way(): Direction {
    return wayFrom(this.details.lives.side);
  }

  /** Aborts once nothing of this move is to run any more in this process. */
  get life(): AbortSignal {
    return this.#life.signal;
  }

  get busy(): string | null {
    return this.#busy?.command ?? null;
  }

  /** Journalled before anything is done because of it (K1); a change of the details stands with it, or neither does. */
  async advance(event: PhaseEvent, facts: JsonObject, by: string, change?: Partial<MoveDetails>): Promise<void> {
    this.#requireRouted(event);
    await this.#inOrder(() => {
      const details = change === undefined ? undefined : { ...this.details, ...change };
      return this.context.journal.advance(event, facts, by, details as unknown as JsonObject | undefined);
    });
    this.context.logger.info({ move: this.name, event, phase: this.phase, by, facts }, `${event}: ${this.phase}`);
    this.changed();
    this.#targetWatch.follow();
  }

  /** A function is given the details as they are when its turn has come. */
  async setDetails(change: Partial<MoveDetails> | ((now: MoveDetails) => Partial<MoveDetails>)): Promise<void> {
    await this.#inOrder(() => {
      const now = this.details;
      const changed = { ...now, ...(typeof change === "function" ? change(now) : change) };
      return this.context.journal.setDetails(changed as unknown as JsonObject);
    });
    this.changed();
  }

  async note(event: string, facts: JsonObject, by: string): Promise<void> {
    await this.#inOrder(() => this.context.journal.note(event, facts, by));
  }

  /** One command at a time: a second one is told who is at work (exit code 4). */
  async command<T>(command: string, by: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy)
      throw new DrayError("MOVE_HELD", { move: this.name, by: this.#busy.by, command: this.#busy.command });
    this.#busy = { by, command };
    try {
      return await work();
    } finally {
      this.#busy = null;
      this.changed();
    }
  }

  allows(event: PhaseEvent): boolean {
    return allowed(this.phase).includes(event) && !leadsAway(this, event);
  }

  /** ILLEGAL_STEP, naming what is allowed, or ROUTING_OPEN, before anything is touched. */
  require(event: PhaseEvent): void {
    const now = allowed(this.phase);
    if (!now.includes(event))
      throw new DrayError("ILLEGAL_STEP", { move: this.name, phase: this.phase, event, allowed: now });
    this.#requireRouted(event);
  }

  #requireRouted(event: PhaseEvent): void {
    if (!leadsAway(this, event)) return;
    const { generation } = unrouted(this) as Unrouted;
    throw new DrayError("ROUTING_OPEN", { move: this.name, generation, event });
  }

  /** Resolves at the next change of phase or details. */
  onChange(listener: () => void): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  changed(): void {
    for (const watcher of this.#watchers) watcher();
  }

  /**
   * Loads the lanes after a restart of the process. They run once `run` is called: nothing is carried before the outcome
   * of a cutover that was cut short is known (C2).
   */
  async takeUp(): Promise<void> {
    if (!RUNNING.has(this.phase)) return;
    await this.lanes.load();
    await journalRecopies(this);
    for (const { source, runtime } of this.lanes.active) {
      for (const { lane, seq } of this.details.skipped) if (lane === source.lane) runtime.skip(seq);
      if (this.phase === "paused") runtime.pause("paused by an operator");
    }
  }

  run(): void {
    if (this.details.recopyingAll === null) {
      this.#resumeRecopies();
      this.lanes.start();
    } else this.#inBackground(() => goOnCopyingAll(this, this.#life.signal));
    this.standBy();
    this.#targetWatch.follow();
  }

  async pause(by: string): Promise<void> {
    await this.advance("pause", {}, by);
    for (const runtime of this.lanes.runtimes) runtime.pause(`paused by ${by}`);
  }

  async resume(by: string): Promise<void> {
    await this.advance("resume", {}, by);
    for (const runtime of this.lanes.runtimes) runtime.resume();
    await this.#copied();
  }

  async retry(by: string): Promise<void> {
    await this.advance("retry", {}, by);
    await this.solved();
    this.#resumeRecopies();
    for (const runtime of this.lanes.runtimes) runtime.start();
    await this.#copied();
  }

  /** `tables`: what the entry holds; null where the log does not say, so that each may be meant. */
  async skip(lane: string | null, seq: number, tables: readonly string[] | null, by: string): Promise<void> {
    const chosen = this.lanes.active.find(({ source }) => lane === null || source.lane === lane);
    if (chosen === undefined) throw new DrayError("LANE_UNKNOWN", { lane });
    await this.advance("skip", { lane: chosen.source.lane, seq }, by);
    const open = tables ?? chosen.source.tables.map(({ id }) => id);
    await this.setDetails({ skipped: [...this.details.skipped, { lane: chosen.source.lane, seq, tables: open }] });
    chosen.runtime.skip(seq);
  }

  /**
   * One table is copied again inside its lane. Every table: by new lanes, which is the way on for a lane that diverged,
   * lost its log, or met a DDL (M6, L7, M8).
   */
  async recopy(table: string | null, by: string, signal: AbortSignal): Promise<void> {
    this.require("recopy");
    await (table === null ? recopyAll(this, by, signal) : recopyTable(this, table, by, signal));
  }

  /** This move has ended: the next one of its name goes on with its journal, above its generation. */
  async giveWayTo(next: NewMove): Promise<void> {
    const { alarms, journal } = this.context;
    this.require("start-again");
    for (const { code } of await alarms.of(this.name)) await alarms.clear(this.name, code as ErrorCode);
    const earlier = { ...BLANK, ...next.details, earlier: journal.move.generation };
    await this.#inOrder(() => journal.startAgain({ ...next, details: earlier as unknown as JsonObject }));
    await this.stop();
    for (const { pair } of Object.values(this.context.stores).flat()) await pair.close();
  }

  /** After an attempt: what stopped meanwhile is told now. */
  async settle(): Promise<void> {
    await this.#stopped.settle();
  }

  async stop(): Promise<void> {
    this.#life.abort(new Error("the server stops"));
    await this.lanes.stop("the server stops");
    await this.#targetWatch.ended();
  }

  /** The way back is made ready beside everything else; the gate waits for it. */
  standBy(): void {
    this.#inBackground(() => standBy(this, this.#life.signal));
  }

  /** An attempt was aborted behind its mark: what stood by may have begun there. */
  standByAgain(): void {
    this.#inBackground(() => standByAgain(this, this.#life.signal));
  }

  #resumeRecopies(): void {
    for (const done of resumeRecopies(this, this.#life.signal)) this.#inBackground(() => done);
  }

  /** Every lane's last chunk is applied: the move streams. */
  async #copied(): Promise<void> {
    if (this.phase !== "copying") return;
    const { runtimes } = this.lanes;
    if (runtimes.length === 0 || !runtimes.every((runtime) => runtime.isCopied)) return;
    await this.advance("copied", {}, "server");
    this.standBy();
    const skipped = this.details.skipped.filter(({ tables }) => tables.length > 0);
    if (skipped.length < this.details.skipped.length) await this.setDetails({ skipped });
  }

  /** It needs a person. */
  async failed(error: unknown): Promise<void> {
    const code = isDrayError(error) ? error.code : "INTERNAL";
    const facts = isDrayError(error) ? (error.facts as JsonObject) : {};
    const problem = { code, message: reasonOf(error), facts };
    const open = unrouted(this);
    // Who does not see the routing there takes other ways on, and the tenant stays fenced.
    await this.setDetails(open === null ? { problem } : { unrouted: { ...open, beside: problem } });
    await this.context.alarms.raise(this.name, code, reasonOf(error), facts);
    if (this.allows("fail")) await this.advance("fail", { code }, "server");
  }

  /** Known at once, and durable when it resolves. */
  async #keepStrays(lane: LaneId, changes: readonly Change[]): Promise<void> {
    this.strayMemory.saw(lane, changes);
    await this.setDetails((now) => straysWith(now, lane, changes));
  }

  /** May be late, as on a full disk: what the lane has told since stands. */
  async #noStrays(lane: LaneId): Promise<void> {
    const isOver = () => !this.strayMemory.rows.some((stray) => stray.lane === lane);
    await this.setDetails((now) => (isOver() ? straysWith(now, lane, null) : {}));
    if (isOver()) await this.lanes.tellStrays(this.strayMemory.rows);
  }

  /** The alarm tells the last one and how many there were; the journal which they were, as far as a person will read. */
  async #noteStray(facts: JsonObject): Promise<void> {
    if (++this.#strays <= STRAYS_NOTED) await this.note("stray-write", facts, "server");
  }

  /** What needed a person has been done; its alarm goes with it. */
  async solved(): Promise<void> {
    const { problem } = this.details;
    await this.setDetails({ problem: null });
    if (problem !== null) await this.context.alarms.clear(this.name, problem.code as ErrorCode);
  }

  /** Nobody says it a second time: where the control store's disk is full, the step waits for room. */
  #inBackground(work: () => Promise<void>): void {
    const { logger } = this.context;
    const { signal } = this.#life;
    const tell = (error: unknown) => {
      if (signal.aborted) return;
      logger.error({ move: this.name, error: reasonOf(error) }, "a step of the move could not be journalled");
    };
    withBackoff(work, { signal, onRetry: tell }).catch(tell);
  }

  /** The journal compares and sets: steps of this process must not race each other. */
  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#steps.then(work);
    this.#steps = done.catch(() => {});
    return done;
  }
}
