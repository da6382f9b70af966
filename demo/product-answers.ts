import { count } from "./narrator.ts";
import type { CommandResult } from "./product.ts";
import type { MoveTimes } from "./report.ts";

/** All that the demo knows of the fields of the product's answers. */

/** What one tenant's move was like, as the product says. */
export interface DriveResult extends MoveTimes {
  readonly copyRowsPerSecond: number;
  readonly lagAtGateSeconds: number;
  readonly pauseMs: number;
  /** Milliseconds per step of the cutover. */
  readonly steps: Readonly<Record<string, number>>;
}

type TableJson = { rowsCopied: number; rowsEstimated: number | null };
type LaneJson = {
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
type LogJson = { seq: number; kind: string; tables: Record<string, string>; committedAtMs: number }[];
type FindingJson = { severity: string; subject: string; finding: string; remedy: string };

export interface StatusFacts {
  readonly phase: string;
  readonly progress: string;
  readonly problem: string | null;
  readonly alarms: readonly string[];
  /** An alarm that comes again is one alarm with a higher number. */
  readonly alarmsRaised: number;
}

export function readStatus(json: unknown): StatusFacts {
  const status = json as StatusJson;
  const sum = (of: (lane: LaneJson) => number): number => status.lanes.reduce((total, lane) => total + of(lane), 0);
  const estimated = sum(({ tables }) => tables.reduce((total, table) => total + (table.rowsEstimated ?? 0), 0));
  const copied = rowsCopied(status);
  // The server's guess may be far too low; one that has been passed says nothing any more.
  const of = status.phase === "copying" && estimated > copied ? ` of about ${count(estimated)}` : "";
  const parts = [`${count(copied)}${of} rows copied`];
  if (status.phase === "copying") {
    parts.push(`${count(sum(({ rowsPerSecond }) => rowsPerSecond))} rows/s`);
    const eta = status.lanes[0]?.etaSeconds;
    if (eta !== null && eta !== undefined) parts.push(`about ${Math.ceil(eta)} s left`);
  }
  const lag = status.lanes[0]?.lagSeconds;
  if (lag !== null && lag !== undefined) parts.push(`the target is ${lag.toFixed(3)} s behind`);
  const waiting = status.lanes.flatMap((lane) => lane.waiting);
  if (waiting.length > 0) parts.push(`waiting: ${waiting.join("; ")}`);
  return {
    phase: status.phase,
    progress: parts.join(", "),
    problem: status.problem === null ? null : `${status.problem.message} ${status.problem.remedy}`,
    alarms: status.alarms.map(
      ({ code, message, times }) => `${code} ${message}${times > 1 ? ` (${times} times)` : ""}`,
    ),
    alarmsRaised: status.alarms.reduce((total, { times }) => total + times, 0),
  };
}

const rowsCopied = (status: StatusJson): number =>
  status.lanes.flatMap((lane) => lane.tables).reduce((sum, table) => sum + table.rowsCopied, 0);

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

export function readResult(answers: {
  readonly tenant: string;
  readonly startMarkAtMs: number;
  readonly lastChunkAtMs: number;
  readonly status: unknown;
  readonly cutover: unknown;
  readonly journal: unknown;
}): DriveResult {
  const { tenant, startMarkAtMs, lastChunkAtMs } = answers;
  const cutover = answers.cutover as CutoverJson;
  const journal = answers.journal as JournalJson;
  if (cutover.pauseMs === null) throw new Error(`${tenant}: the cutover names no pause`);
  const at = (event: string): number => {
    const entry = journal.findLast((candidate) => candidate.event === event);
    if (entry === undefined) throw new Error(`${tenant}: no ${event} in the journal`);
    return entry.atMs;
  };
  const lag = cutover.gate.filter(({ name }) => name.endsWith(" lag")).map(({ value }) => Number.parseFloat(value));
  if (lag.length === 0) throw new Error(`${tenant}: the gate names no lag`);
  const copiedAtMs = at("copied");
  return {
    tenant,
    startMarkAtMs,
    lastChunkAtMs,
    streamingAtMs: copiedAtMs,
    cutoverAtMs: at("attempt"),
    copyRowsPerSecond: (rowsCopied(answers.status as StatusJson) * 1000) / Math.max(1, copiedAtMs - startMarkAtMs),
    lagAtGateSeconds: Math.max(...lag),
    pauseMs: cutover.pauseMs,
    steps: Object.fromEntries(cutover.steps.map(({ step, tookMs }) => [step, tookMs])),
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
