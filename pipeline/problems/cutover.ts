import type { Problems } from "./problem.ts";

/** The cutover and its adapters. */
export const CUTOVER_PROBLEMS = {
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
  ROUTING_OPEN: {
    retry: "never",
    remedy:
      "An attempt is committed and not known to be routed: `dray retry MOVE` makes the routing calls again, or read the routing by hand and `dray resolve MOVE --owner from|to`. What else is wrong waits for that.",
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
  INTERVAL_UNPROVEN: {
    retry: "never",
    remedy:
      "The capture of the named lanes was opened anew between the two marks of each try, so nothing proves that the tenant was still; the attempt was aborted and unfenced. `dray status` says what ends it: mend that, and run the cutover again.",
  },
  CUTOVER_HELD: {
    retry: "backoff",
    remedy:
      "Bring back what is named: it is tried until it answers. `dray resolve` decides where both sides can be read.",
  },
  RESOLVED_BY_A_PERSON: {
    retry: "never",
    remedy: "A person has decided, by `dray resolve` or `dray close`, what becomes of the move; nothing to do here.",
  },
  LANES_MISSING: {
    retry: "never",
    remedy:
      "No lane carries these stores this way, so the tenant would arrive without what it wrote. Nothing has happened; `dray status` says why there is none.",
  },
  WAY_BACK_LOST: {
    retry: "never",
    remedy:
      "The attempt was aborted and unfenced, for what the tenant writes at its new home could not be brought back. Mend what stopped the lane that is named; another one takes its place, and the gate says when it is there.",
  },
  SOURCE_WATCH_BEHIND: {
    retry: "backoff",
    remedy:
      "The source's binlog is not read in time to tell whether its rows were written behind the fence, so none is removed now. It is tried again, and a watched lane that has stopped is started again; see its lag and its problem in `dray status`.",
  },
  FINISH_WITHOUT_LANES: {
    retry: "never",
    remedy:
      "Each store needs a lane that leads back, to be compared, and one that watches the source, to tell which rows were written there behind the fence. These have none, so none of their rows is removed; `dray status` lists the lanes.",
  },
  STRAYS_UNKNOWN: {
    retry: "backoff",
    remedy:
      "More rows were written at the source behind the fence than are kept by name, so none is removed any more. Close the way they took; they are in the source's binlog, and must be carried over by hand. `dray close` then ends the move: what is left at the source stays, and the SQL that would remove it is printed.",
  },
  STRAY_WRITE: {
    retry: "never",
    remedy: "A side that the tenant has left took a write of it: carry it over by hand, and close the way it took.",
  },
} as const satisfies Problems;
