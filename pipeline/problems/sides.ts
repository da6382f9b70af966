import type { Problems } from "./problem.ts";

/** Outcome, fence and lanes in the databases. */
export const SIDE_PROBLEMS = {
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
} as const satisfies Problems;
