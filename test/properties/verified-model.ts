import type { Bound } from "../../pipeline/coverage.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { Span } from "../../pipeline/verify/verified-range.ts";
import { VerifiedTable } from "../../pipeline/verify/verified-table.ts";

/** What somebody does to the table; `a` and `b` choose among what there is. */
export type Act = {
  readonly kind:
    | "change"
    | "plant"
    | "begin-range"
    | "begin-keys"
    | "end"
    | "ask"
    | "recheck"
    | "repair"
    | "recopy"
    | "restart"
    | "save"
    | "crash";
  readonly a: number;
  readonly b: number;
};

type Comparison = {
  readonly seq: number;
  /** Steps of the model count the time: what began before a pass was asked for does not answer it. */
  readonly beganAt: number;
  readonly faulty: ReadonlySet<number>;
} & (
  | { readonly form: "range"; readonly span: Span; readonly keys: readonly number[]; readonly asked: number }
  | { readonly form: "keys"; readonly keys: readonly number[] }
);

/** What is true of a key: by the comparison of the highest seq that has ended. */
type Truth = {
  readonly changed: number;
  readonly compared: number;
  readonly differs: boolean;
  readonly beganAt: number;
};
type LogEntry = { readonly seq: number; redo(table: VerifiedTable): void };

const KEYS = 8;
const CAP = 4;
/** Keys that changed so little before a read's end may be left out of it. */
const WINDOW = 3;

/**
 * A source, a target and their log in a few numbers: places 0, 1, 2, … in key order, some of which are wrong in the
 * target. It knows when each key changed and when it was compared, and holds the table to it.
 */
