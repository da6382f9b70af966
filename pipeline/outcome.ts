/** How an attempt ended (C1): one row (move, generation) a side, the first INSERT wins. */
export type Outcome = "COMMITTED" | "ABORTED";

export type OutcomeRow = {
  readonly generation: number;
  readonly outcome: Outcome;
  /** The server that was the home when the attempt's first fence call was sent. */
  readonly homeUuid: string;
  readonly facts: Readonly<Record<string, unknown>>;
};

export type OutcomeDraft = OutcomeRow & {
  readonly move: string;
  /** Insert only on this very server, checked in the same statement; null: on whichever answers. */
  readonly expectServerUuid: string | null;
};

/**
 * won: this call's row stands. already-same: a row with the same outcome stood before, or this call's own did after a
 * lost answer. lost: the other outcome stands, and is what happened.
 */
export type OutcomeResult =
  | { readonly result: "won" }
  | { readonly result: "already-same"; readonly row: OutcomeRow }
  | { readonly result: "lost"; readonly row: OutcomeRow };

/** Which server answered, for C1: a home is this server, not an address. */
export type ServerIdentity = {
  readonly uuid: string;
  readonly version: string;
  readonly readOnly: boolean;
};

/** `dray.cutover` of one side. */
export interface OutcomeStore {
  /** Every generation of the move, ascending. */
  readOutcomes(move: string, signal: AbortSignal): Promise<readonly OutcomeRow[]>;
  /**
   * Durable when it resolves. An INSERT whose answer is lost is sent again until its outcome is known: an equal row is
   * the answer. Throws OUTCOME_UNKNOWN when the signal ends that (the tenant stays fenced), HOME_MOVED without having
   * inserted anything where another server answers.
   */
  insertOutcome(draft: OutcomeDraft, signal: AbortSignal): Promise<OutcomeResult>;
  serverIdentity(signal: AbortSignal): Promise<ServerIdentity>;
}
