import type { Coverage } from "../pipeline/coverage.ts";
import type { ReadyEntry } from "./entry-feed.ts";
import type { WaitingUnit } from "./look-ahead.ts";

type Passed = { readonly by: number; readonly pass: number };

const NONE: ReadonlySet<string> = new Set();

/**
 * Rows that a unit left unwritten, since another move's row stood in the way and the log brings them again (A8). Until
 * then the target lacks them as is meant to be: no comparison may call that a difference (V1).
 */
export class PassedOver {
  /** By table and key. */
  readonly #rows = new Map<string, Map<string, Passed>>();

  add(table: string, key: string, unit: WaitingUnit): void {
    const rows = this.#rows.get(table) ?? new Map<string, Passed>();
    this.#rows.set(table, rows);
    rows.set(key, { by: unit.last, pass: passOf(unit.coverage, table) });
  }

  /** The unit is sent, for the first time or once more: what it passed over before does not count. */
  begin({ last }: WaitingUnit): void {
    this.#deleteWhere((_table, _key, { by }) => by === last);
  }

  /** These are applied up to `last`: what they brought, and did not pass over themselves, is there. */
  applied(entries: readonly ReadyEntry[], last: number): void {
    if (this.#rows.size === 0) return;
    const brought = new Set(
      entries.flatMap(({ changes, keys }) => changes.map(({ table }, i) => `${table} ${keys[i]}`)),
    );
    this.#deleteWhere((table, key, { by }) => by < last && brought.has(`${table} ${key}`));
  }

  /** Of a table in the pass that it is in now: a new one brings every row (W4). */
  of(table: string, coverage: Coverage): ReadonlySet<string> {
    if (!this.#rows.has(table)) return NONE;
    const now = passOf(coverage, table);
    this.#deleteWhere((each, _key, { pass }) => each === table && pass < now);
    return new Set(this.#rows.get(table)?.keys());
  }

  #deleteWhere(isGone: (table: string, key: string, passed: Passed) => boolean): void {
    for (const [table, rows] of this.#rows) {
      for (const [key, passed] of rows) if (isGone(table, key, passed)) rows.delete(key);
      if (rows.size === 0) this.#rows.delete(table);
    }
  }
}

function passOf({ tables }: Coverage, id: string): number {
  return tables.find(({ table }) => table === id)?.pass ?? 0;
}
