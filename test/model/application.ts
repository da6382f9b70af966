import type { AdapterRecords } from "./adapters.ts";
import type { Happening, Scheduler } from "./scheduler.ts";
import type { OpenTransaction, Side, SideName } from "./sides.ts";

export const GRACE_MS = 100;
/** How long a node that breaks its promise still acts on an old answer. */
const LATE_MS = 100_000;
const HOT_KEYS = ["hot-1", "hot-2"] as const;

type Answer = { readonly side: SideName; readonly askedAtMs: number; readonly leg: number };
type Node = {
  readonly name: string;
  readonly router: 0 | 1;
  answer: Answer | null;
  open: (OpenTransaction & Pick<Answer, "side" | "leg">) | null;
};
/** A write that a client was told of. `place`: behind how much of its side's stream it stands. */
export type Acknowledged = {
  readonly key: string;
  readonly hotKey: (typeof HOT_KEYS)[number];
  readonly value: number;
  readonly side: SideName;
  readonly place: number;
  readonly leg: number;
  readonly isLate: "yes" | "no";
};

/**
 * The tenant's application: two nodes that ask before they write, and act on the answer for the grace. What a client is
 * told of stands in the database. A late write is one that breaks this promise, as an old session may.
 */
export class Application {
  readonly acknowledged: Acknowledged[] = [];
  lateLeft: number;
  hangsLeft: number;
  /** How often the tenant has moved. */
  readonly #leg: () => number;
  /** A node of the last leg may be late only until the next attempt begins. */
  readonly #mayBeLate: (leg: number) => boolean;
  readonly #scheduler: Scheduler;
  readonly #adapters: AdapterRecords;
  readonly #sides: Readonly<Record<SideName, Side>>;
  readonly #nodes: readonly Node[] = [
    { name: "node-1", router: 0, answer: null, open: null },
    { name: "node-2", router: 1, answer: null, open: null },
  ];
  #writes = 0;

  constructor(options: {
    readonly scheduler: Scheduler;
    readonly adapters: AdapterRecords;
    readonly sides: Readonly<Record<SideName, Side>>;
    readonly late: number;
    readonly hangs: number;
    readonly leg: () => number;
    readonly mayBeLate: (leg: number) => boolean;
  }) {
    this.lateLeft = options.late;
    this.hangsLeft = options.hangs;
    this.#scheduler = options.scheduler;
    this.#adapters = options.adapters;
    this.#sides = options.sides;
    this.#leg = options.leg;
    this.#mayBeLate = options.mayBeLate;
  }

  /** Where a node could write, or is writing, at this moment. */
  writable(): ReadonlySet<SideName> {
    const sides = new Set<SideName>();
    for (const node of this.#nodes) {
      const { side, mayWrite } = this.#adapters.ask(node.router, this.#scheduler.nowMs);
      if (mayWrite === "yes") sides.add(side);
      if (node.answer !== null && this.#ageMs(node.answer) < GRACE_MS) sides.add(node.answer.side);
      if (node.open !== null && this.#isOpen(node)) sides.add(node.open.side);
    }
    return sides;
  }

  happenings(): Happening[] {
    return this.#nodes.flatMap((node) => this.#ofNode(node));
  }

  /** Every transaction that can still end does; those that hang are rolled back where `hung` says so. */
  *endings(hung: "are left" | "are rolled back"): Generator<Happening> {
    for (const node of this.#nodes) {
      if (node.open === null || !this.#isOpen(node)) continue;
      if (node.open.isHung === "no") {
        yield { label: `${node.name} commits in ${node.open.side}`, weight: 1, run: () => this.#end(node) };
      } else if (hung === "are rolled back") {
        yield { label: `${node.name} is ended in ${node.open.side}`, weight: 1, run: () => this.#rollBack(node) };
      }
    }
  }

  /** One write by each node that may. */
  *writes(): Generator<Happening> {
    for (const node of this.#nodes) {
      yield { label: `${node.name} asks`, weight: 1, run: () => this.#ask(node) };
      const answer = node.answer as Answer | null;
      if (answer !== null) {
        yield { label: `${node.name} writes to ${answer.side}`, weight: 1, run: () => this.#commit(answer, "no") };
      }
    }
  }

  #ofNode(node: Node): Happening[] {
    const { answer, open, name } = node;
    if (open !== null && this.#isOpen(node)) {
      if (open.isHung === "yes") return [];
      const found = [{ label: `${name} commits in ${open.side}`, weight: 2, run: () => this.#end(node) }];
      if (this.hangsLeft > 0) {
        const hang = () => {
          this.hangsLeft--;
          open.isHung = "yes";
        };
        found.push({ label: `${name} hangs in a transaction in ${open.side}`, weight: 0.5, run: hang });
      }
      return found;
    }
    const found = [{ label: `${name} asks`, weight: 1, run: () => this.#ask(node) }];
    if (answer === null) return found;
    const { side } = answer;
    const ageMs = this.#ageMs(answer);
    if (ageMs < GRACE_MS) {
      found.push({ label: `${name} writes to ${side}`, weight: 1, run: () => this.#commit(answer, "no") });
      found.push({ label: `${name} begins in ${side}`, weight: 0.5, run: () => this.#begin(node, answer) });
    } else if (this.lateLeft > 0 && ageMs <= LATE_MS && this.#mayBeLate(answer.leg) && !this.#stillHolds(node, side)) {
      const late = () => {
        this.lateLeft--;
        this.#commit(answer, "yes");
      };
      found.push({ label: `${name} writes to ${side}, late`, weight: 2, run: late });
    }
    return found;
  }

  #stillHolds(node: Node, side: SideName): boolean {
    const now = this.#adapters.ask(node.router, this.#scheduler.nowMs);
    return now.mayWrite === "yes" && now.side === side;
  }

  #ask(node: Node): void {
    const { side, mayWrite } = this.#adapters.ask(node.router, this.#scheduler.nowMs);
    // A refusal does not reach the session that is late: it keeps its old answer.
    if (mayWrite === "yes") node.answer = { side, askedAtMs: this.#scheduler.nowMs, leg: this.#leg() };
  }

  #begin(node: Node, { side, leg }: Answer): void {
    node.open = { node: node.name, side, leg, isHung: "no" };
    this.#sides[side].open.add(node.open);
  }

  #end(node: Node): void {
    const { open } = node;
    if (open === null) return;
    this.#rollBack(node);
    this.#commit(open, "no");
  }

  #rollBack(node: Node): void {
    if (node.open !== null) this.#sides[node.open.side].open.delete(node.open);
    node.open = null;
  }

  #commit({ side, leg }: Pick<Answer, "side" | "leg">, isLate: "yes" | "no"): void {
    const value = ++this.#writes;
    const hotKey = HOT_KEYS[value % 2] as (typeof HOT_KEYS)[number];
    const key = `row-${value}`;
    const database = this.#sides[side];
    const place = database.stream.length;
    const rows = [[key, value] as const, [hotKey, value] as const];
    database.commit({ kind: "application", rows, lane: null, markId: null });
    this.acknowledged.push({ key, hotKey, value, side, place, leg, isLate });
  }

  /** A failover ends every transaction. */
  #isOpen(node: Node): boolean {
    return node.open !== null && this.#sides[node.open.side].open.has(node.open);
  }

  #ageMs(answer: Answer): number {
    return this.#scheduler.nowMs - answer.askedAtMs;
  }
}
