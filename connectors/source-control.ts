import type { LaneId } from "../pipeline/entry.ts";
import type { OutcomeStore } from "../pipeline/outcome.ts";
import type { CoveredTable } from "../pipeline/source.ts";

/** A transaction of the source that has written to, or holds a lock for writing on, a covered table (C11). */
export type Blocker = {
  /** Names this transaction: a later one of the same session has another id. */
  readonly id: string;
  /** As the operator may KILL it; null for a prepared XA transaction without a session. */
  readonly sessionId: number | null;
  readonly account: string | null;
  readonly host: string | null;
  /** `schema.table`, covered tables only; empty where the server does not say (XA). */
  readonly tables: readonly string[];
  /** Null where the server does not tell: a prepared transaction without a session. */
  readonly ageSeconds: number | null;
  /** In hex, for a prepared XA transaction of which nothing else is known (M7). */
  readonly xid: string | null;
  /** A prepared XA transaction, which a KILL does not end: XA COMMIT or XA ROLLBACK does. */
  readonly prepared: "yes" | "no";
};

export type QuiesceOptions = {
  /** On the control's own clock (monotonic ms). */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
};

/** C3: makes every write to the schema fail, whoever writes. Both calls may be repeated. */
export interface SchemaFence {
  /** Waits for writers in flight up to `waitSeconds`, then throws FENCE_BLOCKED. Throws FENCE_TOO_WIDE before it acts. */
  fence(signal: AbortSignal): Promise<void>;
  unfence(signal: AbortSignal): Promise<void>;
  /** Reads back. */
  isFenced(signal: AbortSignal): Promise<boolean>;
}

export type SchemaFenceOptions = {
  readonly schema: string;
  readonly tenant: string;
  /** Of this schema: each must hold rows of this tenant only. */
  readonly tables: readonly CoveredTable[];
  /** The manifest says that the schema is this tenant's alone. */
  readonly ownedByTenant: "yes" | "no";
  /** Whole seconds, at least 1: MySQL knows no shorter lock wait. */
  readonly waitSeconds: number;
};

/** What a cutover asks of a source: outcome, quiesce, fence. One per source server. */
export interface SourceControl {
  readonly outcomes: OutcomeStore;
  /** One look at the server, Drayage's own sessions left out. */
  blockers(tables: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Blocker[]>;
  /**
   * Lists the blockers once and waits for just these to end; call it after the fence holds. Throws QUIESCE_TIMEOUT,
   * naming those that are left.
   */
  quiesce(tables: readonly CoveredTable[], options: QuiesceOptions): Promise<readonly Blocker[]>;
  /** C7: where a lane that leads back begins to carry. Durable when it resolves; a repeat with the nonce changes nothing. */
  insertBeginMark(
    lane: LaneId,
    begin: { readonly generation: number; readonly nonce: string },
    signal: AbortSignal,
  ): Promise<void>;
  schemaFence(options: SchemaFenceOptions): SchemaFence;
  close(): Promise<void>;
}
