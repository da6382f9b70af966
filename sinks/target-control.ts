import type { LaneId, Mark } from "../pipeline/entry.ts";
import type { OutcomeStore } from "../pipeline/outcome.ts";
import type { TargetHistory } from "./target-history.ts";

/** What a cutover asks of a target beside applying: outcome, closing a lane, the reverse mark. One per target server. */
export interface TargetControl {
  readonly outcomes: OutcomeStore;
  readonly history: TargetHistory;
  /**
   * C5: no applier may ever write for this lane again; one that is in a transaction is waited for. Works without an
   * open sink, on a lane never opened too, and may be repeated.
   */
  closeLane(lane: LaneId, signal: AbortSignal): Promise<void>;
  /** C7: where reverse capture of this generation begins. A repeat commits another mark: the last one counts. */
  insertReverseMark(lane: LaneId, generation: number, signal: AbortSignal): Promise<Mark>;
  close(): Promise<void>;
}
