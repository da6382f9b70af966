import { imageFile } from "./image.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { Moment } from "./moment.ts";
import { describeDifference, type Life, lifeOf, type RowText, type Step, stepsByKey } from "./row-life.ts";
import { cellsOf, compareIds, RowCursor, readImage, readTable } from "./row-source.ts";
import { type Side, TABLES, type TableName } from "./schema.ts";

/** When the tenant was asked to go there, by the wall clock: whatever it wrote there before was for another stay. */
export interface SwitchTime {
  readonly to: Side;
  readonly askedAtMs: number;
}
/**
 * A tenant on its way. What it has left at the other side is a copy that follows (mirror), one that nobody has written to
 * since (frozen), or nothing at all (gone).
 */
export interface MovedTenant {
  readonly tenant: string;
  readonly switches: readonly SwitchTime[];
  readonly left: "mirror" | "frozen" | "gone";
}

/**
 * The proof, by SQL and ledger alone; nothing of the product is imported here. Every row of every table on both sides is
 * compared with what it must be: its image from before the start, and on top of it what the ledger says was written.
 *
 * - A moved tenant: where it lives now there is image + all acknowledged writes, row by row, and nothing else of it. The
 *   other side has the same where it follows, image + the writes acknowledged there where it is frozen, and nothing at all
 *   where the move is finished.
 * - Every other tenant: at home image + its own writes, on the other side nothing.
 * - A write of unknown outcome is looked up: wholly there or wholly not, and on both sides alike.
 */
export interface CheckOptions {
  readonly moment: Moment;
  readonly imageFolder: string;
  readonly moved: readonly MovedTenant[];
}

export type FindingKind = "lost" | "difference" | "neighbour" | "stray";
export interface Finding {
  readonly kind: FindingKind;
  readonly side: Side;
  readonly table: TableName;
  readonly key: string;
  readonly tenant: string;
  readonly detail: string;
}

export interface CheckResult {
  /** Transactions, of all tenants. */
  readonly acknowledgedWrites: number;
  readonly unknownWrites: number;
  /** Acknowledged transactions of moved tenants of which at least one row is not where the tenant lives. */
  readonly lostWrites: number;
  /** Rows of moved tenants, on either side. */
  readonly differences: number;
  /** Rows of other tenants, on either side. */
  readonly neighboursChanged: number;
  /** Writes acknowledged at a side where the tenant was fenced, or that it had left. */
  readonly strays: number;
  readonly rowsCompared: number;
  /** Of moved tenants: what their home must have, and has. */
  readonly movedRows: { readonly expected: number; readonly found: number };
  /** All, each with its row. */
  readonly findings: readonly Finding[];
}

export async function check(options: CheckOptions): Promise<CheckResult> {
  const { ledger } = options.moment;
  const checker = new Checker({ ledger, moved: options.moved });
  for (const table of TABLES) await compareTable({ table, checker, options });
  return checker.result();
}

async function compareTable(about: { table: TableName; checker: Checker; options: CheckOptions }): Promise<void> {
  const { table, checker, options } = about;
  const { ledger, connections } = options.moment;
  const steps = stepsByKey(ledger, table);
  const image = (side: Side) => new RowCursor({ pages: readImage(imageFile(options.imageFolder, side, table)) });
  const now = (side: Side) => new RowCursor({ pages: readTable(connections[side], table) });
  const [baseSource, baseTarget, nowSource, nowTarget] = [
    image("source"),
    image("target"),
    now("source"),
    now("target"),
  ];
  const cursors = [baseSource, baseTarget, nowSource, nowTarget];
  const written = [...steps.keys()].sort(compareIds);
  let writtenIndex = 0;
  for (;;) {
    for (const cursor of cursors) if (!cursor.isReady) await cursor.fill();
    let id = written[writtenIndex];
    for (const cursor of cursors) {
      const next = cursor.peek()?.id;
      if (next !== undefined && (id === undefined || compareIds(next, id) < 0)) id = next;
    }
    if (id === undefined) return;
    if (written[writtenIndex] === id) writtenIndex++;
    checker.row({
      table,
      key: id,
      base: { source: baseSource.takeIf(id), target: baseTarget.takeIf(id) },
      now: { source: nowSource.takeIf(id), target: nowTarget.takeIf(id) },
      steps: steps.get(id) ?? [],
    });
  }
}

interface KeyState {
  readonly table: TableName;
  readonly key: string;
  readonly base: Readonly<Record<Side, RowText>>;
  readonly now: Readonly<Record<Side, RowText>>;
  readonly steps: readonly Step[];
}
type Verdict = "there" | "not there";

