import type { LedgerEntry, Write } from "./ledger.ts";
import { cellsOf } from "./row-source.ts";
import { type Cell, COLUMNS, type Side, type TableName } from "./schema.ts";

/** A row's text, or undefined where there is no row. */
export type RowText = string | undefined;
export interface Step {
  readonly entry: LedgerEntry;
  readonly write: Write;
}

/** Of one table: what the application did to each key, in order. */
export function stepsByKey(ledger: readonly LedgerEntry[], table: TableName): Map<string, Step[]> {
  const byKey = new Map<string, Step[]>();
  for (const entry of ledger) {
    for (const write of entry.writes) {
      if (write.table !== table) continue;
      const steps = byKey.get(write.id);
      if (steps === undefined) byKey.set(write.id, [{ entry, write }]);
      else steps.push({ entry, write });
    }
  }
  return byKey;
}

/**
 * A row as it was at the start and after each acknowledged step. `orUnknown` is the state after a last step of unknown
 * outcome, which the row may be in as well.
 */
export interface Life {
  readonly states: readonly RowText[];
  readonly steps: readonly Step[];
  readonly unknown: { readonly step: Step; readonly state: RowText } | null;
}

export function lifeOf(table: TableName, base: RowText, steps: readonly Step[], side: Side | "both"): Life {
  const states: RowText[] = [base];
  const taken: Step[] = [];
  let unknown: Life["unknown"] = null;
  for (const step of steps) {
    if (step.entry.stray || (side !== "both" && step.entry.side !== side)) continue;
    if (unknown !== null) throw new Error(`${table} ${step.write.id} was written after a write of unknown outcome`);
    const state = after(table, states.at(-1), step.write);
    if (step.entry.outcome === "unknown") {
      unknown = { step, state };
    } else {
      states.push(state);
      taken.push(step);
    }
  }
  return { states, steps: taken, unknown };
}

/** What a write makes of a row. An update or delete of no row, or an insert over one, makes the ledger itself wrong. */
function after(table: TableName, before: RowText, write: Write): RowText {
  const columns = COLUMNS[table];
  if (write.op === "insert") {
    if (before !== undefined) throw new Error(`ledger: ${table} ${write.id} was inserted twice`);
    return JSON.stringify(columns.map((column) => valueIn(write.values, column)));
  }
  if (before === undefined) throw new Error(`ledger: ${table} ${write.id} was written before it was there`);
  if (write.op === "delete") return undefined;
  const cells = cellsOf(before).map((cell, index) => {
    const column = columns[index] ?? "";
    if (column === "rev") return String(Number(cell) + 1);
    return Object.hasOwn(write.values, column) ? valueIn(write.values, column) : cell;
  });
  return JSON.stringify(cells);
}

function valueIn(values: Readonly<Record<string, Cell>>, column: string): Cell {
  const value = values[column];
  if (value === undefined) throw new Error(`ledger: no value for ${column}`);
  return value;
}

/** Names of the columns in which two rows differ; what happened to the whole row where one is missing. */
export function describeDifference(table: TableName, expected: RowText, found: RowText): string {
  if (found === undefined) return "row is missing";
  if (expected === undefined) return "row should not be there";
  const [want, have] = [cellsOf(expected), cellsOf(found)];
  return `differs in ${COLUMNS[table].filter((_, index) => want[index] !== have[index]).join(", ")}`;
}
