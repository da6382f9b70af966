import type { KeyBytes } from "./entry.ts";

/**
 * A place between two keys of a table. `values` is the connector's own text of the key columns, for its SQL; `key` is
 * the canonical KeyBytes in hex where the table's keys are ordered, else null.
 */
export type Bound = { readonly values: readonly string[]; readonly key: string | null };

/** Keys above `after` up to and including `upTo`; null is the open end. Pass 0 is the first copy, recopies count up. */
export type KeyRange = {
  readonly table: string;
  readonly pass: number;
  readonly after: Bound | null;
  readonly upTo: Bound | null;
  /** How far changes are kept from here on (W3): tables whose keys cannot be ordered announce the end at once. */
  readonly announces: Bound | "end";
};

export type TableCoverage = {
  readonly table: string;
  readonly pass: number;
  /** Changes up to here are kept; null: none yet. */
  readonly announced: Bound | "end" | null;
  /** Ranges have been handed out up to here. */
  readonly planned: Bound | "end" | null;
  /** Announced, but whose chunk is not in the log yet: read again after a restart. */
  readonly open: readonly KeyRange[];
  /** Rows of the chunks that are in the log, this pass. */
  readonly rows: number;
};

export type Coverage = {
  /** In the order in which tables are copied: the root last (T2). */
  readonly tables: readonly TableCoverage[];
  /** C7: a lane that leads back carries what comes behind the mark of this generation; absent: nothing yet, or all. */
  readonly begun?: number;
};

/** `pass` is above 0 where the target may hold rows of an earlier copy, so that chunks replace their ranges (W4). */
export function startCoverage(tables: readonly string[], pass: number): Coverage {
  return { tables: tables.map((table) => blankTable(table, pass)) };
}

/** Of a lane whose target has every row already, as that of a way back has: nothing is copied, every change is kept. */
export function completeCoverage(tables: readonly string[], pass: number): Coverage {
  return { tables: tables.map((table) => ({ ...blankTable(table, pass), announced: "end", planned: "end" })) };
}

function blankTable(table: string, pass: number): TableCoverage {
  return { table, pass, announced: null, planned: null, open: [], rows: 0 };
}

/** The state behind a `range` entry. */
export function withRange(coverage: Coverage, range: KeyRange): Coverage {
  return mapTable(coverage, range.table, (table) => ({
    ...table,
    announced: range.announces,
    planned: range.upTo ?? "end",
    open: [...table.open, range],
  }));
}

/** The state behind a `chunk` entry. */
export function withChunk(coverage: Coverage, range: KeyRange, rows: number): Coverage {
  return mapTable(coverage, range.table, (table) => ({
    ...table,
    open: table.open.filter((open) => !sameRange(open, range)),
    rows: table.rows + rows,
  }));
}

/** Copies a table again from the beginning (W4): nothing of it is covered until its ranges are announced anew. */
export function withRecopy(coverage: Coverage, table: string): Coverage {
  return mapTable(coverage, table, (old) => blankTable(table, old.pass + 1));
}

export function tableIsComplete(table: TableCoverage): boolean {
  return table.planned === "end" && table.open.length === 0;
}

export function isComplete(coverage: Coverage): boolean {
  return coverage.tables.every(tableIsComplete);
}

/**
 * W3 for the hot path: a change may be dropped only where it lies, provably, outside every announced range. Made anew
 * whenever coverage changes.
 */
export class CoverageIndex {
  readonly #tables: ReadonlyMap<string, "none" | "all" | Buffer>;

  constructor(coverage: Coverage) {
    this.#tables = new Map(coverage.tables.map((table) => [table.table, announcedTo(table)]));
  }

  mayDrop(table: string, key: KeyBytes): boolean {
    const announced = this.#tables.get(table);
    if (announced === undefined) throw new Error(`no coverage of table ${table}`);
    if (announced === "none") return true;
    return announced !== "all" && Buffer.compare(key, announced) > 0;
  }
}

function announcedTo(table: TableCoverage): "none" | "all" | Buffer {
  if (table.announced === null) return "none";
  if (table.announced === "end" || table.announced.key === null) return "all";
  return Buffer.from(table.announced.key, "hex");
}

export function sameRange(a: KeyRange, b: KeyRange): boolean {
  return a.table === b.table && a.pass === b.pass && sameBound(a.after, b.after) && sameBound(a.upTo, b.upTo);
}

export function sameBound(a: Bound | null, b: Bound | null): boolean {
  if (a === null || b === null) return a === b;
  return a.values.length === b.values.length && a.values.every((value, i) => value === b.values[i]);
}

function mapTable(coverage: Coverage, name: string, change: (table: TableCoverage) => TableCoverage): Coverage {
  if (!coverage.tables.some((table) => table.table === name)) throw new Error(`no coverage of table ${name}`);
  return { ...coverage, tables: coverage.tables.map((table) => (table.table === name ? change(table) : table)) };
}
