import type { AttemptLane, Drained, Unverified } from "../../cutover/attempt-lane.ts";
import type { MarkPlace } from "../../pipeline/capture-options.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { Rules } from "./rules.ts";
import { type Happening, type Process, remove, type Scheduler, untilAborted } from "./scheduler.ts";
import type { Side, Transaction } from "./sides.ts";

type Entry = { readonly rows: Transaction["rows"]; readonly markId: number | null; readonly epoch: number };
type Waiter = {
  readonly process: Process;
  readonly markId: number;
  readonly resolve: (drained: Drained) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * One lane: its log, how far the source's stream is captured, how far the target has applied. It is worked by the process
 * that owns its epoch; what another one began there is refused. Behind a seal the tenant's changes are held.
 */
export class Lane {
  readonly name: string;
  readonly source: Side;
  readonly target: Side;
  owner: Process | null = null;
  epoch = 0;
  mode: "carrying" | "watching" = "carrying";
  closedInTarget: "yes" | "no" = "no";
  /** A final error of the applier, until a person has seen to it (A8). */
  isStuck: "yes" | "no" = "no";
  /** The keys of rows that came behind the seal; each is an alarm. */
  readonly strays = new Set<string>();
  readonly #scheduler: Scheduler;
  readonly #rules: Rules;
  readonly #log: Entry[] = [];
  readonly #waiters: Waiter[] = [];
  #captured: number | null;
  #applied = 0;
  #lastMarkId = 0;
  #lastChangeSeq = 0;
  #sealing: "yes" | "no" = "no";
  #held: Entry[] | null = null;

  constructor(options: {
    readonly name: string;
    readonly source: Side;
    readonly target: Side;
    /** How much of the source's stream it passes over; null: all there is when it is first opened. */
    readonly beginsAt: number | null;
    readonly scheduler: Scheduler;
    readonly rules: Rules;
  }) {
    this.name = options.name;
    this.source = options.source;
    this.target = options.target;
    this.#captured = options.beginsAt;
    this.#scheduler = options.scheduler;
    this.#rules = options.rules;
  }

  get held(): number {
    return this.#held?.length ?? 0;
  }

  /** Whether it carries, and is not far behind: what the gate asks. */
  get isCaughtUp(): boolean {
    const behind = this.source.stream.length - (this.#captured ?? 0) + this.#log.length - this.#applied;
    return this.isStuck === "no" && this.mode === "carrying" && this.closedInTarget === "no" && behind <= 3;
  }

  /** A process opens it with an epoch above all: it goes on behind the log's tail, and what was held is read again. */
  takeOver(process: Process): void {
    this.epoch++;
    this.owner = process;
    this.#captured ??= this.source.stream.length;
    if (this.closedInTarget === "yes") this.mode = "watching";
    this.#lift();
    for (const { process: waiting, reject } of this.#waiters.splice(0)) {
      this.#scheduler.wake(waiting, `finds ${this.name} taken`, () => reject(new DrayError("FENCED")));
    }
  }

  happenings(): Happening[] {
    if (this.owner?.state !== "running" || this.#captured === null) return [];
    const found: Happening[] = [];
    const at = this.#captured;
    if (at < this.source.stream.length) {
      found.push({ label: `${this.name} captures`, weight: 8, run: () => this.#capture(at) });
    }
    const carries = this.mode === "carrying" && this.closedInTarget === "no" && this.isStuck === "no";
    if (carries && this.#applied < this.#log.length) {
      found.push({ label: `${this.name} applies`, weight: 8, run: () => this.#apply() });
    }
    return found;
  }

  /** Commits a mark at the source; its number. */
  mark(kind: "sentinel" | "seal"): number {
    this.#lastMarkId++;
    this.source.commit({ kind, rows: [], lane: this.name, markId: this.#lastMarkId });
    return this.#lastMarkId;
  }

  /** From now on a mark of this number seals. */
  seal(): void {
    this.#sealing = this.#rules.sealsLanes;
  }

  release(): void {
    this.#lift();
  }

  /** Another server is its target, which has less of what was applied: an applier goes on from what it finds there. */
  targetLost(lost: readonly Transaction[]): void {
    const places = lost.flatMap(({ lane, logIndex }) =>
      lane === this.name && logIndex !== undefined ? [logIndex] : [],
    );
    this.#applied = Math.min(this.#applied, ...places);
  }

  /** Whether the target has everything up to an entry. */
  hasApplied(seq: number): boolean {
    return this.#applied >= seq;
  }

  watch(): void {
    this.mode = "watching";
    this.#held = null;
  }

  whenApplied(markId: number, process: Process, signal: AbortSignal): Promise<Drained> {
    const { promise, resolve, reject } = Promise.withResolvers<Drained>();
    const waiter = { process, markId, resolve, reject };
    this.#waiters.push(waiter);
    this.#tell();
    return untilAborted({ promise, resolve, reject }, signal, () => remove(this.#waiters, waiter));
  }

  #capture(at: number): void {
    const { kind, rows, lane, markId } = this.source.stream[at] as Transaction;
    this.#captured = at + 1;
    if (kind === "lost" || (kind === "applied" && this.#rules.dropsOwnTransactions === "yes")) return; // C7
    if (kind === "sentinel" || kind === "seal" || kind === "reverse") {
      if (lane !== this.name || this.mode === "watching") return;
      this.#log.push({ rows, markId, epoch: this.epoch });
      if (kind === "seal" && this.#sealing === "yes") this.#held ??= [];
      return;
    }
    if (this.mode === "watching" || this.#held !== null) for (const [key] of rows) this.strays.add(key);
    if (this.mode === "watching") return; // carried nowhere (C5)
    const entry = { rows, markId: null, epoch: this.epoch };
    if (this.#held !== null) this.#held.push(entry);
    else this.#append(entry);
  }

  #append(entry: Entry): void {
    this.#log.push(entry);
    this.#lastChangeSeq = this.#log.length;
  }

  #apply(): void {
    const logIndex = this.#applied++;
    const { rows, markId } = this.#log[logIndex] as Entry;
    if (markId === null) this.target.commit({ kind: "applied", rows, lane: this.name, markId: null, logIndex });
    else this.#tell();
  }

  #lift(): void {
    this.#sealing = "no";
    for (const entry of this.#held ?? []) this.#append({ ...entry, epoch: this.epoch });
    this.#held = null;
  }

  /** Wakes those whose mark the target has passed. */
  #tell(): void {
    for (const waiter of [...this.#waiters]) {
      const at = this.#log.findIndex(({ markId }) => markId === waiter.markId);
      if (at < 0 || at >= this.#applied) continue;
      remove(this.#waiters, waiter);
      const header = { lane: this.name, seq: at + 1, epoch: (this.#log[at] as Entry).epoch };
      // The cutover reads no more of a place than where it is.
      const place = { header } as unknown as MarkPlace;
      this.#scheduler.wake(waiter.process, `finds mark ${waiter.markId} of ${this.name} applied`, () =>
        waiter.resolve({ place, lastChangeSeq: this.#lastChangeSeq }),
      );
    }
  }
}

/** A lane in the hands of one process, which may have lost it to another meanwhile. */
export class LaneHandle implements AttemptLane {
  readonly lane: LaneId;
  readonly #lane: Lane;
  readonly #epoch: number;
  readonly #process: Process;
  readonly #scheduler: Scheduler;
  readonly #rules: Rules;
  readonly #onSealed: (streamLength: number) => void;

  constructor(options: {
    readonly lane: Lane;
    readonly process: Process;
    readonly scheduler: Scheduler;
    readonly rules: Rules;
    /** Where the seal's mark stands in the source's stream. */
    readonly onSealed: (streamLength: number) => void;
  }) {
    this.lane = options.lane.name as LaneId;
    this.#lane = options.lane;
    this.#epoch = options.lane.epoch;
    this.#process = options.process;
    this.#scheduler = options.scheduler;
    this.#rules = options.rules;
    this.#onSealed = options.onSealed;
  }

  /** Rows have no values here that could differ. */
  async compareUntil(): Promise<void> {}

  rest(): void {}

  drain(signal: AbortSignal): Promise<Drained> {
    return this.#mark("sentinel", () => {}, signal);
  }

  seal(signal: AbortSignal): Promise<Drained> {
    this.#own();
    this.#lane.seal();
    return this.#mark("seal", () => this.#onSealed(this.#lane.source.stream.length), signal);
  }

  verify(): Promise<Unverified> {
    return Promise.resolve(this.unverified());
  }

  unverified(): Unverified {
    return { uncovered: [], differing: [] };
  }

  slipped(): readonly [] {
    return [];
  }

  held(): number {
    return this.#isOwn ? this.#lane.held : 0;
  }

  release(): void {
    if (this.#isOwn) this.#lane.release();
  }

  async close(signal: AbortSignal): Promise<void> {
    if (this.#rules.closesLanes === "no") return;
    if (this.#isOwn) this.#lane.watch();
    await this.#scheduler.call(
      this.#process,
      `${this.#lane.name} closed in its target`,
      () => {
        this.#lane.closedInTarget = "yes";
      },
      signal,
    );
  }

  get #isOwn(): boolean {
    return this.#lane.epoch === this.#epoch;
  }

  #own(): void {
    if (!this.#isOwn) throw new DrayError("FENCED", { lane: this.lane });
    if (this.#lane.mode === "watching" || this.#lane.closedInTarget === "yes") {
      throw new DrayError("LANE_CLOSED", { lane: this.lane });
    }
  }

  async #mark(kind: "sentinel" | "seal", onMarked: () => void, signal: AbortSignal): Promise<Drained> {
    const atSource = () => {
      const id = this.#lane.mark(kind);
      onMarked();
      return id;
    };
    const id = await this.#scheduler.call(this.#process, `${kind} of ${this.#lane.name}`, atSource, signal);
    this.#own();
    return await this.#lane.whenApplied(id, this.#process, signal);
  }
}
