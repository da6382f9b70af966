import type { AdapterAction, AdapterCall } from "../../cutover/adapters/adapter.ts";
import { Attempt, type AttemptResult } from "../../cutover/attempt.ts";
import { type CommitPoint, isCommitted, type Outcomes } from "../../cutover/commit-point.ts";
import { confirmTargets } from "../../cutover/confirm-targets.ts";
import type { Direction } from "../../cutover/direction.ts";
import type { Fencing } from "../../cutover/fencing.ts";
import type { Move } from "../../cutover/move.ts";
import { abortMove, recoverAbort } from "../../cutover/move-end.ts";
import { findUnknownAttempt } from "../../cutover/reconcile.ts";
import { withBackoff } from "../../pipeline/backoff.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import { noProbe } from "../../pipeline/probe.ts";
import { type AdapterRecord, SimulatedAdapter } from "./adapters.ts";
import { GRACE_MS } from "./application.ts";
import { SimulatedHistory } from "./history.ts";
import { LaneHandle } from "./lane.ts";
import type { Process } from "./scheduler.ts";
import { otherSide, type SideName, SimulatedOutcomes } from "./sides.ts";
import { simulatedMove } from "./simulated-move.ts";
import type { World } from "./world.ts";

export const MAX_PAUSE_MS = 2_000;
const MOVE = "m1";
const TENANT = "7";

/** What a control store keeps of the move. A copy of an old one may be put in its place (C2). */
export type Memory = {
  generation: number;
  phase: "streaming" | "cutting-over" | "failed" | "aborting" | "aborted";
  note: { readonly generation: number; readonly homeUuid: string | null } | null;
  /** The cutover that brought the tenant to where it is; 0 before the first. */
  earlier: number;
  home: SideName;
  /** Who holds the lease: what anybody else writes is refused. */
  owner: Process | null;
};

type Parts = { readonly fencing: Fencing; readonly point: CommitPoint; readonly clock: Clock };

/**
 * One process at work on the move, around the product's own modules (protocol.test.ts says which): what is written here is
 * when they are called, as cutover-run and reconcile do. The way back is the same with the roles swapped: the home is the
 * side where the tenant lives.
 */
export class Coordinator {
  readonly process: Process;
  readonly memory: Memory;
  /** What it is doing; null: it waits for a command. */
  command: string | null = null;
  isTakenUp: "yes" | "no" = "no";
  readonly #world: World;
  readonly #forever = new AbortController().signal;

  constructor(world: World, process: Process, memory: Memory) {
    this.#world = world;
    this.process = process;
    this.memory = memory;
  }

