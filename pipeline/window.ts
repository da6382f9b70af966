import type { KeyRange } from "./coverage.ts";
import type { KeyBytes } from "./entry.ts";
import { keyText } from "./key-text.ts";

/**
 * W1: the keys of one range that changed since the range was announced, up to its `high` mark. They are left out of the
 * chunk: the log already holds what is as new or newer. It begins at the announcement, not at `low`: every change from
 * there on is in the log (W3), so that a first copy into an empty range meets no row that the stream has put there.
 * `low` is what makes the read see all that the stream said before the announcement (M2).
 */
export class Window {
  readonly range: KeyRange;
  readonly #changed = new Set<string>();
  readonly #keys: KeyBytes[] = [];

  constructor(range: KeyRange) {
    this.range = range;
  }

  /** A change of the tenant, before or after image, that passed while the window was open. */
  saw(table: string, key: KeyBytes): void {
    if (table !== this.range.table || this.#isOutside(key)) return;
    const text = keyText(key);
    if (this.#changed.has(text)) return;
    this.#changed.add(text);
    this.#keys.push(key);
  }

  get changed(): ReadonlySet<string> {
    return this.#changed;
  }

  get leftOut(): readonly KeyBytes[] {
    return this.#keys;
  }

  #isOutside(key: KeyBytes): boolean {
    const { after, upTo } = this.range;
    if (upTo?.key && Buffer.compare(key, Buffer.from(upTo.key, "hex")) > 0) return true;
    return Boolean(after?.key) && Buffer.compare(key, Buffer.from(after?.key ?? "", "hex")) <= 0;
  }
}
