import { FAILOVER_PROBLEMS } from "./failover-problems.ts";
import type { Problem } from "./problem.ts";

/**
 * Every error an operator can meet: a code, whether trying again can help, and what to do. Facts carry names, ids,
 * positions and limits; a secret or a row's value never gets in (K5).
 */
export const PROBLEMS = {
  // Log
  FENCED: { retry: "never", remedy: "A newer epoch owns this lane; this process has stopped writing. Nothing to do." },
  LOG_CORRUPT: {
    retry: "never",
    remedy: "An entry of the log was changed after it was written. `dray recopy` the move, or `dray abort` it.",
  },
  LOG_TRUNCATED: {
    retry: "recopy",
    remedy: "The log lost entries that were durable. `dray recopy` copies the tables again; nothing is skipped.",
  },
  LOG_FULL: { retry: "backoff", remedy: "Free space for the log's folder or topic; capture goes on by itself." },
  LOG_LOCKED: {
    retry: "never",
    remedy: "Another dray process uses this data folder; stop it or use another --data-dir.",
  },
  LOG_UNAVAILABLE: { retry: "backoff", remedy: "The log cannot be reached; it is tried again until it answers." },
  LOG_DENIED: {
    retry: "never",
    remedy:
      "Kafka refuses this account: correct its SASL settings, or allow it to create, describe, write, read, alter and delete the topics and read the groups named drayage-*.",
  },
  LOG_OUTCOME_UNKNOWN: { retry: "backoff", remedy: "The lane is opened again with a new epoch; nothing to do." },
  LOG_TOPIC_SETTINGS: {
    retry: "never",
    remedy: "Set the named topic settings back as shown, then `dray retry`; with them a topic may lose entries.",
  },
  LOG_FORMAT: {
    retry: "never",
    remedy: "The log was written by another version of dray: go on with that version, or use a new --data-dir.",
  },
  ENTRY_TOO_LARGE: { retry: "never", remedy: "This is a defect: larger bodies belong in the chunk store. Report it." },
  CHUNK_LOST: {
    retry: "recopy",
    remedy:
      "A body is gone from the chunk store. Its tables are copied again by themselves, once; where it stops the lane, find what removes files there, then `dray recopy` the table, or the move.",
  },
  CHUNK_DAMAGED: {
    retry: "recopy",
    remedy:
      "A body does not match its sha256. Its tables are copied again by themselves, once; where it stops the lane, check the disk, then `dray recopy` the table, or the move.",
  },
  // Apply
  TARGET_OUTCOME_UNKNOWN: {
    retry: "backoff",
    remedy: "The connection broke inside a commit; the target is asked what it holds. Nothing to do.",
  },
  TARGET_CHANGED: {
    retry: "reopen",
    remedy:
      "Another server, or the same after a restart, answers there; the lane asks it where it stands. Nothing to do.",
  },
  TARGET_REFUSED: {
    retry: "never",
    remedy: "The target refused a statement for good, as named; mend it there, then `dray retry`.",
  },
  GUARD_FOREIGN_ROW: {
    retry: "never",
    remedy:
      "A row that is not this one stands under its key or a unique value in the target: find whose it is, then `dray retry`; or `dray skip --seq` and `dray recopy`.",
  },
  GUARD_CONTENDED: {
    retry: "backoff",
    remedy:
      "A row of another tenant's running move stands in the way: it is tried again until that lane has passed. If that move stands still, `dray status` it, and bring it on or abort it.",
  },
  GUARD_NOT_TENANT: {
    retry: "never",
    remedy: "This is a defect: the log holds a row of another tenant, and nothing was written. Report it.",
  },
  GUARD_TYPE: {
    retry: "never",
    remedy: "The tenant guard was not tested for a key of this type; classify the table `ignore`, or change the key.",
  },
  LANE_CLOSED: {
    retry: "never",
    remedy: "This lane was closed for good at a commit or an abort; a new move opens a new lane.",
  },
  LANE_NOT_CLOSED: {
    retry: "never",
    remedy: "Copied rows are removed only once no applier can bring them back: `dray abort` closes the lane first.",
  },
  TABLE_NOT_IN_LANE: {
    retry: "never",
    remedy: "The log holds a table that the move's manifest does not cover; start the move with the old manifest.",
  },
  ENTRY_KIND_NOT_YET: {
    retry: "never",
    remedy: "A later version of dray wrote this entry; go on with that version.",
  },
  BARRIER_PASSED: { retry: "never", remedy: "The place in the log was passed already; ask again at a later mark." },
  APPLIER_STOPPED: { retry: "never", remedy: "Applying was stopped; `dray resume` or `dray retry` starts it again." },
  APPLY_CUT_OFF: {
    retry: "never",
    remedy: "A transaction did not end while stopping and was cut off; the target is asked at the next start.",
  },
  // Control, configuration and commands
  CONFIG_INVALID: { retry: "never", remedy: "Mend each finding at its place; `dray config check` shows them again." },
  MANIFEST_INVALID: {
    retry: "never",
    remedy: "Mend each finding at its place; `dray manifest check` shows them again.",
  },
  CLUSTER_UNKNOWN: { retry: "never", remedy: "Name a cluster of the server configuration, or add it there." },
  ADAPTER_UNKNOWN: { retry: "never", remedy: "Name an adapter of the server configuration, or add it there." },
  HOST_NOT_ALLOWED: {
    retry: "never",
    remedy: "Add the host to `allowed_hosts` of the server configuration if dray may talk to it.",
  },
  ADDRESS_IN_USE: {
    retry: "never",
    remedy: "Another process listens there: stop it, or give this server another `listen` or --data-dir.",
  },
  MOVE_UNKNOWN: { retry: "never", remedy: "`dray list` shows the moves of this server." },
  MOVE_EXISTS: {
    retry: "never",
    remedy:
      "`dray status` shows it. The name is free for its tenant once that move is aborted or closed; else take another --name.",
  },
  MOVE_HELD: { retry: "never", remedy: "Somebody else works on this move; wait, or ask who is named here." },
  ILLEGAL_STEP: { retry: "never", remedy: "`dray status` lists the steps that are allowed now." },
  PREFLIGHT_REFUSED: { retry: "never", remedy: "Mend each finding; `dray preflight --fix-sql` prints the SQL for it." },
  JOURNAL_CONFLICT: { retry: "never", remedy: "The move went on meanwhile: look at `dray status` and decide again." },
  LEASE_LOST: { retry: "never", remedy: "Another process took over; this one has stopped acting. Nothing to do." },
  LANE_UNKNOWN: { retry: "never", remedy: "The lane was dropped; `dray status` shows the lanes of the move." },
  CONTROL_STORE_NEWER: {
    retry: "never",
    remedy: "A later version of dray has written control.db: go on with that version, or use a new --data-dir.",
  },
  CONTROL_STORE_UNAVAILABLE: {
    retry: "backoff",
    remedy: "control.db cannot be written: free space on the data folder's disk, or mend it. It is tried again.",
  },
  REQUEST_INVALID: { retry: "never", remedy: "Mend what is named; /openapi.json describes every request." },
  UNAUTHORIZED: {
    retry: "never",
    remedy: "Send a token of this server: `Authorization: Bearer …`; for the CLI set DRAY_TOKEN.",
  },
  ROLE_TOO_LOW: { retry: "never", remedy: "Use a token with the role named here." },
  INTERNAL: { retry: "never", remedy: "This is a defect: the server's log has the details. Report it." },
  // Source and target control
  CONTROL_CLOSED: { retry: "never", remedy: "This process is ending; the next one goes on from the journal." },
  OUTCOME_UNKNOWN: {
    retry: "backoff",
    remedy: "The outcome of this attempt could not be read; the tenant stays fenced until the named server answers.",
  },
  OUTCOME_UNREADABLE: {
    retry: "never",
    remedy: "A row of dray.cutover holds what Drayage never writes; find out who wrote it, then `dray resolve`.",
  },
  HOME_MOVED: {
    retry: "never",
    remedy: "Another server answers as the home store than at the first fence call; the target's outcome decides now.",
  },
  QUIESCE_TIMEOUT: {
    retry: "never",
    remedy: "The named transactions did not end in time; let them end or KILL them, then run the cutover again.",
  },
  FENCE_BLOCKED: {
    retry: "never",
    remedy: "A transaction holds a table of the schema; let it end or KILL it, then run the cutover again.",
  },
  FENCE_TOO_WIDE: {
    retry: "never",
    remedy: "READ ONLY fences everyone in the schema, and others are in it; use an adapter as fence instead.",
  },
  SCHEMA_MISSING: {
    retry: "never",
    remedy: "The named schema is not there, or may not be seen; correct the manifest.",
  },
  FENCE_TOUCHES_DATA: {
    retry: "never",
    remedy: "A statement of the SQL adapter writes to a table that moves; let it write to a table of its own.",
  },
  SQL_ADAPTER_STATEMENT: {
    retry: "never",
    remedy: "Mend the named statement of the SQL adapter in the server's configuration.",
  },
  // The cutover
  CONTROL_STORE_DAMAGED: {
    retry: "never",
    remedy: "Restore the control store from a copy: an old one does no harm, for outcomes lie in the databases (C2).",
  },
  FENCE_FAILED: {
    retry: "never",
    remedy: "The attempt was aborted and unfenced; `dray adapter test` shows what the adapter does wrong.",
  },
  PIN_FAILED: {
    retry: "never",
    remedy: "The fence ran out before it could be pinned; the attempt was aborted. Give it a longer life.",
  },
  UNFENCE_FAILED: {
    retry: "backoff",
    remedy: "The tenant is still fenced. It is tried again until the adapter answers: bring the adapter back.",
  },
  RETIRE_FAILED: {
    retry: "backoff",
    remedy: "The tenant has moved; the source's fence is made final once its adapter answers: bring it back.",
  },
  ROUTE_AMBIGUOUS: {
    retry: "never",
    remedy:
      "Read the routing by hand, then `dray resolve MOVE --owner from|to`, or `dray retry MOVE` to call it again.",
  },
  ADAPTER_SILENT: { retry: "backoff", remedy: "Bring the adapter back; `dray adapter test` shows what it answers." },
  PAUSE_TOO_LONG: {
    retry: "never",
    remedy: "The attempt was aborted and unfenced; mend the slow step that is named, or raise --max-pause.",
  },
  ATTEMPT_CUT_SHORT: {
    retry: "never",
    remedy: "The server stopped in the middle of this attempt; it was aborted and unfenced. Run the cutover again.",
  },
  ATTEMPT_ABORTED_ELSEWHERE: {
    retry: "never",
    remedy:
      "Another process wrote ABORTED for this attempt first; it was unfenced. `dray status` shows where it stands.",
  },
  STORE_KIND_UNKNOWN: { retry: "never", remedy: "This version knows mysql." },
  PROBE_UNKNOWN: { retry: "never", remedy: "Name a probe of the server configuration, or add it there." },
  PROBE_FAILED: { retry: "backoff", remedy: "The copy waits until the probe answers with a number." },
  ADAPTER_NOT_HTTP: {
    retry: "never",
    remedy: "`dray adapter test` is for http adapters; preflight tries sql adapters.",
  },
  SCHEMA_UNKNOWN: { retry: "never", remedy: "The cluster has no such schema, or the account may not see it." },
  MOVE_NAME_INVALID: {
    retry: "never",
    remedy: "Give a --name of letters, digits, dot, dash and underscore, 100 at most.",
  },
  RECOPY_NEEDS_CAPTURE: {
    retry: "never",
    remedy:
      "The lane's capture has stopped, so one table cannot be copied again: `dray recopy` the move, or `dray retry` it.",
  },
  TABLE_UNKNOWN: { retry: "never", remedy: "`dray status` lists the tables of the move, as schema.table." },
  OWNER_UNPROVEN: {
    retry: "never",
    remedy: "Neither side's dray.cutover says so: bring the named server back, or resolve to the other owner.",
  },
  ALREADY_COMMITTED: { retry: "never", remedy: "The tenant has moved; `dray status` shows what can be done now." },
  FENCE_LEAKS: {
    retry: "never",
    remedy:
      "Writes of the tenant came through the fence (table, key and transaction are named): find who writes there.",
  },
  CUTOVER_HELD: {
    retry: "backoff",
    remedy:
      "Bring back what is named: it is tried until it answers. `dray resolve` decides where both sides can be read.",
  },
  RESOLVED_BY_A_PERSON: { retry: "never", remedy: "A person decides where the tenant lives; nothing to do here." },
  STRAY_WRITE: {
    retry: "never",
    remedy: "The source took a write of the tenant after the fence: carry it over by hand, and close the way it took.",
  },
  ...FAILOVER_PROBLEMS,
  // Capture
  DIVERGED: {
    retry: "recopy",
    remedy: "The source lost or rewrote history (failover, restore). `dray recopy` the move from what it holds now.",
  },
  BINLOG_PURGED: {
    retry: "recopy",
    remedy: "Raise binlog_expire_logs_seconds, then `dray recopy`: the source no longer has what the lane needs next.",
  },
  DDL_ON_COVERED_TABLE: {
    retry: "never",
    remedy:
      "Make the same change in the target by hand, then `dray recopy` the move: it copies by the definitions of then.",
  },
  STATEMENT_BASED_CHANGE: {
    retry: "recopy",
    remedy: "A session wrote with binlog_format=STATEMENT. Make it use ROW, then `dray recopy` the move.",
  },
  INCOMPLETE_ROW_IMAGE: {
    retry: "recopy",
    remedy: "A session wrote with binlog_row_image other than FULL. Set it to FULL there, then `dray recopy` the move.",
  },
  PARTIAL_ROW_UPDATE: {
    retry: "recopy",
    remedy: "A session wrote with binlog_row_value_options=PARTIAL_JSON. Clear it there, then `dray recopy` the move.",
  },
  SCHEMA_CHANGED: {
    retry: "never",
    remedy: "The table is not what the move began with. Make both sides equal, then `dray recopy` the move.",
  },
  XA_NOT_YET: {
    retry: "recopy",
    remedy: "XA transactions with the tenant's rows are not in this version. Stop them, then `dray recopy` the move.",
  },
  FOREIGN_DRAY_WRITE: {
    retry: "recopy",
    remedy: "Something else writes to Drayage's schema together with moved rows. Revoke its grant, then `dray recopy`.",
  },
  EVENT_NOT_UNDERSTOOD: {
    retry: "recopy",
    remedy: "The source's binlog holds an event that this version cannot read exactly. Report it, then `dray recopy`.",
  },
  DRAY_SCHEMA_TAKEN: {
    retry: "never",
    remedy: "Another installation owns this schema: name another one in the cluster's configuration (`dray_schema`).",
  },
  // MySQL
  MYSQL_UNREACHABLE: {
    retry: "backoff",
    remedy: "The named server does not answer; check address, network and that it runs. It is tried again.",
  },
  MYSQL_ACCESS_DENIED: {
    retry: "never",
    remedy: "The named server refuses the account; mend user, password, host or TLS in the server configuration.",
  },
  MYSQL_TRANSIENT: {
    retry: "backoff",
    remedy: "A lock, a lost connection, a full or read-only server: tried again, nothing is lost.",
  },
  MYSQL_GUARD: {
    retry: "never",
    remedy:
      "A row of another tenant has this key in the target; nothing was changed. Remove or renumber it, `dray retry`.",
  },
  MYSQL_REFUSED: {
    retry: "never",
    remedy: "The named server refuses the statement; mend what it says (a grant, a definition), then `dray retry`.",
  },
  MYSQL_SETTINGS: {
    retry: "never",
    remedy:
      "The named server does not take these session settings; a proxy in between may change them. Connect directly.",
  },
  COLUMN_REFUSED: {
    retry: "never",
    remedy: "This column cannot be carried exactly; do what is named here, or classify the table `ignore`.",
  },
  VALUE_REFUSED: {
    retry: "never",
    remedy:
      "A JSON value holds a type that its text cannot carry. Rewrite it: UPDATE … SET c = CAST(CAST(c AS CHAR) AS JSON), then `dray recopy` the move.",
  },
  JSON_NEEDS_PROOF: {
    retry: "backoff",
    remedy: "The range is read again with a slower exact expression; nothing to do.",
  },
  SCHEMA_MISMATCH: {
    retry: "never",
    remedy:
      "The row events describe another table than the move knows; was it altered? Make both sides equal, then `dray recopy` the move.",
  },
  TENANT_KEY_INVALID: {
    retry: "never",
    remedy: "The tenant key cannot be a value of the named column; check --tenant and the manifest.",
  },
} as const satisfies Record<string, Problem>;

export type ErrorCode = keyof typeof PROBLEMS;

export class DrayError extends Error {
  readonly code: ErrorCode;
  /** Ids, names, positions, limits, counts, as JSON holds them: they are journalled. Never secrets, never row values. */
  readonly facts: Readonly<Record<string, unknown>>;
  constructor(code: ErrorCode, facts: Record<string, unknown> = {}, cause?: unknown) {
    super(`${code} ${describeFacts(facts)}`.trimEnd(), { cause });
    this.name = "DrayError";
    this.code = code;
    this.facts = JSON.parse(stringify(facts)) as Record<string, unknown>;
  }
  get problem(): Problem {
    return PROBLEMS[this.code];
  }
}

export function isDrayError(error: unknown, code?: ErrorCode): error is DrayError {
  return error instanceof DrayError && (code === undefined || error.code === code);
}

function describeFacts(facts: Record<string, unknown>): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : stringify(value)}`)
    .join(" ");
}

function stringify(value: unknown): string {
  return JSON.stringify(value, (_, v) => (typeof v === "bigint" ? v.toString() : v)) ?? "undefined";
}
