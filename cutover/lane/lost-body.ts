import type { EntryHeader, LaneId, LogAnchor } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import { readUpToNow } from "../../pipeline/log/read-up-to-now.ts";

/** An entry whose body the chunk store has no more, or not as it was written (L6). */
export type LostBody = { readonly seq: number; readonly tables: readonly string[]; readonly error: DrayError };

export type LostBodyOptions = {
  readonly log: ChangeLog;
  readonly lane: LaneId;
  /** What the target has recorded; the entry lies behind it. */
  readonly after: LogAnchor | null;
  readonly error: DrayError;
  /** A change cannot be left out where it may have freed a value that a later one takes. */
  readonly meetsStaleRows: (table: string) => boolean;
  /** Resolves with the seq below which the chunks of each table are needed no more, or rejects with the error. */
  readonly makeUpFor: (loss: LostBody, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>;
};

/**
 * Has the tables of a lost body copied again, and says which seqs may then be passed over: the entry itself, and the
 * older chunks of these tables behind it, which the new copy replaces (W4). Rejects with the error where the log does not
 * say what the body held, or it cannot be left out.
 */
export async function passedOver(options: LostBodyOptions, signal: AbortSignal): Promise<ReadonlySet<number>> {
  const { error, meetsStaleRows, makeUpFor } = options;
  const { key } = error.facts;
  const header = await find(options, ({ body }) => body.chunkKey === key, signal);
  const tables = header === null ? [] : tablesOf(header);
  if (header === null || tables.length === 0) throw error;
  if (header.detail.kind === "changes" && tables.some(meetsStaleRows)) throw error;
  const { seq, lane } = header;
  const told = new DrayError(error.code, { lane, seq, tables, ...error.facts }, error);
  const since = await makeUpFor({ seq, tables, error: told }, signal);
  const passed = new Set([seq]);
  const last = Math.max(...since.values());
  await find(
    options,
    (one) => {
      const { detail } = one;
      if (detail.kind === "chunk" && one.seq > seq && one.seq < (since.get(detail.range.table) ?? 0))
        passed.add(one.seq);
      return one.seq >= last;
    },
    signal,
  );
  return passed;
}

function tablesOf({ detail }: EntryHeader): readonly string[] {
  if (detail.kind === "changes") return Object.keys(detail.tables);
  return detail.kind === "chunk" ? [detail.range.table] : [];
}

/** The first entry that fits, up to what the log holds now. */
async function find(
  options: LostBodyOptions,
  fits: (header: EntryHeader) => boolean,
  signal: AbortSignal,
): Promise<EntryHeader | null> {
  for await (const { header } of readUpToNow(options, signal)) if (fits(header)) return header;
  return null;
}
