import type { ErrorCode } from "../pipeline/errors.ts";
import type { FileFinding } from "../pipeline/file-finding.ts";
import type { Finding } from "../pipeline/preflight.ts";
import type { AdapterReport } from "./adapters/test-kit.ts";
import type { Alarm, JournalEntry } from "./control-store.ts";
import type { Evidence } from "./evidence-parts.ts";

/** What answers are made of, for clients that know nothing but this API. */
export type { AdapterReport, Alarm, Evidence, FileFinding, Finding, JournalEntry };

/** Who asks: the name goes into the journal and into the answer that somebody else gets meanwhile. */
export type Caller = { readonly by: string; readonly role: Role };
export const ROLES = ["read", "operate", "admin"] as const;
export type Role = (typeof ROLES)[number];

export type MoveRequest = {
  /** The manifest's text, and the file's name for findings. */
  readonly manifest: string;
  readonly manifestFile: string;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
};

/** An error as people and the API see it. */
export type Problem = {
  readonly code: ErrorCode;
  readonly message: string;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly remedy: string;
};

export type PreflightReport = {
  readonly passed: boolean;
  readonly findings: readonly Finding[];
  readonly next: readonly string[];
};

export type TableStatus = {
  readonly table: string;
  readonly state: "waiting" | "copying" | "copied";
  readonly rowsCopied: number;
  /** From the server's statistics; null where unknown. */
  readonly rowsEstimated: number | null;
};

export type LaneStatus = {
  readonly lane: string;
  readonly store: string;
  /** standby: it leads back, and carries nothing yet. watched: the tenant has left, and only strays matter. closed: done. */
  readonly role: "active" | "standby" | "watched" | "closed";
  /** capture's end: what the feed says of itself. */
  readonly capture: "connecting" | "shared" | "detached" | "stopped";
  readonly apply: "running" | "paused" | "stopped";
  readonly position: string | null;
  readonly tailSeq: number | null;
  readonly watermark: number | null;
  /** Seconds between a commit at the source and its effect in the target; null while unknown. */
  readonly lagSeconds: number | null;
  /** Seconds until the source purges what has not been read; null while unknown. */
  readonly headroomSeconds: number | null;
  readonly tables: readonly TableStatus[];
  readonly rowsPerSecond: number;
  readonly bytesPerSecond: number;
  /** From the measured pace; null while there is none. */
  readonly etaSeconds: number | null;
  /** Every reason why something of the lane waits, in the operator's words. */
  readonly waiting: readonly string[];
  readonly verification: VerificationStatus;
  readonly problem: Problem | null;
};

export type TableVerification = {
  readonly table: string;
  /** Every range was compared since the table was copied. */
  readonly covered: boolean;
  readonly rowsVerified: number;
  readonly rowsCopied: number;
  /** Changed since they were compared last. */
  readonly dirtyKeys: number;
  readonly differences: number;
  /** More rows differ than are kept by name, and `differences` counts. */
  readonly moreDiffer: boolean;
  /** Ranges are still to be compared, for the first time or in the pass that was asked for last. */
  readonly passUnderWay: boolean;
};

export type VerificationStatus = Omit<TableVerification, "table" | "rowsCopied"> & {
  /** Of the rows, from 0 to 1. */
  readonly coverage: number;
  /** By this process, passes and single keys together. */
  readonly rowsCompared: number;
  readonly tables: readonly TableVerification[];
};

export type DifferenceReport = {
  readonly lane: string;
  /** The clusters that the lane carries from and to: while the tenant lives at its new home, that is the way back. */
  readonly source: string;
  readonly target: string;
  readonly table: string;
  /** The key's columns, as text. */
  readonly key: string;
  readonly kind: "missing" | "differing" | "extra";
  /** Null until the row was compared by itself; empty for a missing or an extra one. */
  readonly columns: readonly string[] | null;
  /** The place of the lane's log at which it was real. */
  readonly seq: number;
  readonly foundAtMs: number;
  /** By column, as text; null unless they were asked for. */
  readonly values: Readonly<Record<string, { readonly source: string | null; readonly target: string | null }>> | null;
};

export type VerificationReport = {
  readonly lanes: readonly (VerificationStatus & { readonly lane: string })[];
  readonly differences: readonly DifferenceReport[];
};

export type VerifyRequest = {
  /** Null: every table. */
  readonly table: string | null;
  /** The ranges of open differences are copied again; else everything is compared again. */
  readonly repair: boolean;
};

