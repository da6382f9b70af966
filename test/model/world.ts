import type { AdapterAction, AdapterCall } from "../../cutover/adapters/adapter.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { OutcomeDraft } from "../../pipeline/outcome.ts";
import { AdapterRecords, type Layout } from "./adapters.ts";
import { Application } from "./application.ts";
import { Coordinator, type Memory } from "./coordinator.ts";
import { Lane } from "./lane.ts";
import { RULES, type Rules } from "./rules.ts";
import { type Happening, type Process, Scheduler } from "./scheduler.ts";
import { otherSide, Side, type SideName } from "./sides.ts";

/** What differs between two worlds before anything happens, and what may go wrong in them. */
export type Plan = {
  /** Forward: the tenant lives at `from` first. */
  readonly direction: "forward" | "back";
  readonly layout: Layout;
  readonly expiry: "self" | "supervised";
  /** Messages that may be lost, or come late. */
  readonly faults: number;
  /** Crashes, stalls, copies of the control store, final errors of a lane. */
  readonly disasters: number;
  readonly failovers: number;
  readonly lateWrites: number;
  readonly hangs: number;
  /** What happens far more often than else, so that what is rare meets what is rare. */
  readonly often: readonly Trouble[];
};
export type Trouble = "aborts" | "old copies" | "failovers" | "zombies";

const OFTEN = 8;

const MOST_PROCESSES = 4;
const MOST_ATTEMPTS = 5;

/** Two sides, a tenant between them, its application, and the processes that move it. */
export class World {
  readonly plan: Plan;
  readonly rules: Rules;
  readonly honest = RULES;
  readonly scheduler: Scheduler;
  readonly sides: Readonly<Record<SideName, Side>> = {
    from: new Side("from", () => this.scheduler.nowMs),
    to: new Side("to", () => this.scheduler.nowMs),
  };
  readonly adapters: AdapterRecords;
  readonly application: Application;
  readonly coordinators: Coordinator[] = [];
  /** Generations that COMMITTED, in order: each ended a leg of the tenant's journey. */
  readonly committed: { readonly generation: number; readonly home: SideName; readonly sealedAt: number }[] = [];
  readonly firstHome: SideName;
  memory: Memory;
  disastersLeft: number;
  failoversLeft: number;
  readonly breaches: string[] = [];
  readonly trace: string[] = [];
  readonly #dropped = new Set<number>();
  readonly #lanes = new Map<string, Lane>();
  readonly #copies: Memory[] = [];
  readonly #seals = new Map<number, Map<Process, number>>();
  readonly #homes = new Map<number, SideName>();
  readonly #acted = new Map<number, "forward" | "back">();
  readonly #takers = new Map<number, Set<Process>>();
  readonly #lost = new Set<number>();
  #attemptsLeft = MOST_ATTEMPTS;
  #hasBegun: "yes" | "no" = "no";

