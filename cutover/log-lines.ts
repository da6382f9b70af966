import { decodeChanges } from "../pipeline/change-codec.ts";
import type { EntryHeader, LogEntry } from "../pipeline/entry.ts";
import { openBody } from "../pipeline/entry-codec.ts";
import { DrayError } from "../pipeline/errors.ts";
import type { Move } from "./move.ts";
import type { OpenLane } from "./move-lanes.ts";
import type { LogLine, LogQuery } from "./move-service.ts";

/** `dray log`: headers in order, and bodies where they were asked for and journalled. Ends at the tail of now. */
export async function* readLog(move: Move, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
  const lane = move.lanes.all.find(({ source }) => query.lane === null || source.lane === query.lane);
  if (lane === undefined) throw new DrayError("LANE_UNKNOWN", { lane: query.lane, move: move.name });
  const { log } = move.context;
  const { lastSeq } = await log.stats(lane.source.lane);
  if (lastSeq === null || lastSeq <= query.afterSeq) return;
  const stop = new AbortController();
  let sent = 0;
  try {
    for await (const batch of log.read({
      lane: lane.source.lane,
      after: null,
      signal: AbortSignal.any([signal, stop.signal]),
    })) {
      for (const entry of batch) {
        if (entry.header.seq <= query.afterSeq) continue;
        yield await line(move, lane, entry, query.bodies);
        if (++sent >= query.limit || entry.header.seq >= lastSeq) return;
      }
    }
  } finally {
    stop.abort(new Error("read enough"));
  }
}

/** The tables whose rows an entry holds; null where the log has it no more. */
export async function tablesOf(
  move: Move,
  { lane, seq }: { readonly lane: string | null; readonly seq: number },
  signal: AbortSignal,
): Promise<readonly string[] | null> {
  for await (const found of readLog(move, { lane, afterSeq: seq - 1, limit: 1, bodies: false }, signal)) {
    if (found.seq !== seq) return null;
    return found.kind === "changes" || found.kind === "chunk" ? Object.keys(found.tables) : [];
  }
  return null;
}

async function line(move: Move, lane: OpenLane, entry: LogEntry, withBody: boolean): Promise<LogLine> {
  const { header } = entry;
  return {
    lane: header.lane,
    seq: header.seq,
    kind: header.detail.kind,
    tables: tables(header),
    position: header.position,
    committedAtMs: header.committedAtMs,
    storedBytes: header.body.storedBytes,
    body: withBody && header.detail.kind === "changes" ? await changes(move, lane, entry) : null,
  };
}

async function changes(move: Move, { source, store }: OpenLane, entry: LogEntry): Promise<unknown> {
  const body = await openBody(entry, move.context.chunkStore);
  return decodeChanges(body).map((change) => ({
    table: change.table,
    op: change.op,
    row: store.pair.describeChange(source, change),
  }));
}

function tables({ detail }: EntryHeader): Readonly<Record<string, string>> {
  if (detail.kind === "changes") {
    return Object.fromEntries(
      Object.entries(detail.tables).map(([table, n]) => [table, `+${n.insert} ~${n.update} -${n.delete}`]),
    );
  }
  if (detail.kind === "chunk") return { [detail.range.table]: `${detail.rows} rows, ${detail.leftOut} left out` };
  if (detail.kind === "range") return { [detail.range.table]: `pass ${detail.range.pass}` };
  return detail.kind === "mark" ? { [detail.mark.scope]: detail.mark.kind } : {};
}
