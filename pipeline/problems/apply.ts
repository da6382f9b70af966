import type { Problems } from "./problem.ts";

/** Applying and comparing in the target. */
export const APPLY_PROBLEMS = {
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
  REPAIR_OVERTAKEN: {
    retry: "never",
    remedy: "The table is being copied again, which replaces every row; `dray verify` it once that is done.",
  },
  REPAIR_WAITS: {
    retry: "never",
    remedy:
      "The lane cannot read its source now, or not in time; `dray status` says what it waits for. What is not repaired still differs: ask again once it does not wait any more.",
  },
  VERIFY_DIFFERS: {
    retry: "never",
    remedy:
      "Rows differ between source and target, as named. `dray verify MOVE --repair` copies their ranges again; find what writes to the target before the next cutover.",
  },
  VERIFICATION_LOST: {
    retry: "never",
    remedy:
      "What was verified of the named tables was lost behind the gate, as by a target that is another server now; the attempt was aborted and unfenced. Run the cutover again once `dray status` says 100% verified.",
  },
  VERIFY_NOTHING: {
    retry: "never",
    remedy:
      "No lane of this move is verified now: it must be copying, streaming or watching, and its capture be connected. See `dray status`.",
  },
  BARRIER_PASSED: { retry: "never", remedy: "The place in the log was passed already; ask again at a later mark." },
  APPLIER_STOPPED: { retry: "never", remedy: "Applying was stopped; `dray resume` or `dray retry` starts it again." },
  APPLY_CUT_OFF: {
    retry: "never",
    remedy: "A transaction did not end while stopping and was cut off; the target is asked at the next start.",
  },
} as const satisfies Problems;
