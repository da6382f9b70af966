/** A small seeded generator (mulberry32), so that a run can be repeated from its printed seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 <= x < 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** 0 <= n < below, whole. */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error("nothing to pick from");
    return items[this.below(items.length)] as T;
  }
}

/** SEED= of the environment, or one of this moment; RUNS= likewise, or `runs`. */
export function plannedRuns(runs: number): { readonly seed: number; readonly runs: number } {
  const { SEED, RUNS } = process.env as { SEED?: string; RUNS?: string };
  return { seed: SEED ? Number(SEED) : Math.floor(Math.random() * 2 ** 31), runs: RUNS ? Number(RUNS) : runs };
}

/** Runs `work` and, where it fails, says how to run it again. */
export async function repeatable<T>(seed: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    process.stderr.write(`FAILED; run it again with SEED=${seed} RUNS=1\n`);
    throw error;
  }
}
