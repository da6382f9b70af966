export type Side = "source" | "target";

/** What a row that is read by its key will cost, in ms, both sides together; measured: both sides were read so before. */
export type KeyCost = { readonly ms: number; readonly known: "measured" | "assumed" };

/** Until either side was asked. */
const ASSUMED_MS = 0.03;
/** A statement costs something whatever it reads: of a few keys, that would be taken for theirs. */
const LEAST_KEYS = 50;
/** How much of what was measured counts on with the next reading. */
const KEEPS = 0.7;

/**
 * How long reading single keys takes, by the comparisons that were made: what a fence will wait for is told from it (C10).
 * The newest count most, and large ones more than small ones.
 */
export class KeyPace {
  readonly #sides = { source: { ms: 0, keys: 0 }, target: { ms: 0, keys: 0 } };

  get perKey(): KeyCost {
    const { source, target } = this.#sides;
    if (source.keys === 0 || target.keys === 0) return { ms: ASSUMED_MS, known: "assumed" };
    return { ms: source.ms / source.keys + target.ms / target.keys, known: "measured" };
  }

  took(side: Side, keys: number, ms: number): void {
    if (keys === 0) return;
    const known = this.#sides[side];
    this.#sides[side] = { ms: known.ms * KEEPS + ms, keys: known.keys * KEEPS + Math.max(LEAST_KEYS, keys) };
  }
}
