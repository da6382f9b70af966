import type { LogCheckpoint } from "../pipeline/log/log.ts";
import type { Manifest } from "../pipeline/manifest.ts";

/** JSON as it lies in the store: what is written is read back equal, so no bigint, no undefined, no Date. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

export type MoveRecord = {
  /** The move's name, which is its id everywhere: `<manifest>-<tenant>` unless the operator chose another. */
  readonly name: string;
  readonly manifest: Manifest;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  /** As the last journal entry says; `phases.ts` owns the words. */
  readonly phase: string;
  /** The highest generation handed out here (C2 asks the databases and adapters too before it takes another). */
  readonly generation: number;
  /** The seq of the last journal entry, 1 after creation: what every change of the move is compared with. */
  readonly journalSeq: number;
  /** The coordinator's own notes about the move: what phase to resume to, the error a person must see, the home's uuid. */
  readonly details: JsonObject;
  readonly createdAtMs: number;
};

export type NewMove = Pick<MoveRecord, "name" | "manifest" | "tenant" | "from" | "to" | "details"> & {
  readonly phase: string;
  readonly by: string;
};

export type JournalDraft = {
  readonly from: string;
  readonly event: string;
  readonly to: string;
  /** Names, positions, counts; never row values or secrets. */
  readonly facts: JsonObject;
  /** Who: an operator's name, or the part of the server that acted. */
  readonly by: string;
};

export type JournalEntry = JournalDraft & { readonly move: string; readonly seq: number; readonly atMs: number };

/** What a change of a move was decided on: refused with JOURNAL_CONFLICT where the journal went on since. */
export type ExpectedSeq = number;

export type LaneRecord = {
  readonly lane: string;
  readonly move: string;
  /** The highest writer epoch handed out; 0 before the first. */
  readonly epoch: number;
  readonly checkpoint: LogCheckpoint | null;
  /** The covered tables and what else the lane was opened with; belongs to the coordinator. */
  readonly spec: Json;
};

export type LaneDraft = Pick<LaneRecord, "lane" | "spec">;

export type Lease = {
  readonly name: string;
  readonly holder: string;
  /** Strictly rising per name: a holder that lost its lease is told apart from one that has it again. */
  readonly epoch: number;
  readonly expiresAtMs: number;
};
export type LeaseAttempt =
  | { readonly held: true; readonly lease: Lease }
  | { readonly held: false; readonly by: Lease };

export type AlarmDraft = {
  readonly move: string;
  readonly code: string;
  readonly message: string;
  readonly facts: JsonObject;
};
export type Alarm = AlarmDraft & {
  readonly id: number;
  readonly raisedAtMs: number;
  /** How often it was raised while open: an alarm that repeats is one alarm. */
  readonly times: number;
};

/**
 * K2. What the coordinator remembers. Every method that writes is one durable transaction: when it resolves, the change
 * has survived a crash of the machine. A lost or restored store does no harm (C2): outcomes lie in the databases, epochs
 * and generations are raised above what log and adapters know.
 */
export interface ControlStore {
  /** Writes the move and its first journal entry (seq 1, from "" by "create"). MOVE_EXISTS where the name is taken. */
  createMove(move: NewMove): Promise<MoveRecord>;
  /** MOVE_UNKNOWN where there is none. */
  /**
   * The next move of a name whose last one has ended: its journal and its generation go on, all else is replaced.
   * JOURNAL_CONFLICT as for `appendJournal`.
   */
  startAgain(move: NewMove, expected: ExpectedSeq, entry: JournalDraft): Promise<MoveRecord>;
  getMove(name: string): Promise<MoveRecord>;
  /** Oldest first. */
  listMoves(): Promise<readonly MoveRecord[]>;
  /** Replaces the notes; the phase changes by the journal only. JOURNAL_CONFLICT where the journal went on. */
  updateMove(name: string, expected: ExpectedSeq, details: JsonObject): Promise<MoveRecord>;
  /**
   * K1: durable before effects. Appends at `expected + 1` and sets the move's phase to `to`, in one transaction.
   * JOURNAL_CONFLICT where another entry has that seq already, or where `from` is not the move's phase. Details that are
   * given replace the notes in the same transaction.
   */
  appendJournal(name: string, expected: ExpectedSeq, entry: JournalDraft, details?: JsonObject): Promise<JournalEntry>;
  /** In seq order, those above `afterSeq`. */
  journal(name: string, afterSeq: number): Promise<readonly JournalEntry[]>;
  /** 1 + the highest of the stored one and `atLeast` (C2); stored before it resolves. */
  raiseGeneration(name: string, atLeast: number): Promise<number>;

  /**
   * In one transaction: these lanes are the move's, and those of `insteadOf` are not any more. Epoch and checkpoint are kept
   * where a lane is known already.
   */
  createLanes(move: string, lanes: readonly LaneDraft[], insteadOf?: readonly string[]): Promise<void>;
  getLane(lane: string): Promise<LaneRecord | null>;
  lanes(move: string): Promise<readonly LaneRecord[]>;
  /** 1 + the highest of the stored one and `atLeast`: L2 asks for one above any seen in the log. */
  raiseLaneEpoch(lane: string, atLeast: number): Promise<number>;
  /** Refused with FENCED below the lane's epoch, so that a zombie never sets a checkpoint back. */
  saveCheckpoint(lane: string, epoch: number, checkpoint: LogCheckpoint): Promise<void>;
  dropLane(lane: string): Promise<void>;

  /** Takes a free or run-out lease with a new epoch; the holder's own is taken again, also with a new epoch. */
  acquireLease(name: string, holder: string, ttlMs: number): Promise<LeaseAttempt>;
  /** LEASE_LOST where it ran out or went to another since. */
  renewLease(lease: Lease, ttlMs: number): Promise<Lease>;
  /** Nothing happens where the lease is another's by now. */
  releaseLease(lease: Lease): Promise<void>;

  /** An open alarm of the same move and code is counted up and given the new message instead of repeated. */
  raiseAlarm(alarm: AlarmDraft): Promise<Alarm>;
  /** Open ones, oldest first; of all moves without a name. */
  alarms(move: string | null): Promise<readonly Alarm[]>;
  /** True where one of that code was open. */
  clearAlarm(move: string, code: string, by: string): Promise<boolean>;

  close(): Promise<void>;
}