/** What a finished move leaves of a row. */
const NOTHING: Life = { states: [undefined], steps: [], unknown: null };
const LEFT: Readonly<Record<MovedTenant["left"], string>> = {
  mirror: "copy that follows",
  frozen: "frozen copy",
  gone: "finished move",
};

class Checker {
  readonly #ledger: readonly LedgerEntry[];
  readonly #moved: ReadonlyMap<string, MovedTenant>;
  readonly #findings: Finding[] = [];
  readonly #lost = new Set<number>();
  readonly #strays: ReadonlySet<number>;
  /** Of each write of unknown outcome: whether its rows are there, at the side that was asked to commit it. */
  readonly #unknown = new Map<number, { verdict: Verdict; state: KeyState; tenant: string; side: Side }[]>();
  #rowsCompared = 0;
  #expectedMoved = 0;
  #foundMoved = 0;

  constructor(options: { readonly ledger: readonly LedgerEntry[]; readonly moved: readonly MovedTenant[] }) {
    this.#ledger = options.ledger;
    this.#moved = new Map(options.moved.map((each) => [each.tenant, each]));
    this.#strays = findStrays(options.ledger, this.#moved);
  }

  row(state: KeyState): void {
    const { base, now, steps } = state;
    if (base.source !== undefined && base.target !== undefined) {
      throw new Error(`${state.table} ${state.key} was on both sides before anything moved: the ids are not disjoint`);
    }
    this.#rowsCompared++;
    const known = base.source ?? base.target;
    const owner = steps[0]?.entry.tenant ?? tenantOf(known ?? now.target ?? now.source ?? "[]");
    const moved = this.#moved.get(owner);
    if (moved !== undefined) this.#movedRow(state, moved);
    else this.#neighbourRow(state, owner);
  }

  result(): CheckResult {
    this.#judgeUnknown();
    const count = (kind: FindingKind) => this.#findings.filter((finding) => finding.kind === kind).length;
    const outcomes = (outcome: LedgerEntry["outcome"]) =>
      this.#ledger.filter((entry) => entry.outcome === outcome && !entry.stray).length;
    return {
      acknowledgedWrites: outcomes("acknowledged"),
      unknownWrites: outcomes("unknown"),
      lostWrites: this.#lost.size,
      differences: count("difference"),
      neighboursChanged: count("neighbour"),
      strays: this.#strays.size,
      rowsCompared: this.#rowsCompared,
      movedRows: { expected: this.#expectedMoved, found: this.#foundMoved },
      findings: this.#findings,
    };
  }

  #movedRow(state: KeyState, { tenant, switches, left }: MovedTenant): void {
    const { table, base, now, steps } = state;
    const home = switches.at(-1)?.to ?? "source";
    const away = other(home);
    if (now[home] !== undefined) this.#foundMoved++;
    const stray = steps.find(({ entry }) => this.#strays.has(entry.serial));
    if (stray !== undefined) {
      const where = now[home] === now[away] ? `it is on the ${home} too` : `it is not on the ${home}`;
      this.#add("stray", away, state, tenant, `acknowledged at the ${away} behind the fence; ${where}`);
    }
    const whole = lifeOf(table, base.source, steps, "both");
    const expected = whole.states.at(-1);
    const kept = left === "gone" ? NOTHING : left === "mirror" ? whole : lifeOf(table, base.source, steps, away);
    const atAway = this.#verdict(kept, now[away]);
    // What a stray did to the row that was left is its own finding, not one more of the copy.
    if (atAway === "neither" && stray === undefined) {
      const detail = describeDifference(table, kept.states.at(-1), now[away]);
      this.#add("difference", away, state, tenant, `${LEFT[left]}: ${detail}`);
    }
    const atHome = this.#verdict(whole, now[home]);
    const isUnknownThere = whole.unknown !== null && (atHome === "there" || (left !== "gone" && atAway === "there"));
    if ((isUnknownThere ? whole.unknown?.state : expected) !== undefined) this.#expectedMoved++;
    if (whole.unknown !== null) {
      const { entry } = whole.unknown.step;
      const isDecidedAway = entry.side === away && left !== "gone";
      const decided = isDecidedAway ? atAway : atHome;
      if (decided !== "neither") this.#note(entry, decided, state);
      // A frozen copy knows nothing of what came after it.
      const isOnBoth = left === "mirror" || isDecidedAway;
      if (isOnBoth && atHome !== "neither" && atAway !== "neither" && atHome !== atAway) {
        const isLost = isDecidedAway && atAway === "there";
        if (isLost) this.#lost.add(entry.serial);
        const detail = `of unknown outcome: ${atAway} on the ${away}, ${atHome} on the ${home}`;
        this.#add(isLost ? "lost" : "difference", isDecidedAway ? home : away, state, tenant, detail);
        return;
      }
    }
    if (atHome !== "neither" || (stray !== undefined && now[home] === now[away])) return;
    const reached = whole.states.lastIndexOf(now[home]);
    const missing = reached === -1 ? [] : whole.steps.slice(reached);
    if (missing.length === 0) {
      this.#add("difference", home, state, tenant, describeDifference(table, expected, now[home]));
      return;
    }
    for (const { entry } of missing) this.#lost.add(entry.serial);
    const writes = missing.map(({ entry, write }) => `${write.op} ${entry.serial} (${entry.side})`).join(", ");
    this.#add("lost", home, state, tenant, `without ${writes}`);
  }

  #neighbourRow(state: KeyState, tenant: string): void {
    const { table, base, now, steps } = state;
    const born: Side = steps[0]?.entry.side ?? (now.target !== undefined ? "target" : "source");
    const home: Side = base.source !== undefined ? "source" : base.target !== undefined ? "target" : born;
    const away = other(home);
    const life = lifeOf(table, base[home], steps, home);
    const verdict = this.#verdict(life, now[home]);
    if (life.unknown !== null && verdict !== "neither") this.#note(life.unknown.step.entry, verdict, state);
    if (verdict === "neither") {
      this.#add("neighbour", home, state, tenant, describeDifference(table, life.states.at(-1), now[home]));
    }
    if (now[away] !== undefined) {
      this.#add("neighbour", away, state, tenant, describeDifference(table, undefined, now[away]));
    }
  }