export class VerifiedModel {
  #table: VerifiedTable;
  readonly #ordered: boolean;
  readonly #most: number;
  #seq = 0;
  #step = 0;
  #pass = 0;
  #askedAt = 0;
  #faulty = new Set<number>();
  #truth = new Map<number, Truth>();
  #pending: Comparison[] = [];
  /** Whoever reads the source works on these, and on no range twice. */
  #inWork: Comparison[] = [];
  #log: LogEntry[] = [];
  #saved: {
    readonly state: ReturnType<VerifiedTable["state"]>;
    readonly seq: number;
    readonly askedAt: number;
    readonly truth: Map<number, Truth>;
  };

  constructor(ordered: boolean, mostDifferences: number) {
    this.#ordered = ordered;
    this.#most = mostDifferences;
    this.#table = this.#newTable();
    for (let n = 0; n < KEYS; n++) this.#truth.set(n, { changed: 0, compared: -1, differs: false, beganAt: -1 });
    this.#saved = this.#snapshot();
  }

  act({ kind, a, b }: Act): void {
    this.#step++;
    switch (kind) {
      case "change":
        return this.#change(a % KEYS);
      case "plant":
        this.#faulty.add(a % KEYS);
        return;
      case "begin-range":
        return this.#beginRange(a, b);
      case "begin-keys":
        return this.#beginKeys(a, b);
      case "end":
        return this.#end(a);
      case "ask":
        this.#table.ask();
        this.#askedAt = this.#step;
        return;
      case "recheck":
        return this.#table.recheck();
      case "repair":
        return this.#repair(a % KEYS, b);
      case "recopy":
        return this.#recopy();
      case "restart":
        // The source's half begins anew; what is under way in the target goes on.
        this.#inWork = [];
        return;
      case "save":
        this.#saved = this.#snapshot();
        return;
      case "crash":
        return this.#crash();
    }
  }

  /** Every breach of V2, in words. */
  problems(): string[] {
    const problems: string[] = [];
    const dirty = new Set(this.#table.oldestDirty(KEYS * 2).map(keyText));
    const differing = new Set(this.#table.differences.map(({ key }) => keyText(key)));
    for (const [n, { changed, compared, differs, beganAt }] of this.#truth) {
      const range = this.#table.ranges.find((each) => this.#isIn(n, each));
      if (range === undefined) return [`key ${n} lies in no range`];
      const isOpen = range.seq === null || dirty.has(textOf(n));
      if (changed > compared && !isOpen)
        problems.push(`key ${n} changed at ${changed}, was compared at ${compared}, and nobody knows`);
      // Until it is compared again, what stands of it may be old; then it may not.
      const isBeyond = differs && range.overflows;
      if (differs !== differing.has(textOf(n)) && !isOpen && !range.due && !isBeyond) {
        problems.push(
          `key ${n} ${differs ? "differed" : "was equal"} at ${compared}, and ${differs ? "no" : "a"} difference stands`,
        );
      }
      if (!range.due && !isOpen && beganAt < this.#askedAt)
        problems.push(`key ${n} has not been compared since a pass was asked for`);
    }
    this.#table.ranges.forEach(({ after, upTo, seq, due, overflows }, i, all) => {
      if (overflows && !due && differing.size < this.#most / 2) problems.push(`range ${i} could name its differences`);
      if (after !== (all[i - 1]?.upTo ?? null)) problems.push(`range ${i} does not begin where the one before ends`);
      if (i === all.length - 1 && upTo !== null) problems.push("the last range has an end");
      if (seq === null && !due) problems.push(`range ${i} is not covered, and not due`);
    });
    // Those of differences are beside the cap.
    const changed = [...dirty].filter((key) => !differing.has(key)).length;
    if (changed > CAP) problems.push(`${changed} dirty keys are kept`);
    return problems;
  }

  /** Whoever compares everything that is due, and nothing changes meanwhile, knows everything. */
  settle(): void {
    while (this.#pending.length > 0) this.act({ kind: "end", a: 0, b: 0 });
    for (let rounds = 0; rounds < 4 && (this.#table.isDue || this.#table.dirtyKeys > 0); rounds++) {
      for (let i = 0; i < this.#table.ranges.length; i++) {
        if (!this.#table.ranges[i]?.due) continue;
        this.#step++;
        this.#open(this.#table.ranges[i] as Span, new Set());
        this.#end(0);
      }
      this.#step++;
      this.#beginKeys(0, KEYS - 1);
      this.#end(0);
    }
  }

  settledProblems(): string[] {
    const wanted = [...this.#truth].filter(([, { differs }]) => differs).map(([n]) => n);
    const found = this.#table.differences.map(({ key }) => numberOf(key)).sort((one, other) => one - other);
    const isRight = this.#table.overflows
      ? found.length > 0 && found.every((n) => wanted.includes(n))
      : wanted.join() === found.join();
    const problems = isRight ? [] : [`${found} are reported, and ${wanted} differ`];
    if (this.#table.isDue || this.#table.dirtyKeys > 0) problems.push("something is still due");
    if (!this.#table.isCovered) problems.push("not everything is covered");
    return problems;
  }

  #change(n: number): void {
    const seq = ++this.#seq;
    // Whatever stood in the target is written over.
    this.#faulty.delete(n);
    this.#append({ seq, redo: (table) => table.changed(textOf(n), seq) });
    this.#truth.set(n, { ...this.#truthOf(n), changed: seq });
  }

  #beginRange(a: number, b: number): void {
    const isTaken = ({ after }: Span) =>
      this.#inWork.some((each) => each.form === "range" && each.span.after === after);
    const free = this.#table.ranges.filter((range) => range.due && !isTaken(range));
    // As the product has it, a piece of several ranges, or any one of them.
    const range = a % 2 === 0 ? this.#table.nextDue(isTaken) : free[a % Math.max(1, free.length)];
    if (range === undefined || range === null) return;
    const inside = this.#keysOf(range);
    const end = b % 3 === 0 ? null : (inside[b % Math.max(1, inside.length)] ?? null);
    // A bound that is the range's own end cuts nothing; one behind the last row of all is the table's end.
    const upTo =
      end === null || end === KEYS - 1 || (range.upTo !== null && end === inside.at(-1))
        ? range.upTo
        : boundAt(end, this.#ordered);
    // Where keys have no order, a range is only ever cut at its own end or out of the last one.
    const span = { after: range.after, upTo: this.#ordered || range.upTo === null ? upTo : range.upTo };
    if (!this.#table.cut(span)) throw new Error("a piece of a range was not cut");
    const late = inside.filter((n) => this.#seq - this.#truthOf(n).changed < WINDOW && (a + n) % 3 === 0);
    this.#open(span, new Set(late));
  }

  #open(span: Span, leftOut: ReadonlySet<number>): void {
    const seq = ++this.#seq;
    const inside = this.#keysOf(span);
    const left = inside.filter((n) => leftOut.has(n));
    const { asked } = this.#table;
    this.#table.began(span, seq, left.map(textOf));
    const keys = inside.filter((n) => !leftOut.has(n));
    this.#begin({ form: "range", seq, span, keys, asked, beganAt: this.#step, faulty: new Set(this.#faulty) });
  }

  #beginKeys(a: number, b: number): void {
    if (this.#inWork.some(({ form }) => form === "keys")) return;
    const dirty = this.#table.oldestDirty(1 + (b % KEYS)).map(numberOf);
    const keys = a % 4 === 3 ? [...dirty, a % KEYS] : dirty;
    this.#begin({ form: "keys", seq: ++this.#seq, keys, beganAt: this.#step, faulty: new Set(this.#faulty) });
  }

  #begin(comparison: Comparison): void {
    this.#pending.push(comparison);
    this.#inWork.push(comparison);
  }

  #end(a: number): void {
    const [it] = this.#pending.splice(a % Math.max(1, this.#pending.length), 1);
    if (it === undefined) return;
    this.#inWork = this.#inWork.filter((each) => each !== it);
    const { seq, keys, faulty } = it;
    const wrong = keys.filter((n) => faulty.has(n));
    if (it.form === "range") {
      const found = wrong.map((n) => ({ key: keyOf(n), kind: "differing" as const }));
      const { span, asked } = it;
      const digest = { source: "0a", target: "0a" };
      this.#table.comparedRange(span, {
        seq,
        rows: keys.length,
        digest,
        keys: keys.map(textOf),
        found,
        asked,
        nowMs: 0,
      });
    } else {
      const found = { kind: "differing", columns: ["c"], foundAtMs: 0 } as const;
      for (const n of keys) this.#table.comparedKey(keyOf(n), seq, faulty.has(n) ? found : null);
    }
    for (const n of keys) {
      const known = this.#truthOf(n);
      const beganAt = Math.max(known.beganAt, it.beganAt);
      const latest = seq > known.compared ? { compared: seq, differs: faulty.has(n) } : {};
      this.#truth.set(n, { ...known, ...latest, beganAt });
    }
  }

  /** Asked for now, written a little later, when ranges may have been cut otherwise. */
  #repair(n: number, later: number): void {
    const span = this.#table.spanOf(keyOf(n));
    if (later % 2 === 0) this.#beginRange(later, later + 1);
    const seq = ++this.#seq;
    for (const inside of this.#keysOf(span)) {
      this.#faulty.delete(inside);
      this.#truth.set(inside, { ...this.#truthOf(inside), changed: seq });
    }
    this.#append({ seq, redo: (table) => table.forget(span) });
  }

  #recopy(): void {
    const seq = ++this.#seq;
    const pass = ++this.#pass;
    this.#faulty.clear();
    for (const [n, known] of this.#truth) this.#truth.set(n, { ...known, changed: seq, compared: -1, differs: false });
    this.#append({ seq, redo: (table) => table.reset(pass) });
  }

  /** What was kept is taken up again, and the log read on from there; comparisons under way are gone. */
  #crash(): void {
    const { state, seq, askedAt, truth } = this.#saved;
    this.#table = this.#newTable();
    this.#table.restore(structuredClone(state));
    this.#pending = [];
    this.#inWork = [];
    this.#askedAt = askedAt;
    for (const [n, now] of this.#truth) {
      const { compared, differs, beganAt } = truth.get(n) as Truth;
      this.#truth.set(n, { changed: now.changed, compared, differs, beganAt });
    }
    for (const entry of this.#log) if (entry.seq > seq) entry.redo(this.#table);
  }

  #append(entry: LogEntry): void {
    this.#log.push(entry);
    entry.redo(this.#table);
  }

  #snapshot() {
    return {
      state: structuredClone(this.#table.state()),
      seq: this.#seq,
      askedAt: this.#askedAt,
      truth: new Map(this.#truth),
    };
  }

  #newTable(): VerifiedTable {
    return new VerifiedTable({ id: "t", ordered: this.#ordered, pass: 0, cap: CAP, mostDifferences: this.#most });
  }

  #truthOf(n: number): Truth {
    return this.#truth.get(n) as Truth;
  }

  #keysOf(span: Span): number[] {
    return Array.from({ length: KEYS }, (_, n) => n).filter((n) => this.#isIn(n, span));
  }

  #isIn(n: number, { after, upTo }: Span): boolean {
    return (after === null || n > Number(after.values[0])) && (upTo === null || n <= Number(upTo.values[0]));
  }
}

function keyOf(n: number): Uint8Array {
  return Buffer.from([n + 1]);
}

function numberOf(key: Uint8Array): number {
  return (key[0] as number) - 1;
}

function textOf(n: number): string {
  return keyText(keyOf(n));
}

function boundAt(n: number, ordered: boolean): Bound {
  return { values: [String(n)], key: ordered ? Buffer.from(keyOf(n)).toString("hex") : null };
}
