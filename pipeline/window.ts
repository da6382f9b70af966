import type { KeyRange } from "./coverage.ts";
import type { KeyBytes, VerifyScope } from "./entry.ts";
import { keyText } from "./key-text.ts";

/**
 * What is read between two marks, and what becomes of it. copy: a range that was announced (W1). repair: a range of a
 * table that is copied already, whose rows replace what stands in the target (V3). verify: a range, or single keys, that
 * are compared (V1).
 */
export type WindowScope =
  | { readonly purpose: "copy" | "repair"; readonly range: KeyRange }
  | { readonly purpose: "verify"; readonly scope: VerifyScope & { readonly form: "range" } }
  | {
      readonly purpose: "verify";
      readonly scope: VerifyScope & { readonly form: "keys" };
      readonly keys: readonly KeyBytes[];
    };

/**
 * W1: the keys of one scope that changed since the window was opened, up to its `high` mark. They are left out of what
 * was read: the log already holds what is as new or newer. It begins at a place of the stream before `low`, that of the
 * announcement where a range is copied: every change from there on is in the log (W3), so that a first copy into an empty
 * range meets no row that the stream has put there. `low` is what makes the read see all that the stream said before (M2).
 */
export class Window {
  readonly opened: WindowScope;
  readonly table: string;
  readonly #changed = new Set<string>();
  readonly #keys: KeyBytes[] = [];
  readonly #isOutside: (key: KeyBytes, text: string) => boolean;

  constructor(opened: WindowScope) {
    this.opened = opened;
    if (opened.purpose !== "verify") {
      this.table = opened.range.table;
      this.#isOutside = outside(opened.range);
    } else {
      this.table = opened.scope.table;
      if ("keys" in opened) {
        const keys = new Set(opened.keys.map(keyText));
        this.#isOutside = (_key, text) => !keys.has(text);
      } else this.#isOutside = outside(opened.scope);
    }
  }

  /** A change of the tenant, before or after image, that passed while the window was open. */
  saw(table: string, key: KeyBytes): void {
    if (table !== this.table) return;
    const text = keyText(key);
    if (this.#changed.has(text) || this.#isOutside(key, text)) return;
    this.#changed.add(text);
    this.#keys.push(key);
  }

  get changed(): ReadonlySet<string> {
    return this.#changed;
  }

  get leftOut(): readonly KeyBytes[] {
    return this.#keys;
  }
}

/** Keys that have no order are outside of nothing: one that is left out without need is left to the log. */
function outside({ after, upTo }: Pick<KeyRange, "after" | "upTo">): (key: KeyBytes) => boolean {
  const above = after?.key ? Buffer.from(after.key, "hex") : null;
  const end = upTo?.key ? Buffer.from(upTo.key, "hex") : null;
  return (key) => (end !== null && Buffer.compare(key, end) > 0) || (above !== null && Buffer.compare(key, above) <= 0);
}
