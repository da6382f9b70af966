import type { LaneId } from "../pipeline/entry.ts";

/** How far a lane's watermark must have come in the very server that answers. */
export type AppliedUpTo = { readonly lane: LaneId; readonly seq: number };

/** Transactions in the store's own text, opaque outside its sink. */
export type TransactionSet = string;

export type Acknowledged = {
  readonly serverUuid: string;
  /** Null: the server gives its transactions no names, so that nobody can tell whether another one has them. */
  readonly set: TransactionSet | null;
};

export type Missing = { readonly count: bigint; readonly set: TransactionSet };

export type Holding = {
  /** The server that answers now. */
  readonly serverUuid: string;
  /** Null: it has all of the set. */
  readonly missing: Missing | null;
};

export type CandidateState = {
  /** `host:port`. */
  readonly candidate: string;
  /** unknown: it does not answer. */
  readonly verdict: "yes" | "no" | "unknown";
  /** In the operator's words. */
  readonly value: string;
};

/** C6: what a target has acknowledged, and whether the servers that may take it over have that too. */
export interface TargetHistory {
  /**
   * All that the target has executed by now. TARGET_CHANGED where the server that answers does not have the lanes as far
   * as they are said to be applied: it is another than the one that said so.
   */
  acknowledged(applied: readonly AppliedUpTo[], signal: AbortSignal): Promise<Acknowledged>;
  /**
   * Resolves once every named candidate has executed the set; at once where none is named. TARGET_CANDIDATE_BEHIND, which
   * names one: when the signal ends the waiting, and as soon as one does not answer. Each has a session ready once
   * `candidates` was asked.
   */
  confirmCandidates(set: TransactionSet | null, signal: AbortSignal): Promise<void>;
  /** For the gate: whether each answers, and has within `withinMs` all that the target has now. Empty: none is named. */
  candidates(withinMs: number, signal: AbortSignal): Promise<readonly CandidateState[]>;
  /** Asked by a connection of its own each time: a kept one may lead to a server that is the target no more. */
  holds(set: TransactionSet | null, signal: AbortSignal): Promise<Holding>;
}
