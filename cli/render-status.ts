import type { ActionResult, LaneStatus, MoveStatus, Problem, TableStatus } from "../cutover/move-service.ts";
import { type CommandResult, EXIT, type ExitCode } from "./command.ts";

/** Alarms first: whoever looks must see them whatever else there is. */
export function statusLines(status: MoveStatus): string[] {
  return [
    ...status.alarms.map(
      (alarm) => `ALARM ${alarm.code}: ${alarm.message}${alarm.times > 1 ? ` (${alarm.times} times)` : ""}`,
    ),
    `${status.move}: ${status.phase}, ${status.from} -> ${status.to}, generation ${status.generation}`,
    ...problemLines(status.problem, "  "),
    ...status.lanes.flatMap(laneLines),
    ...attemptLines(status),
    `  verification: ${status.verification}; rollback: ${status.rollback}`,
  ];
}

/** One line of a list: what a person must know is there too. */
export function moveLine({ move, phase, from, to, alarms, accepted }: MoveStatus): string {
  const codes = alarms.map(({ code }) => code).join(", ");
  const parts = [
    `${move}  ${phase}  ${from} -> ${to}`,
    ...(codes === "" ? [] : [`ALARM ${codes}`]),
    ...(accepted === null ? [] : [`UNVERIFIED, accepted by ${accepted.by}`]),
  ];
  return parts.join("  ");
}

/** 5 where a person must act, so that a script that watches sees it. */
export function statusExit(status: MoveStatus): ExitCode {
  return status.alarms.length > 0 || status.problem !== null ? EXIT.person : EXIT.done;
}

export function actionResult({ done, status }: ActionResult): CommandResult {
  const json = { done, status };
  return { lines: [done, ...statusLines(status)], json, next: status.next, exitCode: EXIT.done };
}

function laneLines(lane: LaneStatus): string[] {
  // The tail is known by its newest mark, and the target may be beyond that.
  const behind = lane.tailSeq === null || lane.watermark === null ? null : Math.max(0, lane.tailSeq - lane.watermark);
  const parts = [
    `capture ${lane.capture}`,
    `apply ${lane.apply}`,
    lane.lagSeconds === null ? "lag unknown" : `lag ${lane.lagSeconds.toFixed(3)} s`,
    behind === null ? null : `${count(behind)} entries behind`,
    lane.headroomSeconds === null ? null : `headroom ${duration(lane.headroomSeconds)}`,
  ];
  const pace = [
    `${count(lane.rowsPerSecond)} rows/s`,
    `${bytes(lane.bytesPerSecond)}/s`,
    lane.etaSeconds === null ? null : `eta ${duration(lane.etaSeconds)}`,
  ];
  return [
    `  lane ${lane.lane}: ${parts.filter((part) => part !== null).join(", ")}`,
    `    ${pace.filter((part) => part !== null).join(", ")}`,
    ...lane.waiting.map((reason) => `    waiting: ${reason}`),
    ...problemLines(lane.problem, "    "),
    ...lane.tables.map(tableLine),
  ];
}

function tableLine(table: TableStatus): string {
  const { rowsCopied, rowsEstimated } = table;
  const share = table.state === "copied" ? 1 : rowsEstimated ? Math.min(0.99, rowsCopied / rowsEstimated) : 0;
  // The estimate may be far too low; one that has been passed says nothing any more.
  const isAhead = rowsEstimated !== null && rowsEstimated > rowsCopied && table.state !== "copied";
  const of = isAhead ? ` of about ${count(rowsEstimated)}` : "";
  return `    ${bar(share)} ${table.table}: ${table.state}, ${count(rowsCopied)}${of} rows`;
}

function attemptLines({ attempt }: MoveStatus): string[] {
  if (attempt === null) return [];
  const reason = attempt.reason === null ? "" : `: ${attempt.reason}`;
  const steps = attempt.steps.map((step) => `${step.step} ${step.tookMs.toFixed(1)} ms`).join(", ");
  const where = attempt.decidedIn === "target" ? ", decided in the target: the source is another server now" : "";
  const line = `  attempt ${attempt.generation}: ${attempt.outcome} at ${attempt.step}${where}${reason}`;
  return steps === "" ? [line] : [line, `    ${steps}`];
}

function problemLines(problem: Problem | null, indent: string): string[] {
  return problem === null ? [] : [`${indent}problem: ${problem.message}`, `${indent}  ${problem.remedy}`];
}

const BAR_WIDTH = 20;

function bar(share: number): string {
  const full = Math.round(share * BAR_WIDTH);
  return `[${"#".repeat(full)}${".".repeat(BAR_WIDTH - full)}]`;
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  // Rounded before it is split: nobody is told 59 min 60 s.
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
