import type { SwitchTime } from "./check.ts";
import { count } from "./narrator.ts";
import type { CommandResult } from "./product.ts";
import type { MoveTimes } from "./report.ts";

/** All that the demo knows of the fields of the product's answers. */

/** What one tenant's move was like, as the product says. */
export interface DriveResult extends MoveTimes {
  readonly copyRowsPerSecond: number;
  /** Compared while the tenant was written to, before its first cutover. */
  readonly verifiedRows: number;
  /** Rows that the product found to differ then, in its own words. */
  readonly found: readonly string[];
  readonly switches: readonly Switch[];
}

/** One switch of the tenant's home, as the product says. */
export interface Switch extends SwitchTime {
  readonly lagAtGateSeconds: number;
  readonly pauseMs: number;
  /** Milliseconds per step. */
  readonly steps: Readonly<Record<string, number>>;
}

type TableJson = { rowsCopied: number; rowsEstimated: number | null };
type LaneJson = {
  role: string;
  verification: {
    covered: boolean;
    passUnderWay: boolean;
    rowsVerified: number;
    dirtyKeys: number;
    differences: number;
  };
  tables: TableJson[];
  lagSeconds: number | null;
  rowsPerSecond: number;
  etaSeconds: number | null;
  waiting: string[];
};
type StatusJson = {
  phase: string;
  alarms: { code: string; message: string; times: number }[];
  problem: { message: string; remedy: string } | null;
  lanes: LaneJson[];
};
type CutoverJson = {
  outcome: string;
  reason: string | null;
  gate: { name: string; value: string }[];
  steps: { step: string; tookMs: number }[];
  pauseMs: number | null;
};
type JournalJson = { event: string; atMs: number }[];
type VerificationJson = {
  lanes: { rowsVerified: number }[];
  differences: { table: string; key: string; kind: string; columns: string[] | null }[];
};
type FinishJson = { finish: { rowsRemoved: Record<string, number>; left: string[] } | null };
type LogJson = { seq: number; kind: string; tables: Record<string, string>; committedAtMs: number }[];
type FindingJson = { severity: string; subject: string; finding: string; remedy: string };

export interface StatusFacts {
  readonly phase: string;
  readonly progress: string;
  readonly problem: string | null;
  readonly alarms: readonly string[];
  /** An alarm that comes again is one alarm with a higher number. */
  readonly alarmsRaised: number;
  readonly verification: { readonly isComplete: boolean; readonly words: string };
}

export function readStatus(json: unknown): StatusFacts {
  const status = json as StatusJson;
  const lanes = carrying(status);
  const sum = (of: (lane: LaneJson) => number): number => lanes.reduce((total, lane) => total + of(lane), 0);
  const estimated = sum(({ tables }) => tables.reduce((total, table) => total + (table.rowsEstimated ?? 0), 0));
  const copied = rowsCopied(status);
  // The server's guess may be far too low; one that has been passed says nothing any more.
  const of = status.phase === "copying" && estimated > copied ? ` of about ${count(estimated)}` : "";
  const parts = [`${count(copied)}${of} rows copied`];
  if (status.phase === "copying") {
    parts.push(`${count(sum(({ rowsPerSecond }) => rowsPerSecond))} rows/s`);
    const eta = lanes[0]?.etaSeconds;
    if (eta !== null && eta !== undefined) parts.push(`about ${Math.ceil(eta)} s left`);
  }
  const lag = lanes[0]?.lagSeconds;
  if (lag !== null && lag !== undefined) parts.push(`the target is ${lag.toFixed(3)} s behind`);
  const waiting = lanes.flatMap((lane) => lane.waiting);
  if (waiting.length > 0) parts.push(`waiting: ${waiting.join("; ")}`);
  return {
    phase: status.phase,
    progress: parts.join(", "),
    problem: status.problem === null ? null : `${status.problem.message} ${status.problem.remedy}`,
    alarms: status.alarms.map(
      ({ code, message, times }) => `${code} ${message}${times > 1 ? ` (${times} times)` : ""}`,
    ),
    alarmsRaised: status.alarms.reduce((total, { times }) => total + times, 0),
    verification: {
      isComplete:
        lanes.length > 0 && lanes.every(({ verification: { covered, passUnderWay } }) => covered && !passUnderWay),
      words:
        `${count(sum(({ verification }) => verification.rowsVerified))} rows verified, ` +
        `${count(sum(({ verification }) => verification.differences))} differences`,
    },
  };
}

/** Those that carry now; others stand by or watch. */
const carrying = ({ lanes }: StatusJson): LaneJson[] => lanes.filter(({ role }) => role === "active");

