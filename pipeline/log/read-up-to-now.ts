import type { LaneId, LogAnchor, LogEntry } from "../entry.ts";
import type { ChangeLog } from "./log.ts";

export type ReadUpToNowOptions = {
  readonly log: ChangeLog;
  readonly lane: LaneId;
  /** As in `ChangeLog.read`. */
  readonly after: LogAnchor | null;
};

/** What the log holds behind `after` at the time of the call, in order and without `epoch` entries; then it ends. */
export async function* readUpToNow(
  { log, lane, after }: ReadUpToNowOptions,
  signal: AbortSignal,
): AsyncGenerator<LogEntry, void> {
  const { lastSeq } = await log.stats(lane);
  if (lastSeq === null || lastSeq <= (after?.seq ?? 0)) return;
  const stop = new AbortController();
  try {
    for await (const batch of log.read({ lane, after, signal: AbortSignal.any([signal, stop.signal]) })) {
      for (const entry of batch) {
        if (entry.header.detail.kind === "epoch") continue;
        yield entry;
        if (entry.header.seq >= lastSeq) return;
      }
    }
  } finally {
    stop.abort(new Error("read far enough"));
  }
  signal.throwIfAborted();
}
