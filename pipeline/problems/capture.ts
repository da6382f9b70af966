import type { Problems } from "./problem.ts";

/** Reading a source. */
export const CAPTURE_PROBLEMS = {
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
} as const satisfies Problems;
