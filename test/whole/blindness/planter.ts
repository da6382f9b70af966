import type { Random } from "../world/random.ts";
import { type Mutation, mutationsOf } from "./mutations.ts";
import { type BlindColumn, type BlindSides, shortType, TENANT } from "./sides.ts";
import { BLIND_TABLES, type BlindTable } from "./tables.ts";

/** One change of one row of the target. `undo`: what the product must not repair by itself, as it is another's row. */
export type Planted = {
  readonly table: BlindTable;
  readonly what: string;
  /** So many rows differ by it. */
  readonly rows: number;
  readonly undo: string | null;
};

export type FaultKind = {
  readonly table: BlindTable;
  readonly what: string;
  plant(planter: Planter): Promise<Planted | null>;
};

/** Rows are tried until MySQL says that one of them has become another. */
const TRIES = 6;
const EXTRA_MARKS = 1_000_000;
/** Equal to the tenant's key under its collation, or nearly, or nothing like it: three other tenants all the same. */
const OTHERS = ["ACME", "acme ", "delta", "acmé"];

/** Plants faults in rows that no other fault of the same batch has touched. */
export class Planter {
  readonly sides: BlindSides;
  readonly random: Random;
  readonly #left = new Map<BlindTable, number[]>();
  readonly #inKeyOrder = new Map<BlindTable, readonly number[]>();
  #extra = EXTRA_MARKS;

  constructor(sides: BlindSides, random: Random) {
    this.sides = sides;
    this.random = random;
  }

  /** A new batch: every row may be touched again. */
  async begin(): Promise<void> {
    for (const table of BLIND_TABLES) {
      const marks = await this.sides.marks("a", table);
      this.#inKeyOrder.set(table, marks);
      this.#left.set(table, [...marks]);
    }
  }

  /** Null where every row of the table has a fault. */
  take(table: BlindTable): number | null {
    const left = this.#left.get(table) ?? [];
    const [mark] = left.splice(this.random.below(left.length), 1);
    return mark ?? null;
  }

  /** The row at a place of the table in key order, from 0, or from its end where negative; null where it is taken. */
  takeAt(table: BlindTable, place: number): number | null {
    const mark = this.#inKeyOrder.get(table)?.at(place);
    const left = this.#left.get(table) ?? [];
    const index = mark === undefined ? -1 : left.indexOf(mark);
    if (mark === undefined || index === -1) return null;
    left.splice(index, 1);
    return mark;
  }

  giveBack(table: BlindTable, mark: number): void {
    this.#left.get(table)?.push(mark);
  }

  remaining(table: BlindTable): number {
    return this.#left.get(table)?.length ?? 0;
  }

  nextExtra(): number {
    return ++this.#extra;
  }

  /** Changes the row, and says whether MySQL finds another one there. */
  async change(table: BlindTable, mark: number, sql: string): Promise<boolean> {
    const before = await this.sides.fingerprint("b", table, mark);
    // What the server refuses (a key that is taken, a value that cannot be) was never planted.
    await this.sides.run("b", table, sql).catch(() => 0);
    return (await this.sides.fingerprint("b", table, mark)) !== before;
  }
}

/** Every way in which a table of ours can be wrong, once each. */
export function kindsOfFaults(sides: BlindSides): readonly FaultKind[] {
  return BLIND_TABLES.flatMap((table) => [
    ...sides
      .columns(table)
      .filter(({ name }) => name !== "mark" && name !== "tenant_id" && !table.keys.includes(name))
      .flatMap((column) => mutationsOf(column).map((mutation) => columnFault(table, column, mutation))),
    ...rowFaults(table),
  ]);
}

function columnFault(table: BlindTable, column: BlindColumn, { what, sql }: Mutation): FaultKind {
  const named = `${shortType(column.columnType)}: ${what}`;
  return {
    table,
    what: named,
    async plant(planter) {
      for (let tries = 0; tries < TRIES; tries++) {
        const mark = planter.take(table);
        if (mark === null) return null;
        const name = `\`${column.name}\``;
        const update = `UPDATE {t} SET ${name} = ${sql.replaceAll("{c}", name)} WHERE mark = ${mark}`;
        if (await planter.change(table, mark, update)) return { table, what: named, rows: 1, undo: null };
        // Untouched, whatever was tried.
        planter.giveBack(table, mark);
      }
      return null;
    },
  };
}

