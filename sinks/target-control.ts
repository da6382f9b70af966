import type { LaneId } from "../pipeline/entry.ts";
import type { OutcomeStore } from "../pipeline/outcome.ts";
import type { TargetHistory } from "./target-history.ts";

/** What a cutover asks of a target beside applying: outcome, closing a lane. One per target server. */
export interface TargetControl {
  readonly outcomes: OutcomeStore;
  readonly history: TargetHistory;
  /**
   * C5: no applier may ever write for this lane again; one that is in a transaction is waited for. Works without an
   * open sink, on a lane never opened too, and may be repeated.
   */
  closeLane(lane: LaneId, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
