import type { WorldTable } from "./tables.ts";

export type Side = "a" | "b";
export type RowRef = { readonly side: Side; readonly table: WorldTable; readonly key: string };
export type RowState = { readonly tenant: string; readonly stamp: number; readonly worker: number };
/** What one statement of a transaction did to one row; null: it is gone. */
export type Effect = RowRef & { readonly state: RowState | null };

/**
 * What the databases have acknowledged, kept by the application and by nobody else: the row and the stamp of its last
 * acknowledged write. Rows of a commit whose answer was lost are set aside: either state of them is right.
 */
export class Ledger {
  readonly #rows = new Map<string, RowState & RowRef>();
  readonly #byWorker = new Map<number, Map<string, RowState & RowRef>>();
  readonly #unsettled = new Set<string>();
  acknowledged = 0;
  unknown = 0;

  /** A transaction was acknowledged. */
  commit(effects: readonly Effect[]): void {
    this.acknowledged++;
    for (const { side, table, key, state } of effects) {
      if (state === null) this.#forget(rowId({ side, table, key }));
      else this.#keep({ ...state, side, table, key });
    }
  }

  /** A COMMIT was sent and its answer lost. */
  lose(effects: readonly Effect[]): void {
    this.unknown++;
    for (const effect of effects) {
      this.#unsettled.add(rowId(effect));
      this.#forget(rowId(effect));
    }
  }

  /** The tenant lives at the other side now, with all its rows; the ones it leaves behind are frozen. */
  switchHome(tenant: string, to: Side): void {
    for (const row of [...this.#rows.values()]) {
      if (row.tenant !== tenant || row.side === to) continue;
      this.#forget(rowId(row));
      this.#keep({ ...row, side: to });
    }
    for (const id of [...this.#unsettled]) this.#unsettled.add(id.replace(/^[ab]/, to));
  }

  /** What must stand at a side, by row. */
  at(side: Side): ReadonlyMap<string, RowState & RowRef> {
    return new Map([...this.#rows].filter(([, row]) => row.side === side));
  }

  isUnsettled(ref: RowRef): boolean {
    return this.#unsettled.has(rowId(ref));
  }

  owned(worker: number, side: Side, tenant: string, table: WorldTable): (RowState & RowRef)[] {
    const found: (RowState & RowRef)[] = [];
    for (const row of this.#byWorker.get(worker)?.values() ?? []) {
      if (row.side === side && row.tenant === tenant && row.table === table) found.push(row);
    }
    return found;
  }

  #keep(row: RowState & RowRef): void {
    const id = rowId(row);
    this.#forget(id);
    this.#rows.set(id, row);
    const own = this.#byWorker.get(row.worker) ?? new Map<string, RowState & RowRef>();
    this.#byWorker.set(row.worker, own.set(id, row));
  }

  #forget(id: string): void {
    const row = this.#rows.get(id);
    if (row !== undefined) this.#byWorker.get(row.worker)?.delete(id);
    this.#rows.delete(id);
  }
}

export function rowId({ side, table, key }: RowRef): string {
  return `${side} ${table} ${key}`;
}
