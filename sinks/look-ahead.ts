import { decodeChanges } from "../pipeline/change-codec.ts";
import type { ChunkStore } from "../pipeline/chunk-store/chunk-store.ts";
import type { Coverage } from "../pipeline/coverage.ts";
import type { EntryHeader, LaneId, LogAnchor, LogEntry } from "../pipeline/entry.ts";
import { isLostBody, openBody } from "../pipeline/entry-codec.ts";
import { keyText } from "../pipeline/key-text.ts";
import { anchorOf } from "../pipeline/log/lane-writer.ts";
import type { ChangeLog } from "../pipeline/log/log.ts";
import { readUpToNow } from "../pipeline/log/read-up-to-now.ts";
import type { ReadyEntry } from "./entry-feed.ts";

export type LookAheadOptions = {
  readonly log: ChangeLog;
  readonly lane: LaneId;
  readonly chunkStore: ChunkStore;
  /** What has been read and not been taken yet, in order. */
  readonly peek: (index: number) => ReadyEntry | undefined;
  readonly isSkipped: (seq: number) => boolean;
};

type Wanted = { readonly table: string; readonly key: string };

/** The unit that waits: its last seq, and the coverage of its first entry. */
export type WaitingUnit = { readonly last: number; readonly coverage: Coverage };

/**
 * Whether the log brings a row again behind a unit that another move's row keeps waiting (A8): by a change of it, or by a
 * new pass of its table (W4), which brings every row there is and before which changes are left out of the log. What has
 * been read already is looked at in the call; what lies beyond, by `search`, outside of any transaction, and each entry
 * once.
 */
export class LookAhead {
  readonly #options: LookAheadOptions;
  readonly #wanted = new Map<string, Wanted>();
  /** The latest change that a search has found of a row. */
  readonly #found = new Map<string, number>();
  /** The latest pass of a table that the log is known to hold. */
  readonly #passes = new Map<string, number>();
  #searched: LogAnchor | null = null;
  /** Of the searches under way only one that began in this round may say how far was searched: it looked for all. */
  #round = 0;

  constructor(options: LookAheadOptions) {
    this.#options = options;
  }

  /** Asked while the unit is under way, so that whatever shares a key with it is still queued. */
  changedLater({ table, key }: Wanted, unit: WaitingUnit): boolean {
    const { peek, isSkipped } = this.#options;
    const id = `${table} ${key}`;
    const found = this.#found.get(id);
    if (found !== undefined && found > unit.last && !isSkipped(found)) return true;
    for (let at = 0; ; at++) {
      const entry = peek(at);
      if (!entry) break;
      this.#sawPasses(entry.header.coverage);
      if (isSkipped(entry.header.seq)) continue;
      if (entry.changes.some((change, i) => change.table === table && entry.keys[i] === key)) return true;
    }
    if (this.#isCopiedAgain(table, unit.coverage)) return true;
    if (!this.#wanted.has(id)) {
      this.#searched = null;
      this.#round++;
    }
    this.#wanted.set(id, { table, key });
    return false;
  }

  /** Reads on from the unit's last entry to the log's end of now; the next time from there. */
  async search(last: LogAnchor, signal: AbortSignal): Promise<void> {
    if (this.#wanted.size === 0) return;
    const { log, lane } = this.#options;
    const round = this.#round;
    for await (const entry of readUpToNow({ log, lane, after: this.#searched ?? last }, signal)) {
      await this.#look(entry);
      if (round === this.#round) this.#searched = anchorOf(entry.header, entry.offset);
    }
  }

  /** Nothing waits any more. */
  clear(): void {
    this.#wanted.clear();
    this.#found.clear();
    this.#searched = null;
    this.#round++;
  }

  /** 0 where the log is not known to hold a recopy of the table. */
  latestPass(table: string): number {
    return this.#passes.get(table) ?? 0;
  }

  #isCopiedAgain(table: string, { tables }: Coverage): boolean {
    return tables.some((covered) => covered.table === table && this.latestPass(table) > covered.pass);
  }

  #sawPasses({ tables }: Coverage): void {
    for (const { table, pass } of tables) if (pass > this.latestPass(table)) this.#passes.set(table, pass);
  }

  async #look(entry: LogEntry): Promise<void> {
    const { seq, detail, coverage } = entry.header;
    this.#sawPasses(coverage);
    if (detail.kind !== "changes") return;
    const wanted = [...this.#wanted].filter(([, { table }]) => table in detail.tables);
    if (wanted.length === 0) return;
    const body = await openBody(entry, this.#options.chunkStore).catch((error: unknown) => {
      // Met again, and made up for, when its turn comes.
      if (isLostBody(error)) return null;
      throw error;
    });
    if (body === null) return;
    const changed = new Set(decodeChanges(body).map(({ table, key }) => `${table} ${keyText(key)}`));
    for (const [id] of wanted) if (changed.has(id)) this.#found.set(id, seq);
  }
}

/** The table whose recopy this entry begins. */
export function beginsAgain({ detail }: EntryHeader): string | null {
  return detail.kind === "range" && detail.range.pass > 0 && detail.range.after === null ? detail.range.table : null;
}