export type AttemptStatus = {
  readonly generation: number;
  readonly direction: "forward" | "reverse";
  readonly outcome: "running" | "committed" | "aborted" | "unknown";
  /** The step it is in, or ended in. */
  readonly step: string;
  readonly reason: string | null;
  readonly steps: readonly StepTime[];
  readonly predicted: readonly PredictedStep[];
  /** target: another server answered at the home's address than at the first fence call (C1). */
  readonly decidedIn: "home" | "target";
};
export type FinishStatus = {
  /** comparing and removing may take long, and go on after a restart; refused: nothing was removed. */
  readonly stage: "comparing" | "removing" | "dropping" | "done" | "refused";
  /** Of the source, by its tables. */
  readonly rowsRemoved: Readonly<Record<string, number>>;
  /** Rows that appeared behind the fence and stay, by table and key; the first of them, where they are many. */
  readonly left: readonly string[];
  /** All of them, by table. */
  readonly rowsLeft: Readonly<Record<string, number>>;
  readonly reason: string | null;
};

export type FinishRequest = {
  readonly dryRun: boolean;
  /** Before the retention is over; `tenant` must name the tenant. */
  readonly now: boolean;
  readonly tenant: string | null;
  /** Goes ahead where the lanes back do not run, so that the sides cannot be compared; journalled. */
  readonly acceptUnverified: boolean;
};

export type FinishResult = {
  /** would-run and refused have changed nothing; begun goes on by itself, and status says how far it is. */
  readonly outcome: "begun" | "refused" | "would-run";
  readonly gate: readonly GateCondition[];
  /** The tenant's rows at the source, by table, as counted now; null where they cannot be counted. */
  readonly rows: Readonly<Record<string, number>> | null;
  readonly status: MoveStatus;
};

export type StepTime = { readonly step: string; readonly startedMs: number; readonly tookMs: number };

export type MoveStatus = {
  readonly move: string;
  readonly manifest: string;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  readonly phase: string;
  readonly generation: number;
  readonly alarms: readonly Alarm[];
  /** What a person must settle; null where nobody is needed. */
  readonly problem: Problem | null;
  readonly lanes: readonly LaneStatus[];
  readonly attempt: AttemptStatus | null;
  /** `dray finish`, as far as it is; null before it is asked for. */
  readonly finish: FinishStatus | null;
  readonly verification: string;
  /** A person answers for what was not verified in a cutover of this move; null where nobody had to. */
  readonly accepted: { readonly by: string; readonly what: string } | null;
  readonly rollback: string;
  /** Commands that make sense now, most useful first. */
  readonly next: readonly string[];
};

/** What every action answers: the state the move is in, what was done, what can be done next (K4). */
export type ActionResult = { readonly done: string; readonly status: MoveStatus };

export type GateCondition = {
  readonly name: string;
  /**
   * unknown counts as no; accepted is a no that a person answers for; absent (not in this version) does not block, but is
   * said.
   */
  readonly verdict: "yes" | "no" | "unknown" | "accepted" | "absent";
  readonly value: string;
  readonly limit: string | null;
};

/** C10: how long a step will hold the tenant, and how that is known. */
export type PredictedStep = { readonly step: string; readonly ms: number; readonly how: string };

export type CutoverRequest = {
  readonly dryRun: boolean;
  readonly maxLagSeconds: number | null;
  readonly maxPauseMs: number | null;
  /** What is not verified does not close the gate; journalled, and said in every later line about the move. */
  readonly acceptUnverified: boolean;
};

export type CutoverResult = {
  /** would-run and refused have changed nothing. needs-person: forward only, but routing is ambiguous. */
  readonly outcome: "committed" | "aborted" | "refused" | "would-run" | "needs-person";
  readonly generation: number | null;
  readonly gate: readonly GateCondition[];
  readonly steps: readonly StepTime[];
  /** As measured right before the fence; empty where the gate was closed. */
  readonly predicted: readonly PredictedStep[];
  /** First fence call sent to last routing answer received; null where nothing was fenced. */
  readonly pauseMs: number | null;
  readonly reason: string | null;
  readonly status: MoveStatus;
};

/** Pushed while a cutover runs, and to whoever watches the move. */
export type MoveEvent =
  | { readonly type: "status"; readonly status: MoveStatus }
  | { readonly type: "gate"; readonly gate: readonly GateCondition[] }
  | {
      readonly type: "step";
      readonly step: string;
      readonly state: "started" | "done" | "failed";
      readonly atMs: number;
      readonly facts: Readonly<Record<string, unknown>>;
    };

export type LogQuery = {
  readonly lane: string | null;
  readonly afterSeq: number;
  readonly limit: number;
  /** Bodies show rows: role admin only, and journalled by the service before the first is read. */
  readonly bodies: boolean;
};
export type LogLine = {
  readonly lane: string;
  readonly seq: number;
  readonly kind: string;
  readonly tables: Readonly<Record<string, string>>;
  readonly position: string;
  readonly committedAtMs: number;
  readonly storedBytes: number;
  readonly body: unknown;
};

