import { reasonOf } from "../pipeline/backoff.ts";
import { isDrayError } from "../pipeline/errors.ts";

/** Why the applier waits or tries again, by what does: the oldest is what status shows. */
export class WaitReasons {
  readonly #reasons = new Map<string, string>();

  get first(): string | null {
    return this.#reasons.values().next().value ?? null;
  }

  set(what: string, reason: string): void {
    this.#reasons.set(what, reason);
  }

  clear(what: string): void {
    this.#reasons.delete(what);
  }

  /** Shows how far the work has come, for as long as it lasts. */
  async counting<T>(
    what: string,
    text: (count: number) => string,
    work: (add: (count: number) => void) => Promise<T>,
  ): Promise<T> {
    let count = 0;
    const add = (more: number) => {
      count += more;
      this.set(what, text(count));
    };
    add(0);
    try {
      return await work(add);
    } finally {
      this.clear(what);
    }
  }

  /** For `withBackoff`. */
  retrying(what: string): (error: Error, attempt: number) => void {
    return (error, attempt) => {
      if (isDrayError(error, "GUARD_CONTENDED")) {
        const { tenant, move, table, key } = error.facts;
        const row = `${String(table)} ${String(key)}`;
        this.set(what, `waiting for the row of tenant ${tenant}'s move ${move} to pass (${row}), retry ${attempt}`);
        return;
      }
      const { server, error: answer, message } = isDrayError(error) ? error.facts : {};
      // The name alone does not say which option, or which table is full.
      const text = message ? ` (${message})` : "";
      const said = server && answer ? `target ${server} answers ${answer}${text}` : reasonOf(error);
      this.set(what, `${said}, retry ${attempt}`);
    };
  }
}