  constructor(plan: Plan, rules: Rules) {
    this.plan = plan;
    this.rules = rules;
    this.disastersLeft = plan.disasters;
    this.failoversLeft = plan.failovers;
    this.scheduler = new Scheduler({ faults: plan.faults });
    this.firstHome = plan.direction === "forward" ? "from" : "to";
    this.adapters = new AdapterRecords(plan.layout, this.firstHome);
    this.application = new Application({
      scheduler: this.scheduler,
      adapters: this.adapters,
      sides: this.sides,
      late: plan.lateWrites,
      hangs: plan.hangs,
      leg: () => this.committed.length,
      mayBeLate: (leg) =>
        leg === this.committed.length || (leg === this.committed.length - 1 && this.#hasBegun === "no"),
    });
    const home = this.firstHome;
    this.memory = { generation: 0, phase: "streaming", note: null, earlier: 0, home, owner: null };
    this.#copies.push({ ...this.memory });
    this.#newLane(home, 0, 0);
    this.startProcess();
  }

  get isAnyoneStalled(): boolean {
    return this.coordinators.some(({ process }) => process.state === "stalled");
  }

  /** Rows that a lane told as strays: they came behind its seal. */
  get strays(): ReadonlySet<string> {
    return new Set(this.lanes.flatMap((lane) => [...lane.strays]));
  }

  get lanes(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  /** The lane that carries from where the memory says the tenant lives. */
  laneOf({ home, earlier }: Memory): Lane {
    const lane = this.#lanes.get(laneName(home, earlier));
    if (lane === undefined) throw new Error(`no lane ${laneName(home, earlier)}`);
    return lane;
  }

  /** The reverse mark of a generation, once: capture of the way back begins behind it (C7). */
  openLane(source: SideName, generation: number, process: Process): void {
    // A mark that lands behind the abort is one that nobody waits for.
    if (this.#lanes.has(laneName(source, generation)) || this.#dropped.has(generation)) return;
    const { stream } = this.sides[source];
    const lane = laneName(source, generation);
    this.sides[source].commit({ kind: "reverse", rows: [], lane, markId: null });
    if (this.rules.reverseBegins === "when the lane is opened") this.#newLane(source, generation, null);
    else this.#newLane(source, generation, stream.length).takeOver(process);
  }

  /** The attempt of this generation was aborted: its way back never begins. */
  dropLane(generation: number): void {
    this.#dropped.add(generation);
    for (const source of ["from", "to"] as const) this.#lanes.delete(laneName(source, generation));
  }

  /**
   * Two copies of one control store may take the same generation: they share its outcome, and that is safe unless a
   * failover loses it while they know different servers as the home. Nothing claims a generation yet, so that meeting of
   * three is left out here.
   */
  taken(generation: number, process: Process): void {
    const takers = this.#takers.get(generation) ?? new Set<Process>();
    this.#takers.set(generation, takers.add(process));
    if (takers.size > 1 && this.#lost.has(generation)) throw new DrayError("JOURNAL_CONFLICT", { generation });
  }

  sealed(generation: number, process: Process, place: number): void {
    const seals = this.#seals.get(generation) ?? new Map<Process, number>();
    this.#seals.set(generation, seals.set(process, place));
  }

  inserted(side: SideName, { generation, outcome }: OutcomeDraft, process: Process): void {
    if (outcome !== "COMMITTED") return;
    const home = this.#homes.get(generation) ?? otherSide(side);
    if (this.committed.some((each) => each.generation === generation)) return;
    const seals = this.#seals.get(generation);
    const sealedAt = seals?.get(process) ?? Math.min(...(seals?.values() ?? []));
    this.committed.push({ generation, home, sealedAt });
    this.#hasBegun = "no";
  }

  /** A coordinator has decided to call; whether it may, is C1's question. */
  sent(action: AdapterAction, { generation }: AdapterCall, home: SideName): void {
    if (action === "fence") {
      this.#homes.set(generation, home);
      if (!this.committed.some((each) => each.generation === generation)) this.#hasBegun = "yes";
      return;
    }
    if (action !== "route" && action !== "unfence") return;
    const target = this.sides[otherSide(home)].outcomes.get(generation)?.outcome;
    const atHome = this.sides[home].everCommitted.has(generation) || this.sides[home].uuid !== `${home}-1`;
    if (action === "route" && (target !== "COMMITTED" || !atHome)) {
      this.breach(`route(${generation}) before COMMITTED has won on both sides`);
    }
    if (action === "unfence" && target === "COMMITTED") this.breach(`unfence(${generation}) though it COMMITTED`);
    const way = action === "route" ? "forward" : "back";
    if ((this.#acted.get(generation) ?? way) !== way) this.breach(`generation ${generation} went both ways`);
    this.#acted.set(generation, way);
  }

  remember(memory: Memory): void {
    // An old copy of an earlier leg needs a way back that finds its own place: not in this version.
    if (memory !== this.memory) return;
    if (memory.earlier !== this.#copies[0]?.earlier) this.#copies.splice(0);
    this.#copies.push({ ...memory });
  }

  startProcess(): Coordinator {
    const process: Process = { name: `P${this.coordinators.length + 1}`, state: "running" };
    const coordinator = new Coordinator(this, process, this.memory);
    this.coordinators.push(coordinator);
    coordinator.takeUp();
    return coordinator;
  }

  say(line: string): void {
    this.trace.push(`      ${line}`);
  }

  breach(what: string): void {
    this.breaches.push(what);
  }

  /** Everything that may happen next, the usual first. */
  happenings(): Happening[] {
    return [
      ...this.scheduler.happenings(),
      ...this.lanes.flatMap((lane) => lane.happenings()),
      ...this.replications(),
      ...this.application.happenings(),
      ...this.scheduler.lateArrivals(),
      ...this.#commands(),
      ...this.#timePasses(),
      ...(this.disastersLeft > 0 ? this.#disasters() : []),
      ...(this.failoversLeft > 0 ? this.#failovers() : []),
    ];
  }

  /** A candidate follows by and by. */
  replications(): Happening[] {
    return Object.values(this.sides)
      .filter((side) => side.mayReplicate)
      .map((side) => ({ label: `the candidate of ${side.name} follows`, weight: 8, run: () => side.replicate() }));
  }

  #commands(): Happening[] {
    const found: Happening[] = [];
    for (const coordinator of this.coordinators) {
      const { process, memory } = coordinator;
      if (coordinator.command !== null || process.state !== "running") continue;
      const name = process.name;
      const isOwner = memory.owner === process;
      if (coordinator.isTakenUp === "no" && isOwner) {
        found.push({ label: `${name} takes up again`, weight: 2, run: () => coordinator.takeUp() });
      }
      if (coordinator.isTakenUp === "no" || !isOwner || memory.earlier > this.memory.earlier) continue;
      if (memory.phase === "streaming" && this.#attemptsLeft > 0 && this.laneOf(memory).isCaughtUp) {
        const cutOver = () => {
          this.#attemptsLeft--;
          coordinator.cutOver();
        };
        found.push({ label: `${name} is told to cut over`, weight: 6, run: cutOver });
      }
      if (memory.phase === "failed") {
        found.push({ label: `${name} is told to retry`, weight: 3, run: () => coordinator.retry() });
      }
      const mayAbort = memory.earlier === 0 && memory.phase !== "aborted" && this.plan.disasters > 0;
      if (mayAbort)
        found.push({
          label: `${name} is told to abort`,
          weight: this.#times("aborts", 0.1),
          run: () => coordinator.abort(),
        });
    }
    return found;
  }

  #timePasses(): Happening[] {
    const { scheduler } = this;
    const pass = (ms: number) => () => {
      scheduler.nowMs += ms;
    };
    const found: Happening[] = [{ label: "50 ms pass", weight: 3, run: pass(50) }];
    found.push({ label: "61 s pass", weight: 0.3, run: pass(61_000) });
    const due = scheduler.nextDueMs();
    if (due !== null && due > scheduler.nowMs) {
      found.push({ label: "time passes to the next timer", weight: 0.5, run: pass(due - scheduler.nowMs) });
    }
    return found;
  }

  #disasters(): Happening[] {
    const found: Happening[] = [];
    const add = (label: string, weight: number, work: () => void) => {
      const run = () => {
        this.disastersLeft--;
        work();
      };
      found.push({ label, weight, run });
    };
    const living = this.coordinators.filter(({ process }) => process.state !== "dead");
    for (const { process, command } of living) {
      if (process.state === "stalled") {
        found.push({ label: `${process.name} goes on`, weight: 0.5, run: () => this.#resume(process) });
        continue;
      }
      add(`${process.name} stalls`, this.#times("zombies", command === null ? 0.2 : 1), () => this.#stall(process));
      add(`${process.name} is killed`, this.#times("old copies", 0.1), () => this.#kill(process));
      add(`${process.name} is killed, and with it what it was sending`, this.#times("old copies", 0.1), () => {
        this.#kill(process);
        this.scheduler.dropMessages(process);
      });
    }
    if (this.coordinators.length < MOST_PROCESSES) {
      const isLeft = living.every(({ process }) => process.state !== "running");
      const weight = isLeft ? 3 : this.#times("zombies", 0.2);
      found.push({ label: "another process takes the move", weight, run: () => this.startProcess() });
      this.#copies.forEach((copy, i) => {
        add(`the control store is copy ${i} again`, this.#times("old copies", 0.3) / this.#copies.length, () => {
          this.memory = { ...copy, owner: null };
          this.startProcess();
        });
      });
    }
    for (const lane of this.lanes) {
      if (lane.isStuck === "no")
        add(`${lane.name} meets a final error`, this.#times("zombies", 0.05), () => this.#stick(lane));
    }
    return found;
  }

  #failovers(): Happening[] {
    const found: Happening[] = [];
    for (const side of Object.values(this.sides)) {
      const add = (label: string, weight: number, lost: readonly number[]) => {
        const run = () => {
          this.failoversLeft--;
          side.failOver(lost);
          for (const generation of lost) this.#lost.add(generation);
        };
        found.push({ label: `${side.name} fails over${label}`, weight, run });
      };
      add("", this.#times("failovers", 0.1), []);
      // Only a home loses its own decisions: of a target's candidate C6 asks for all that the target holds.
      if (side.isCandidateBehind) {
        const run = () => {
          this.failoversLeft--;
          const lost = side.failOverToCandidate();
          for (const lane of this.lanes) if (lane.target === side) lane.targetLost(lost);
        };
        found.push({
          label: `${side.name} fails over to its candidate, which is behind`,
          weight: this.#times("failovers", 0.3),
          run,
        });
      }
      const newest = Math.max(0, ...side.outcomes.keys());
      const isShared = (this.#takers.get(newest)?.size ?? 0) > 1;
      if (newest > 0 && this.#homes.get(newest) === side.name && !isShared)
        add(` and loses outcome ${newest}`, this.#times("failovers", 1), [newest]);
    }
    return found;
  }

  /** Trouble comes mostly while a cutover or an abort is under way: before that it shows little. */
  #times(trouble: Trouble, weight: number): number {
    const busy = this.coordinators.some(({ command }) => command === "cut over" || command === "abort");
    return weight * (this.plan.often.includes(trouble) ? OFTEN : 1) * (busy ? 1 : 0.05);
  }

  #stall(process: Process): void {
    process.state = "stalled";
  }

  #resume(process: Process): void {
    process.state = "running";
  }

  #kill(process: Process): void {
    process.state = "dead";
  }

  #stick(lane: Lane): void {
    lane.isStuck = "yes";
  }

  #newLane(source: SideName, generation: number, beginsAt: number | null): Lane {
    const name = laneName(source, generation);
    const { scheduler, rules } = this;
    const sides = { source: this.sides[source], target: this.sides[otherSide(source)] };
    const lane = new Lane({ name, ...sides, beginsAt, scheduler, rules });
    this.#lanes.set(name, lane);
    return lane;
  }
}

function laneName(source: SideName, generation: number): string {
  return `lane ${source}.${generation}`;
}