  /** Is the row what the ledger says, with or without a last write of unknown outcome? */
  #verdict(life: Life, found: RowText): Verdict | "neither" {
    if (life.unknown !== null && found === life.unknown.state) return "there";
    return found === life.states.at(-1) ? "not there" : "neither";
  }

  #note(entry: LedgerEntry, verdict: Verdict, state: KeyState): void {
    const notes = this.#unknown.get(entry.serial) ?? [];
    notes.push({ verdict, state, tenant: entry.tenant, side: entry.side });
    this.#unknown.set(entry.serial, notes);
  }

  /** A transaction is there as a whole or not at all. */
  #judgeUnknown(): void {
    for (const [serial, notes] of this.#unknown) {
      if (notes.every((note) => note.verdict === notes[0]?.verdict)) continue;
      for (const { verdict, state, tenant, side } of notes) {
        const kind = this.#moved.has(tenant) ? "difference" : "neighbour";
        this.#add(kind, side, state, tenant, `write ${serial} is torn: this row's part is ${verdict}`);
      }
    }
    this.#unknown.clear();
  }

  #add(kind: FindingKind, side: Side, state: KeyState, tenant: string, detail: string): void {
    this.#findings.push({ kind, side, table: state.table, key: state.key, tenant, detail });
  }
}

function tenantOf(text: string): string {
  return cellsOf(text)[1] ?? "";
}

const other = (side: Side): Side => (side === "source" ? "target" : "source");

/** Those the application confessed, and any that the side which was left acknowledged once the new home had. */
function findStrays(ledger: readonly LedgerEntry[], moved: ReadonlyMap<string, MovedTenant>): ReadonlySet<number> {
  const strays = new Set<number>();
  for (const { serial, tenant, stray } of ledger) if (stray && moved.has(tenant)) strays.add(serial);
  for (const { tenant, switches } of moved.values()) {
    const own = ledger.filter((entry) => entry.tenant === tenant && entry.acknowledgedAtMs !== null);
    for (const [index, { to, askedAtMs }] of switches.entries()) {
      const untilMs = switches[index + 1]?.askedAtMs ?? Number.POSITIVE_INFINITY;
      const since = own.filter(({ acknowledgedAtMs: atMs }) => atMs !== null && atMs >= askedAtMs && atMs < untilMs);
      const atNewHome = since.filter(({ side }) => side === to).map(({ acknowledgedAtMs }) => acknowledgedAtMs ?? 0);
      const firstMs = atNewHome.reduce((least, atMs) => Math.min(least, atMs), Number.POSITIVE_INFINITY);
      for (const { serial, side, acknowledgedAtMs } of since) {
        if (side !== to && (acknowledgedAtMs ?? 0) > firstMs) strays.add(serial);
      }
    }
  }
  return strays;
}
