import type { Problems } from "./problem.ts";

/** Control, configuration and commands. */
export const CONTROL_PROBLEMS = {
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
} as const satisfies Problems;
