/**
 * Every error an operator can meet: a code, whether trying again can help, and what to do. Facts carry names, ids,
 * positions and limits; a secret or a row's value never gets in (K5).
 */
type Problem = {
  /** never: permanent, a person or another process decides. backoff: try again. recopy: the lane copies again. */
  readonly retry: "never" | "backoff" | "recopy";
  readonly remedy: string;
};

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
  CHUNK_LOST: { retry: "recopy", remedy: "A chunk's body is gone from the chunk store; its range is read again." },
  CHUNK_DAMAGED: {
    retry: "recopy",
    remedy: "A chunk's body does not match its sha256; check the disk. The range is read again.",
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
  MOVE_EXISTS: { retry: "never", remedy: "`dray status` shows it; another move needs another --name." },
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
  REQUEST_INVALID: { retry: "never", remedy: "Mend what is named; /openapi.json describes every request." },
  UNAUTHORIZED: {
    retry: "never",
    remedy: "Send a token of this server: `Authorization: Bearer …`; for the CLI set DRAY_TOKEN.",
  },
  ROLE_TOO_LOW: { retry: "never", remedy: "Use a token with the role named here." },
  INTERNAL: { retry: "never", remedy: "This is a defect: the server's log has the details. Report it." },
  // Source and target control
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
  FENCE_LEAKS: {
    retry: "never",
    remedy:
      "Writes of the tenant came through the fence (table, key and transaction are named): find who writes there.",
  },
  STRAY_WRITE: {
    retry: "never",
    remedy: "The source took a write of the tenant after the fence: carry it over by hand, and close the way it took.",
  },
} as const satisfies Record<string, Problem>;

export type ErrorCode = keyof typeof PROBLEMS;

export class DrayError extends Error {
  readonly code: ErrorCode;
  /** Ids, names, positions, limits, counts. Never secrets, never row values. */
  readonly facts: Readonly<Record<string, unknown>>;
  constructor(code: ErrorCode, facts: Record<string, unknown> = {}, cause?: unknown) {
    super(`${code} ${describeFacts(facts)}`.trimEnd(), { cause });
    this.name = "DrayError";
    this.code = code;
    this.facts = facts;
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