export type ManifestCheckRequest = {
  readonly manifest: string;
  readonly manifestFile: string;
  /** Null: the file alone and the names it uses of the server configuration. */
  readonly cluster: string | null;
};

export type AdapterTestRequest = {
  /** An http adapter's name in the server configuration, or its URL. */
  readonly adapter: string;
  /** A tenant that the adapter knows and nobody uses: it is fenced, unfenced and routed to its own home. */
  readonly tenant: string;
  readonly to: string;
};

/**
 * All that an operator can ask for; the HTTP API is a translation of it and nothing more. Methods throw DrayError:
 * MOVE_UNKNOWN, ILLEGAL_STEP (with the steps allowed now), MOVE_HELD (by whom), PREFLIGHT_REFUSED, and what went wrong
 * below. `signal` ends the waiting for an answer; it never stops a cutover that has begun.
 */
export interface MoveService {
  preflight(request: MoveRequest, caller: Caller, signal: AbortSignal): Promise<PreflightReport>;
  /** Runs preflight first; PREFLIGHT_REFUSED has the findings among its facts. A null name: `<manifest>-<tenant>`. */
  start(
    request: MoveRequest & { readonly name: string | null },
    caller: Caller,
    signal: AbortSignal,
  ): Promise<ActionResult>;
  list(): Promise<readonly MoveStatus[]>;
  status(move: string): Promise<MoveStatus>;
  /** Begins with the status of now; ends with the signal, or when the move can change no more. */
  events(move: string, signal: AbortSignal): AsyncIterable<MoveEvent>;
  /** `onEvent` is called in order and never after the promise has settled. */
  cutover(
    move: string,
    request: CutoverRequest,
    caller: Caller,
    onEvent: (event: MoveEvent) => void,
  ): Promise<CutoverResult>;
  /** As `cutover`, with the roles swapped (C8): the tenant goes back to where it came from, and loses nothing. */
  rollback(
    move: string,
    request: CutoverRequest,
    caller: Caller,
    onEvent: (event: MoveEvent) => void,
  ): Promise<CutoverResult>;
  pause(move: string, caller: Caller): Promise<ActionResult>;
  resume(move: string, caller: Caller): Promise<ActionResult>;
  retry(move: string, caller: Caller): Promise<ActionResult>;
  /** A skipped seq is an open difference: the gate says no until its table is copied again (A8). */
  skip(
    move: string,
    target: { readonly lane: string | null; readonly seq: number },
    caller: Caller,
  ): Promise<ActionResult>;
  /** Null: every table. */
  recopy(move: string, table: string | null, caller: Caller): Promise<ActionResult>;
  /** V: begins a pass, or a repair of what was found; `verification` says how far it is. */
  verify(move: string, request: VerifyRequest, caller: Caller): Promise<ActionResult>;
  /** Values of differing rows are for admins only, and journalled before they are read. */
  verification(move: string, showValues: boolean, caller: Caller, signal: AbortSignal): Promise<VerificationReport>;
  resolve(move: string, owner: "from" | "to", caller: Caller): Promise<ActionResult>;
  abort(move: string, caller: Caller): Promise<ActionResult>;
  /** `sql` is the guarded SQL that would remove the source's rows; it is not run. */
  close(move: string, caller: Caller): Promise<ActionResult & { readonly sql: readonly string[] }>;
  /**
   * The source's copy is compared once more and removed, with all that Drayage keeps of the move. Resolves once that is
   * journalled; what follows needs no client.
   */
  finish(move: string, request: FinishRequest, caller: Caller, signal: AbortSignal): Promise<FinishResult>;
  journal(move: string, afterSeq: number): Promise<readonly JournalEntry[]>;
  /** All that can be told of a move afterwards; of any phase, and never with a row's value. */
  evidence(move: string, signal: AbortSignal): Promise<Evidence>;
  log(move: string, query: LogQuery, caller: Caller, signal: AbortSignal): AsyncIterable<LogLine>;
  /** YAML; guesses are marked, and what is unclear is a comment with what to decide. */
  manifestInit(
    cluster: string,
    schemas: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly manifest: string; readonly findings: readonly FileFinding[] }>;
  manifestCheck(
    request: ManifestCheckRequest,
    signal: AbortSignal,
  ): Promise<{ readonly findings: readonly FileFinding[] }>;
  adapterTest(request: AdapterTestRequest, caller: Caller, signal: AbortSignal): Promise<AdapterReport>;
}
