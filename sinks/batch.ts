import type { Change } from "../pipeline/entry.ts";
import type { ReadyEntry } from "./entry-feed.ts";
import type { Footprint, InFlight } from "./in-flight.ts";
import type { AppliedRange } from "./sink.ts";

export type BatchLimits = { readonly changes: number; readonly bytes: number };

/** Entries that become one transaction, and what it touches. */
export type Batch = { readonly entries: readonly ReadyEntry[]; readonly footprint: Footprint };

/**
 * The next transaction of changes (A3): what is waiting now, from the head of the queue, up to the limits; a lone entry
 * goes alone and at once. It ends before any other kind of entry, before an entry that the target has already, before
 * one that shares a key with a transaction under way, and where another writer's entries begin. Empty: the head itself
 * must wait.
 */
export function nextBatch(options: {
  readonly peek: (index: number) => ReadyEntry | undefined;
  readonly inFlight: InFlight;
  readonly limits: BatchLimits;
  readonly isDone: (entry: ReadyEntry) => boolean;
  /** A barrier stands before this seq. */
  readonly beforeSeq: number;
}): Batch {
  const entries: ReadyEntry[] = [];
  const keys = new Map<string, Set<string>>();
  let changes = 0;
  let bytes = 0;
  for (let entry = options.peek(0); entry; entry = options.peek(entries.length)) {
    const first = entries[0];
    if (entry.header.detail.kind !== "changes" || entry.header.seq >= options.beforeSeq) break;
    if (first && first.header.nonce !== entry.header.nonce) break;
    if (
      first &&
      (changes + entry.changes.length > options.limits.changes || bytes + entry.bytes > options.limits.bytes)
    )
      break;
    if (options.isDone(entry) || !options.inFlight.admitsChanges(entry)) break;
    entries.push(entry);
    changes += entry.changes.length;
    bytes += entry.bytes;
    addKeys(keys, entry);
  }
  return { entries, footprint: { keys, range: null } };
}

function addKeys(keys: Map<string, Set<string>>, entry: ReadyEntry): void {
  let lastTable: string | null = null;
  let set = new Set<string>();
  entry.changes.forEach((change: Change, i) => {
    if (change.table !== lastTable) {
      lastTable = change.table;
      set = keys.get(lastTable) ?? new Set();
      keys.set(lastTable, set);
    }
    set.add(entry.keys[i] ?? "");
  });
}

export function rangeOf(batch: Batch): AppliedRange {
  const first = (batch.entries[0] as ReadyEntry).header;
  const last = lastOf(batch).header;
  return { first: first.seq, last: last.seq, nonce: first.nonce };
}

export function lastOf(batch: Batch): ReadyEntry {
  return batch.entries.at(-1) as ReadyEntry;
}