const rowsCopied = (status: StatusJson): number =>
  carrying(status)
    .flatMap((lane) => lane.tables)
    .reduce((sum, table) => sum + table.rowsCopied, 0);

/** What a cutover came to, and why where it did not commit. */
export function readCutover(json: unknown): { readonly outcome: string; readonly reason: string } {
  const { outcome, reason } = json as CutoverJson;
  return { outcome, reason: reason ?? "no reason given" };
}

/** The highest seq of these headers, and when the source committed the lane's start mark and the last chunk's `high`. */
export function readLog(json: unknown): {
  readonly entries: number;
  readonly lastSeq: number;
  readonly startMarkAtMs: number | null;
  readonly lastChunkAtMs: number | null;
} {
  const lines = json as LogJson;
  const start = lines.find(({ kind, tables }) => kind === "mark" && Object.values(tables).includes("start"));
  const chunk = lines.findLast(({ kind }) => kind === "chunk");
  return {
    entries: lines.length,
    lastSeq: lines.at(-1)?.seq ?? 0,
    startMarkAtMs: start?.committedAtMs ?? null,
    lastChunkAtMs: chunk?.committedAtMs ?? null,
  };
}

/** Of a committed cutover or rollback. */
export function readSwitch(json: unknown, about: SwitchTime & { readonly tenant: string }): Switch {
  const { gate, pauseMs, steps } = json as CutoverJson;
  const { tenant, to, askedAtMs } = about;
  if (pauseMs === null) throw new Error(`${tenant}: the switch to the ${to} names no pause`);
  const lag = gate.filter(({ name }) => name.endsWith(" lag")).map(({ value }) => Number.parseFloat(value));
  if (lag.length === 0) throw new Error(`${tenant}: the gate names no lag`);
  return {
    to,
    askedAtMs,
    lagAtGateSeconds: Math.max(...lag),
    pauseMs,
    steps: Object.fromEntries(steps.map(({ step, tookMs }) => [step, tookMs])),
  };
}

/** What a pass of `dray verify` came to: rows compared, and each that differs. */
export function readVerification(json: unknown): { readonly rows: number; readonly found: readonly string[] } {
  const { lanes, differences } = json as VerificationJson;
  return {
    rows: lanes.reduce((sum, { rowsVerified }) => sum + rowsVerified, 0),
    found: differences.map(({ table, key, kind, columns }) => {
      const where = columns === null || columns.length === 0 ? "" : ` in ${columns.join(", ")}`;
      return `${table} ${key}: ${kind}${where}`;
    }),
  };
}

/** Of `dray finish`: how many rows it has removed at the source, and which it left there. */
export function readFinish(json: unknown): { readonly removed: number; readonly left: readonly string[] } {
  const { finish } = json as FinishJson;
  const removed = Object.values(finish?.rowsRemoved ?? {}).reduce((sum, rows) => sum + rows, 0);
  return { removed, left: finish?.left ?? [] };
}

/** When the move streamed, when its first attempt began, and how fast it was copied. */
export function readTimes(answers: {
  readonly tenant: string;
  readonly startMarkAtMs: number;
  readonly status: unknown;
  readonly journal: unknown;
}): { readonly streamingAtMs: number; readonly attemptAtMs: number | null; readonly copyRowsPerSecond: number } {
  const journal = answers.journal as JournalJson;
  const at = (event: string) => journal.findLast((candidate) => candidate.event === event)?.atMs ?? null;
  const streamingAtMs = at("copied");
  if (streamingAtMs === null) throw new Error(`${answers.tenant}: no copied in the journal`);
  const rows = rowsCopied(answers.status as StatusJson);
  return {
    streamingAtMs,
    attemptAtMs: at("attempt"),
    copyRowsPerSecond: (rows * 1000) / Math.max(1, streamingAtMs - answers.startMarkAtMs),
  };
}

/** Why a command did not do what it was asked to, with the product's own remedy. */
export function failureText({ code, json, text }: CommandResult): string {
  const answer = (json ?? {}) as {
    error?: { message: string; remedy?: string; facts?: { findings?: FindingJson[] } };
    findings?: FindingJson[];
    reason?: string | null;
  };
  const findings = answer.findings ?? answer.error?.facts?.findings;
  if (Array.isArray(findings)) {
    const errors = findings.filter(({ severity }) => severity === "error");
    return errors.map(({ subject, finding, remedy }) => `${subject}: ${finding}\n  ${remedy}`).join("\n");
  }
  if (answer.error !== undefined) return `${answer.error.message}\n${answer.error.remedy ?? ""}`.trimEnd();
  return answer.reason ?? (text === "" ? `exit code ${code}` : text);
}
