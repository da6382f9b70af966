import type { Finding } from "../pipeline/preflight.ts";
import type { CoveredTable } from "../pipeline/source.ts";

export type GenerationKey = { readonly adapter: string; readonly move: string; readonly tenant: string };

/** What stands in `dray.generation` of the adapter's own database. */
export type GenerationRecord = {
  /** 0 before the first call. */
  readonly generation: number;
  readonly state: "open" | "fenced" | "pinned" | "retired" | "routed";
  /** Where the last route went; null before. */
  readonly home: string | null;
  readonly routedGeneration: number;
};

export type GenerationDecision =
  /** `statements` null: the record says that they have been run. */
  { readonly next: GenerationRecord; readonly statements: readonly string[] | null } | { readonly refused: string };

export type GenerationChange =
  | { readonly kind: "done"; readonly record: GenerationRecord }
  | { readonly kind: "refused"; readonly record: GenerationRecord; readonly reason: string };

/** What `:tenant`, `:move`, `:to` and `:generation` of a statement stand for. */
export type StatementValues = {
  readonly tenant: string;
  readonly move: string;
  readonly to: string;
  readonly generation: number;
};

/** The database of an SQL adapter: its statements and its generation are one transaction (C4). */
export interface GenerationBook {
  /**
   * Locks the record, asks `decide`, runs the statements, writes the record, commits. A refusal has changed nothing. A
   * throw with `retry: backoff` is of unknown outcome; any other has changed nothing.
   */
  change(
    key: GenerationKey,
    values: StatementValues,
    decide: (record: GenerationRecord) => GenerationDecision,
    signal: AbortSignal,
  ): Promise<GenerationChange>;
  /** Waits for a change that is being committed. */
  read(key: GenerationKey, signal: AbortSignal): Promise<GenerationRecord>;
  /**
   * Runs each statement in a transaction, looks which tables it has locked for writing, and rolls back. Findings: a
   * statement that fails, or ends the transaction; one that writes a covered table (FENCE_TOUCHES_DATA).
   */
  dryRun(
    adapter: string,
    statements: readonly string[],
    values: StatementValues,
    covered: readonly CoveredTable[],
    signal: AbortSignal,
  ): Promise<readonly Finding[]>;
  close(): Promise<void>;
}
