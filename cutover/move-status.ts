import { type Coverage, tableIsComplete } from "../pipeline/coverage.ts";
import { type DrayError, type ErrorCode, isDrayError, PROBLEMS } from "../pipeline/errors.ts";
import type { Side } from "./direction.ts";
import { finishStatus } from "./finish-note.ts";
import type { LaneState } from "./lane/lane-runtime.ts";
import type { Move } from "./move.ts";
import type { LaneRole, Learned, OpenLane } from "./move-lanes.ts";
import type { AttemptStatus, LaneStatus, MoveStatus, Problem, TableStatus } from "./move-service.ts";
import type { Pace } from "./pace.ts";
import type { Phase } from "./phases.ts";
import { laneVerification, verificationWords } from "./verification.ts";
import { rollbackWords } from "./way-back.ts";

export async function moveStatus(move: Move, pace: Pace): Promise<MoveStatus> {
  const { context } = move;
  const { name, manifest, tenant, from, to, generation } = context.journal.move;
  const alarms = await context.alarms.of(name);
  const { problem, attempt } = move.details;
  return {
    move: name,
    manifest: manifest.name,
    tenant,
    from,
    to,
    phase: move.phase,
    generation,
    alarms,
    problem: problem === null ? null : withRemedy(problem),
    lanes: move.lanes.all.map((lane) => laneStatus(lane, move.lanes.roleOf(lane), move.phase, pace)),
    attempt: attempt === null ? null : ({ ...attempt } satisfies AttemptStatus),
    finish: finishStatus(move.details.finish),
    verification: verificationWords(move),
    accepted: move.details.accepted,
    rollback: rollbackWords(move),
    next: nextCommands(name, move.phase, {
      codes: [problem?.code ?? "", ...alarms.map(({ code }) => code)],
      lives: move.details.lives.side,
    }),
  };
}

function laneStatus(lane: OpenLane, role: LaneRole, phase: Phase, pace: Pace): LaneStatus {
  const { source, store, runtime, learned } = lane;
  const state = runtime.state();
  const expected = Object.values(learned.rowsEstimated).reduce((sum, rows) => sum + rows, 0);
  const speed = pace.of(source.lane, state, expected);
  const stopped = state.stopped.capture ?? state.stopped.apply;
  return {
    lane: source.lane,
    store: store.definition.name,
    role,
    capture: state.stopped.capture !== undefined ? "stopped" : (state.feed?.state ?? "connecting"),
    apply: applyState(state, phase),
    position: state.feed?.position ?? null,
    tailSeq: state.tailSeq,
    watermark: state.apply?.watermark ?? null,
    lagSeconds: state.lag.seconds,
    headroomSeconds: headroom(learned, state),
    tables: tables(state.coverage, learned),
    rowsPerSecond: speed.rowsPerSecond,
    bytesPerSecond: speed.bytesPerSecond,
    etaSeconds: speed.etaSeconds,
    waiting: state.waiting,
    verification: laneVerification(lane),
    problem: isDrayError(stopped) ? problemOf(stopped) : null,
  };
}

function applyState(state: LaneState, phase: Phase): LaneStatus["apply"] {
  if (phase === "paused") return "paused";
  return state.apply === null || state.stopped.apply !== undefined ? "stopped" : "running";
}

/** M9: until the source purges what has not been read. */
function headroom({ retentionSeconds }: Learned, { lag }: LaneState): number | null {
  if (retentionSeconds === null || lag.captureSeconds === null) return null;
  return Math.max(0, retentionSeconds - lag.captureSeconds);
}

function tables(coverage: Coverage | null, { rowsEstimated }: Learned): readonly TableStatus[] {
  return (coverage?.tables ?? []).map((table) => ({
    table: table.table,
    state: tableIsComplete(table) ? "copied" : table.announced === null ? "waiting" : "copying",
    rowsCopied: table.rows,
    rowsEstimated: rowsEstimated[table.table] ?? null,
  }));
}

export function problemOf(error: DrayError): Problem {
  return { code: error.code, message: error.message, facts: error.facts, remedy: error.problem.remedy };
}

function withRemedy(problem: { readonly code: string; readonly message: string; readonly facts: object }): Problem {
  const code = problem.code as ErrorCode;
  return { code, message: problem.message, facts: { ...problem.facts }, remedy: PROBLEMS[code]?.remedy ?? "" };
}

type Situation = {
  /** Of the problem and the open alarms. */
  readonly codes: readonly string[];
  /** Where the tenant lives by the last outcome: only that side can be resolved to. */
  readonly lives: Side;
};

/** What makes sense now, most useful first (K4). */
function nextCommands(name: string, phase: Phase, { codes, lives }: Situation): readonly string[] {
  const status = `dray status ${name} --watch`;
  switch (phase) {
    case "planned":
      return [`dray start … --name ${name}`, `dray abort ${name}`];
    case "preflight":
      return [`dray abort ${name}`];
    case "copying":
      return [status, `dray pause ${name}`, `dray abort ${name}`];
    case "streaming":
      return [`dray cutover ${name} --dry-run`, `dray cutover ${name}`, status, `dray abort ${name}`];
    case "cutting-over":
      if (codes.includes("CUTOVER_HELD"))
        return [status, `dray resolve ${name} --owner from`, `dray resolve ${name} --owner to`];
      return [status, `dray journal ${name}`];
    case "watching":
      // What is lost in the target stands in the source alone.
      if (codes.includes("TARGET_LOST_COMMITS")) return [status, `dray journal ${name}`];
      return [
        status,
        `dray verify ${name} --watch`,
        `dray rollback ${name} --dry-run`,
        `dray finish ${name} --dry-run`,
      ];
    case "rolling-back":
      if (codes.includes("CUTOVER_HELD"))
        return [status, `dray resolve ${name} --owner to`, `dray resolve ${name} --owner from`];
      return [status, `dray journal ${name}`];
    case "rolled-back":
      return [`dray cutover ${name} --dry-run`, `dray cutover ${name}`, status, `dray abort ${name}`];
    case "paused":
      return [`dray resume ${name}`, `dray abort ${name}`];
    case "failed":
      if (codes.includes("ROUTE_AMBIGUOUS"))
        return [`dray retry ${name}`, `dray resolve ${name} --owner ${lives}`, status];
      return [`dray retry ${name}`, `dray recopy ${name}`, `dray log ${name}`, `dray abort ${name}`];
    case "aborting":
      return [status];
    case "aborted":
      return [`dray start … --name ${name}`, `dray journal ${name}`, `dray close ${name}`];
    case "finishing":
      return [status, `dray journal ${name}`, `dray close ${name}`];
    case "finished":
    case "closed":
      return [`dray evidence ${name}`, `dray journal ${name}`];
  }
}
