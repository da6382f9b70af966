import { APPLY_PROBLEMS } from "./problems/apply.ts";
import { CAPTURE_PROBLEMS } from "./problems/capture.ts";
import { CONTROL_PROBLEMS } from "./problems/control.ts";
import { CUTOVER_PROBLEMS } from "./problems/cutover.ts";
import { FAILOVER_PROBLEMS } from "./problems/failover.ts";
import { LOG_PROBLEMS } from "./problems/log.ts";
import { MYSQL_PROBLEMS } from "./problems/mysql.ts";
import type { Problem } from "./problems/problem.ts";
import { SIDE_PROBLEMS } from "./problems/sides.ts";

/** Every error an operator can meet, by its code: whether trying again can help, and what to do. */
export const PROBLEMS = {
  ...LOG_PROBLEMS,
  ...APPLY_PROBLEMS,
  ...CONTROL_PROBLEMS,
  ...SIDE_PROBLEMS,
  ...CUTOVER_PROBLEMS,
  ...FAILOVER_PROBLEMS,
  ...CAPTURE_PROBLEMS,
  ...MYSQL_PROBLEMS,
} as const;

export type ErrorCode = keyof typeof PROBLEMS;

export class DrayError extends Error {
  readonly code: ErrorCode;
  /** Ids, names, positions, limits, counts, as JSON holds them: they are journalled. Never secrets, never row values. */
  readonly facts: Readonly<Record<string, unknown>>;
  constructor(code: ErrorCode, facts: Record<string, unknown> = {}, cause?: unknown) {
    super(`${code} ${describeFacts(facts)}`.trimEnd(), { cause });
    this.name = "DrayError";
    this.code = code;
    this.facts = JSON.parse(stringify(facts)) as Record<string, unknown>;
  }
  get problem(): Problem {
    return PROBLEMS[this.code];
  }
}

export function isDrayError(error: unknown, code?: ErrorCode): error is DrayError {
  return error instanceof DrayError && (code === undefined || error.code === code);
}

function describeFacts(facts: Record<string, unknown>): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : stringify(value)}`)
    .join(" ");
}

function stringify(value: unknown): string {
  return JSON.stringify(value, (_, v) => (typeof v === "bigint" ? v.toString() : v)) ?? "undefined";
}
