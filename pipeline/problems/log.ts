import type { Problems } from "./problem.ts";

/** The log, and the bodies beside it. */
export const LOG_PROBLEMS = {
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
} as const satisfies Problems;
