import type { Problems } from "./problem.ts";

/** What a MySQL server answers. */
export const MYSQL_PROBLEMS = {
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
} as const satisfies Problems;