function rowFaults(table: BlindTable): readonly FaultKind[] {
  const missing = (what: string, place: number | null) => ({
    table,
    what,
    async plant(planter: Planter) {
      const mark = place === null ? planter.take(table) : planter.takeAt(table, place);
      if (mark === null) return null;
      return (await planter.change(table, mark, `DELETE FROM {t} WHERE mark = ${mark}`)) ? one(what) : null;
    },
  });
  const one = (what: string, undo: string | null = null): Planted => ({ table, what, rows: 1, undo });
  const extra = ["before the first", "in the middle", "behind the last"].map((where, i) => ({
    table,
    what: `a row ${where} that the source has not`,
    async plant(planter: Planter) {
      const mark = planter.nextExtra();
      const row = { ...table.row(i, TENANT), ...table.free[i], tenant_id: `'${TENANT}'`, mark: String(mark) };
      if ("word" in row) row.word = `'extra ${mark}'`;
      const sql = `INSERT INTO {t} (${Object.keys(row).join(", ")}) VALUES (${Object.values(row).join(", ")})`;
      return (await planter.change(table, mark, sql)) ? one(`a row ${where} that the source has not`) : null;
    },
  }));
  const given = OTHERS.map((other) => ({
    table,
    what: `the row stands as that of '${other}'`,
    async plant(planter: Planter) {
      const mark = planter.take(table);
      if (mark === null) return null;
      const give = (to: string) => `UPDATE {t} SET tenant_id = '${to}' WHERE mark = ${mark}`;
      const undo = give(TENANT);
      return (await planter.change(table, mark, give(other))) ? one("the row stands as another tenant's", undo) : null;
    },
  }));
  const taken = {
    table,
    what: "a neighbour's row stands as the tenant's",
    async plant(planter: Planter) {
      const [mark] = await planter.sides.neighbourMarks(table);
      if (mark === undefined) return null;
      const give = (to: string) => `UPDATE {t} SET tenant_id = '${to}' WHERE mark = ${mark}`;
      const isPlanted = await planter.change(table, mark, give(TENANT));
      return isPlanted ? one("a neighbour's row stands as the tenant's", give("delta")) : null;
    },
  };
  return [
    missing("the first row is missing", 0),
    missing("the last row is missing", -1),
    // Ranges of so many rows end and begin here.
    missing("the last row of a range is missing", 39),
    missing("the first row of a range is missing", 40),
    missing("a row is missing", null),
    ...extra,
    ...given,
    taken,
    swapped(table),
    keyChanged(table),
  ];
}

/** Two rows have each other's values. */
function swapped(table: BlindTable): FaultKind {
  const what = "two rows have each other's values";
  return {
    table,
    what,
    async plant(planter) {
      const column = planter.sides.columns(table).find(({ name }) => /^(c\d|doc|num|word)$/.test(name))?.name;
      for (let tries = 0; tries < TRIES && column !== undefined && planter.remaining(table) > 1; tries++) {
        const [one, two] = [planter.take(table), planter.take(table)];
        if (one === null || two === null) return null;
        const before = await planter.sides.fingerprint("b", table, two);
        // Its own table, for a statement sees what it has changed itself.
        const copy = `CREATE TEMPORARY TABLE {t}_copy AS SELECT mark, \`${column}\` AS v FROM {t} WHERE mark IN (${one}, ${two})`;
        await planter.sides.run("b", table, copy);
        const swap = `UPDATE {t} AS t JOIN {t}_copy AS o ON o.mark = ${one + two} - t.mark SET t.\`${column}\` = o.v`;
        const isPlanted = await planter.change(table, one, `${swap} WHERE t.mark IN (${one}, ${two})`);
        await planter.sides.run("b", table, "DROP TEMPORARY TABLE {t}_copy");
        const isWhole = (await planter.sides.fingerprint("b", table, two)) !== before;
        if (isPlanted !== isWhole) throw new Error(`${table.name}: half of a swap of ${one} and ${two}`);
        if (isPlanted) return { table, what, rows: 2, undo: null };
        planter.giveBack(table, one);
        planter.giveBack(table, two);
      }
      return null;
    },
  };
}

/** The row stands under a key that only bytes tell from its own: one key is missing, another one too many. */
function keyChanged(table: BlindTable): FaultKind {
  const what = "a key of other letters' case";
  return {
    table,
    what,
    async plant(planter) {
      const columns = planter.sides
        .columns(table)
        .filter(({ name }) => name !== "tenant_id" && table.keys.includes(name));
      const text = columns.find(({ dataType }) => /char/.test(dataType))?.name;
      const mark = text === undefined ? null : planter.take(table);
      if (mark === null) return null;
      const flipped = `IF(BINARY ${text} = BINARY UPPER(${text}), LOWER(${text}), UPPER(${text}))`;
      const isPlanted = await planter.change(table, mark, `UPDATE {t} SET ${text} = ${flipped} WHERE mark = ${mark}`);
      return isPlanted ? { table, what, rows: 2, undo: null } : null;
    },
  };
}