  /** What a process does first: nothing is carried before the outcome of an attempt that was cut short is known (C2). */
  takeUp(): void {
    this.memory.owner = this.process;
    this.#run("take up", async () => {
      const { memory } = this;
      if (memory.phase === "aborting") {
        await recoverAbort(this.#move(), this.#forever).catch(async (error: unknown) => {
          if (!isDrayError(error, "ALREADY_COMMITTED")) throw error;
          await this.#findUnknown();
        });
      } else if (memory.phase !== "aborted") await this.#findUnknown();
      if (memory.phase === "cutting-over" || memory.phase === "failed") await this.#recover();
      if (memory.phase !== "aborted") this.#carry();
      this.isTakenUp = "yes";
    });
  }

  cutOver(): void {
    this.#run("cut over", async () => {
      this.#require("streaming");
      if (this.#lane().owner !== this.process) this.#carry();
      const parts = this.#parts();
      const { generation, outcomes } = await this.#next(parts);
      await parts.point.settle(generation - 1, outcomes, {}, this.#forever);
      this.#world.taken(generation, this.process);
      this.#write({ generation, phase: "cutting-over" });
      const { uuid } = await this.#store(this.memory.home).serverIdentity(this.#forever);
      this.#write({ note: { generation, homeUuid: uuid } });
      const attempt = this.#attempt(parts, generation, uuid);
      this.#finish(generation, await attempt.run(this.#forever));
    });
  }

  /** The routing stayed ambiguous: a person has it tried again. */
  retry(): void {
    this.#run("retry routing", async () => {
      this.#require("failed");
      await this.#recover();
    });
  }

  abort(): void {
    this.#run("abort", () => abortMove(this.#move(), "operator", this.#forever));
  }

  async #recover(): Promise<void> {
    const generation = this.memory.note?.generation ?? this.memory.generation;
    const parts = this.#parts();
    const homeUuid = this.memory.note?.homeUuid ?? null;
    this.#write({ note: { generation, homeUuid } });
    const result = await this.#attempt(parts, generation, homeUuid).recover(this.#forever);
    this.#finish(generation, result);
    this.#carry();
  }

  /** C2: an attempt that this memory knows nothing of. */
  async #findUnknown(): Promise<void> {
    const { rules } = this.#world;
    if (rules.looksForUnknown === "no") return;
    const isFound = await findUnknownAttempt(this.#move(), this.#forever);
    if (!isFound || rules.foundHome === "nobody knows") return;
    const { uuid } = await this.#store(this.memory.home).serverIdentity(this.#forever);
    this.#write({ note: { generation: this.memory.note?.generation ?? 0, homeUuid: uuid } });
  }

  #move(): Move {
    const { memory } = this;
    const { rules, scheduler } = this.#world;
    const { fencing, clock } = this.#parts();
    const lane = this.#lane();
    const close = () => {
      lane.closedInTarget = "yes";
    };
    const atTarget = (what: string, change: () => void, signal: AbortSignal) =>
      scheduler.call(this.process, what, change, signal);
    return simulatedMove({
      memory,
      write: (change) => this.#write(change),
      clock,
      fencing,
      outcomes: (side) => this.#store(side),
      history: this.#history(),
      lane: () => lane,
      stopLanes: () => {
        if (lane.owner === this.process) lane.owner = null;
      },
      closeLane: async (signal) => {
        if (rules.abortCloses === "first") await atTarget("lane closed in its target", close, signal);
      },
      removeRows: async (signal) => {
        if (rules.abortCloses !== "first") await atTarget("lane closed in its target", close, signal);
        await atTarget("copied rows removed", () => lane.target.removeRows(), signal);
      },
    });
  }

  /** Above all that is known; ALREADY_COMMITTED where one has committed. */
  async #next({ point, fencing }: Parts): Promise<{ readonly generation: number; readonly outcomes: Outcomes }> {
    const outcomes = await point.read(this.#forever);
    refuseCommitted(outcomes);
    const highest = await fencing.highestGeneration(this.#forever);
    return { generation: this.#world.rules.highest(this.memory.generation, outcomes, highest) + 1, outcomes };
  }

  #attempt(parts: Parts, generation: number, homeUuid: string | null): Attempt {
    const { world, process } = { world: this.#world, process: this.process };
    const { rules, scheduler } = world;
    const lane = this.#lane();
    const handle = new LaneHandle({
      lane,
      process,
      scheduler,
      rules,
      onSealed: (place) => world.sealed(generation, process, place),
    });
    return new Attempt({
      generation,
      lanes: [rules.attemptLane(handle)],
      fencing: parts.fencing,
      commitPoint: parts.point,
      quiesce: (deadlineMs, signal) => this.#quiesce(parts.clock, deadlineMs, signal),
      direction: this.#direction,
      // What the model has no rows for: nothing ever differs (V2).
      accepted: new Set([lane.name]),
      confirmTargets: async (sealed, signal) =>
        rules.confirmsTargets === "no"
          ? []
          : await confirmTargets(this.#move(), this.#direction, sealed, () => {}, signal),
      onSlipped: async () => {},
      onUnproven: async () => {},
      slipPolicy: "drain-again",
      prepare: async (signal) => {
        await this.#openReverse(parts.clock, generation, signal);
        return {};
      },
      homeUuid,
      maxPauseMs: MAX_PAUSE_MS,
      routePatienceMs: 5_000,
      clock: rules.attemptClock(parts.clock, MAX_PAUSE_MS),
      probe: noProbe,
      onStep: () => {},
      onHeld: () => {},
      onCommitted: async () => this.#write({}),
    });
  }

  /** Lists who is writing once, and waits for these (C11's deadline is the attempt's). */
  async #quiesce(clock: Clock, deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { scheduler, rules, sides } = this.#world;
    if (rules.quiesces === "no") return;
    const home = sides[this.memory.home];
    const ask = () => scheduler.call(this.process, `writers of ${home.name}`, () => [...home.open], signal);
    const writers = await withBackoff(ask, { signal, onRetry: () => {}, clock });
    while (writers.some((writer) => home.open.has(writer))) {
      if (rules.attemptClock === this.#world.honest.attemptClock && clock.monotonicMs() >= deadlineMs) {
        throw new DrayError("QUIESCE_TIMEOUT", { transactions: [] });
      }
      await clock.sleep(20, signal);
    }
  }

  #history(): SimulatedHistory {
    const { scheduler, sides } = this.#world;
    const side = sides[otherSide(this.memory.home)];
    const lanes = () => this.#world.lanes.filter(({ target }) => target === side);
    return new SimulatedHistory({ scheduler, process: this.process, side, lanes });
  }

  get #direction(): Direction {
    return this.memory.home === "from" ? "forward" : "reverse";
  }

  /** What the step prepare will do: the reverse mark of this generation, at which capture of the way back begins (C7). */
  async #openReverse(clock: Clock, generation: number, signal: AbortSignal): Promise<void> {
    const { scheduler } = this.#world;
    const { home } = this.memory;
    const onServer = () => this.#world.openLane(otherSide(home), generation, this.process);
    const mark = () => scheduler.call(this.process, `reverse mark ${generation}`, onServer, signal);
    await withBackoff(mark, { signal, onRetry: () => {}, clock });
  }

  #finish(generation: number, { outcome }: AttemptResult): void {
    switch (outcome) {
      case "committed":
        this.#write({
          earlier: generation,
          home: otherSide(this.memory.home),
          phase: "streaming",
          note: null,
        });
        this.#carry();
        return;
      case "aborted":
        this.#world.dropLane(generation);
        this.#write({ phase: "streaming", note: null });
        return;
      case "needs-person":
        this.#write({ phase: "failed" });
    }
  }

  #parts(): Parts {
    const { rules, scheduler, adapters } = this.#world;
    const { home, earlier } = this.memory;
    const to = otherSide(home);
    const clock = scheduler.clockOf(this.process);
    const adapter = (record: AdapterRecord) =>
      new SimulatedAdapter({
        scheduler,
        process: this.process,
        record,
        rules,
        expiry: this.#world.plan.expiry,
        onSent: (action: AdapterAction, call: AdapterCall) => this.#world.sent(action, call, home),
      });
    const fencing = rules.makeFencing({
      move: MOVE,
      tenant: TENANT,
      from: home,
      to,
      fences: adapters.fences(home).map(adapter),
      routes: adapters.routes(home).map(adapter),
      graceMs: rules.graces === "yes" ? GRACE_MS : 0,
      clock,
    });
    const options = {
      move: MOVE,
      home: this.#store(home),
      target: this.#store(to),
      clock,
      probe: noProbe,
      earlier,
      onHeld: () => {},
    };
    return { fencing, clock, point: rules.makeCommitPoint(options, fencing) };
  }

  #store(name: SideName): SimulatedOutcomes {
    const { rules, scheduler, sides } = this.#world;
    return new SimulatedOutcomes({
      scheduler,
      process: this.process,
      side: sides[name],
      rules,
      onInsert: (side, draft) => this.#world.inserted(side, draft, this.process),
    });
  }

  #lane() {
    return this.#world.laneOf(this.memory);
  }

  /** The lane from the home carries; those that are closed are watched on. */
  #carry(): void {
    for (const lane of this.#world.lanes) lane.takeOver(this.process);
  }

  /** Durable; LEASE_LOST once another process has taken the move over. */
  #write(change: Partial<Memory>): void {
    if (this.memory.owner !== this.process) throw new DrayError("LEASE_LOST");
    Object.assign(this.memory, change);
    this.#world.remember(this.memory);
  }

  #require(phase: Memory["phase"]): void {
    if (this.memory.phase !== phase) throw new DrayError("ILLEGAL_STEP", { phase: this.memory.phase });
  }

  #run(command: string, work: () => Promise<void>): void {
    this.command = command;
    const end = (result: string) => {
      this.command = null;
      this.#world.say(`${this.process.name}: ${command}: ${result}; ${this.memory.phase} at ${this.memory.home}`);
    };
    work().then(
      () => end("done"),
      (error: unknown) => {
        if (!isDrayError(error)) this.#world.breach(`${command} failed: ${String(error)}`);
        end(String(error));
      },
    );
  }
}

function refuseCommitted(outcomes: Outcomes): void {
  for (const [generation, rows] of outcomes) {
    if (isCommitted(rows)) throw new DrayError("ALREADY_COMMITTED", { generation });
  }
}
