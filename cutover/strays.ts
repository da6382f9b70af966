import type { Change } from "../pipeline/entry.ts";

/** A row that was written at a side that the tenant had left. */
export type StrayRow = {
  readonly lane: string;
  /** As the lane's source names it. */
  readonly table: string;
  /** KeyBytes in base64. */
  readonly key: string;
};

/** Kept with the move. */
export type Strays = {
  readonly strays: readonly StrayRow[];
  /** Lanes whose strays were too many: not all of theirs are kept. */
  readonly straysMissed: readonly string[];
};

/** More than these are not kept one by one; `dray finish` is then refused. */
export const MOST_STRAYS = 1_000;
/** So many are known while a process lives: a removal that has begun must not meet one that it does not know. */
export const MOST_REMEMBERED = 100_000;

const nameOf = ({ lane, table, key }: StrayRow) => `${lane} ${table} ${key}`;

/** Each row once. Null: what the lane had told as stray went its way after all. */
export function straysWith({ strays, straysMissed }: Strays, lane: string, changes: readonly Change[] | null): Strays {
  if (changes === null) {
    return {
      strays: strays.filter((stray) => stray.lane !== lane),
      straysMissed: straysMissed.filter((each) => each !== lane),
    };
  }
  const all = new Map(strays.map((stray) => [nameOf(stray), stray]));
  let isMissed = straysMissed.includes(lane);
  for (const change of changes) {
    const stray = strayOf(lane, change);
    if (all.size < MOST_STRAYS) all.set(nameOf(stray), stray);
    else if (!all.has(nameOf(stray))) isMissed = true;
  }
  const missed = isMissed ? [...new Set([...straysMissed, lane])] : straysMissed;
  return { strays: [...all.values()], straysMissed: missed };
}

/** What is kept, and far more of what came since: for a removal, which must know every one of them. */
export class StrayMemory {
  readonly #rows: Map<string, StrayRow>;
  readonly #missed: Set<string>;
  readonly #most: number;
  #version = 0;

  constructor({ strays, straysMissed }: Strays, most = MOST_REMEMBERED) {
    this.#rows = new Map(strays.map((stray) => [nameOf(stray), stray]));
    this.#missed = new Set(straysMissed);
    this.#most = most;
  }

  /** Another one where something was seen since. */
  get version(): number {
    return this.#version;
  }

  get rows(): readonly StrayRow[] {
    return [...this.#rows.values()];
  }

  /** Every stray of the lane is known. */
  isWhole(lane: string): boolean {
    return !this.#missed.has(lane);
  }

  /** As `straysWith`. */
  saw(lane: string, changes: readonly Change[] | null): void {
    this.#version++;
    if (changes === null) {
      for (const [name, stray] of this.#rows) if (stray.lane === lane) this.#rows.delete(name);
      this.#missed.delete(lane);
      return;
    }
    for (const change of changes) {
      const stray = strayOf(lane, change);
      if (this.#rows.size < this.#most) this.#rows.set(nameOf(stray), stray);
      else if (!this.#rows.has(nameOf(stray))) this.#missed.add(lane);
    }
  }
}

function strayOf(lane: string, { table, key }: Change): StrayRow {
  return { lane, table, key: Buffer.from(key).toString("base64") };
}
