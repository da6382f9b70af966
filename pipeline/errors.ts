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
  ENTRY_TOO_LARGE: { retry: "never", remedy: "This is a defect: larger bodies belong in the chunk store. Report it." },
  CHUNK_LOST: { retry: "recopy", remedy: "A chunk's body is gone from the chunk store; its range is read again." },
  CHUNK_DAMAGED: {
    retry: "recopy",
    remedy: "A chunk's body does not match its sha256; check the disk. The range is read again.",
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
