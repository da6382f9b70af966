import type { Connection } from "mysql2/promise";
import { imageFile } from "./image.ts";
import { type LedgerEntry, readLedger } from "./ledger.ts";
import { connect, type ServerAddress } from "./mysql.ts";
import { describeDifference, type Life, lifeOf, type RowText, type Step, stepsByKey } from "./row-life.ts";
import { cellsOf, compareIds, RowCursor, readImage, readTable } from "./row-source.ts";
import { SIDES, type Side, TABLES, type TableName } from "./schema.ts";

/**
 * The proof, by SQL and ledger alone; nothing of the product is imported here. Every row of every table on both sides is
 * compared with what it must be: its image from before the start, and on top of it what the ledger says was written.
 *
 * - A moved tenant: the source's frozen copy is image + writes acknowledged at the source; the target has image + all
 *   acknowledged writes, row by row, and nothing else of the tenant.
 * - Every other tenant: at home image + its own writes, on the other side nothing.
 * - A write of unknown outcome is looked up: wholly there or wholly not, and on the target as on the source.
 */
export interface CheckOptions {
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly imageFolder: string;
  readonly ledgerFile: string;
  readonly moved: readonly string[];
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
  /** Acknowledged transactions of moved tenants of which at least one row is not in the target. */
  readonly lostWrites: number;
  /** Rows of moved tenants, on either side. */
  readonly differences: number;
  /** Rows of other tenants, on either side. */
  readonly neighboursChanged: number;
  /** Writes acknowledged at the source for a tenant that was fenced or had moved. */
  readonly strays: number;
  readonly rowsCompared: number;
  /** Of moved tenants: what the target must have, and has. */
  readonly movedRows: { readonly expected: number; readonly found: number };
  /** All, each with its row. */
  readonly findings: readonly Finding[];
}

export async function check(options: CheckOptions): Promise<CheckResult> {
  const ledger = readLedger(options.ledgerFile);
  const checker = new Checker({ ledger, moved: options.moved });
  const connections = {
    source: await connect(options.servers.source),
    target: await connect(options.servers.target),
  };
  try {
    for (const table of TABLES) await compareTable({ table, checker, ledger, connections, options });
  } finally {
    await Promise.all(SIDES.map((side) => connections[side].end()));
  }
  return checker.result();
}

async function compareTable(about: {
  table: TableName;
  checker: Checker;
  ledger: readonly LedgerEntry[];
  connections: Readonly<Record<Side, Connection>>;
  options: CheckOptions;
}): Promise<void> {
  const { table, checker, connections, options } = about;
  const steps = stepsByKey(about.ledger, table);
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

class Checker {
  readonly #ledger: readonly LedgerEntry[];
  readonly #moved: ReadonlySet<string>;
  readonly #findings: Finding[] = [];
  readonly #lost = new Set<number>();
  readonly #strays: ReadonlySet<number>;
  /** Of each write of unknown outcome: whether its rows are there, at the side that was asked to commit it. */
  readonly #unknown = new Map<number, { verdict: Verdict; state: KeyState; tenant: string; side: Side }[]>();
  #rowsCompared = 0;
  #expectedMoved = 0;
  #foundMoved = 0;

  constructor(options: { readonly ledger: readonly LedgerEntry[]; readonly moved: readonly string[] }) {
    this.#ledger = options.ledger;
    this.#moved = new Set(options.moved);
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
    if (this.#moved.has(owner)) this.#movedRow(state, owner);
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

  #movedRow(state: KeyState, tenant: string): void {
    const { table, base, now, steps } = state;
    if (now.target !== undefined) this.#foundMoved++;
    const stray = steps.find(({ entry }) => this.#strays.has(entry.serial));
    if (stray !== undefined) {
      const where = now.target === now.source ? "it is on the target too" : "it is not on the target";
      this.#add("stray", "source", state, tenant, `acknowledged at the source behind the fence; ${where}`);
    }
    const frozen = lifeOf(table, base.source, steps, "source");
    const whole = lifeOf(table, base.source, steps, "both");
    const expected = whole.states.at(-1);
    const atSource = this.#verdict(frozen, now.source);
    // What a stray did to the source's row is its own finding, not one more of the copy.
    if (atSource === "neither" && stray === undefined) {
      const detail = describeDifference(table, frozen.states.at(-1), now.source);
      this.#add("difference", "source", state, tenant, `frozen copy: ${detail}`);
    }
    const atTarget = this.#verdict(whole, now.target);
    const isUnknownThere = whole.unknown !== null && (atTarget === "there" || atSource === "there");
    if ((isUnknownThere ? whole.unknown?.state : expected) !== undefined) this.#expectedMoved++;
    if (whole.unknown !== null) {
      const { entry } = whole.unknown.step;
      const decided = entry.side === "source" ? atSource : atTarget;
      if (decided !== "neither") this.#note(entry, decided, state);
      if (entry.side === "source" && atTarget !== "neither" && atTarget !== atSource) {
        if (atSource === "there") this.#lost.add(entry.serial);
        const detail = `of unknown outcome: ${atSource} on the source, ${atTarget} on the target`;
        this.#add(atSource === "there" ? "lost" : "difference", "target", state, tenant, detail);
        return;
      }
    }
    if (atTarget !== "neither" || (stray !== undefined && now.target === now.source)) return;
    const reached = whole.states.lastIndexOf(now.target);
    const missing = reached === -1 ? [] : whole.steps.slice(reached);
    if (missing.length === 0) {
      this.#add("difference", "target", state, tenant, describeDifference(table, expected, now.target));
      return;
    }
    for (const { entry } of missing) this.#lost.add(entry.serial);
    const writes = missing.map(({ entry, write }) => `${write.op} ${entry.serial} (${entry.side})`).join(", ");
    this.#add("lost", "target", state, tenant, `without ${writes}`);
  }

  #neighbourRow(state: KeyState, tenant: string): void {
    const { table, base, now, steps } = state;
    const born: Side = steps[0]?.entry.side ?? (now.target !== undefined ? "target" : "source");
    const home: Side = base.source !== undefined ? "source" : base.target !== undefined ? "target" : born;
    const away: Side = home === "source" ? "target" : "source";
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

/** Those the application confessed, and any that the source acknowledged once the target had. */
function findStrays(ledger: readonly LedgerEntry[], moved: ReadonlySet<string>): ReadonlySet<number> {
  const strays = new Set<number>();
  const firstAtTarget = new Map<string, number>();
  for (const { tenant, side, acknowledgedAtMs } of ledger) {
    if (side !== "target" || acknowledgedAtMs === null) continue;
    firstAtTarget.set(tenant, Math.min(acknowledgedAtMs, firstAtTarget.get(tenant) ?? acknowledgedAtMs));
  }
  for (const { serial, tenant, side, acknowledgedAtMs, stray } of ledger) {
    const switchedAtMs = firstAtTarget.get(tenant);
    const isLate =
      side === "source" && acknowledgedAtMs !== null && switchedAtMs !== undefined && acknowledgedAtMs > switchedAtMs;
    if (moved.has(tenant) && (stray || isLate)) strays.add(serial);
  }
  return strays;
}
