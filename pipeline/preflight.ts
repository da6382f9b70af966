import { isDrayError } from "./errors.ts";

export type Severity = "error" | "warning" | "info";

/** One thing that preflight or the gate has found. An error refuses; nothing here ever holds a row's value but keys. */
export type Finding = {
  /** Of the check, kebab-case: `mysql.binlog-format`. */
  readonly id: string;
  readonly severity: Severity;
  /** Whose: a server, table, variable or account, with its side: `source app.orders`. */
  readonly subject: string;
  /** A sentence with the measured value. */
  readonly finding: string;
  readonly remedy: string;
  /** Complete statements, in order, that the operator may run as they stand; `fixOn` says where. */
  readonly fixSql?: readonly string[];
  readonly fixOn?: string;
  /** The rule that asks for it: `M2`. */
  readonly rule: string;
};

/** rollback: preflight of the way back, with the roles swapped; only what could stand in its way is asked. */
export type CheckTime = "preflight" | "gate" | "rollback";

/** A check is data: it has no state, and says what it found instead of throwing. */
export type Check<Context> = {
  readonly id: string;
  readonly rule: string;
  readonly when: readonly CheckTime[];
  run(context: Context, signal: AbortSignal): Promise<readonly Finding[]>;
};

/**
 * Every check in order, all findings at once: an operator mends everything in one go. A check that could not be run is
 * itself an error, as what is unknown counts as no; only the signal ends it early.
 */
export async function runChecks<Context>(
  checks: readonly Check<Context>[],
  context: Context,
  options: { readonly when: CheckTime; readonly signal: AbortSignal },
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const check of checks) {
    if (!check.when.includes(options.when)) continue;
    options.signal.throwIfAborted();
    try {
      findings.push(...(await check.run(context, options.signal)));
    } catch (error) {
      if (options.signal.aborted) throw error;
      findings.push(couldNotRun(check, error));
    }
  }
  return findings;
}

export function hasErrors(findings: readonly Finding[]): boolean {
  return findings.some((finding) => finding.severity === "error");
}

function couldNotRun(check: { readonly id: string; readonly rule: string }, error: unknown): Finding {
  const server = error instanceof Error && "server" in error ? String(error.server) : "preflight";
  const known = [error, error instanceof Error ? error.cause : null].find((candidate) => isDrayError(candidate));
  return {
    id: check.id,
    severity: "error",
    subject: server,
    finding: `The check could not be run: ${error instanceof Error ? error.message : String(error)}`,
    remedy: preflightRemedy(known),
    rule: check.rule,
  };
}

const MEND = "Mend what the message names (a grant, a definition, a setting), then run preflight again.";

/** What an error's own remedy says of a move does not hold here: there is none yet, and preflight tries nothing twice. */
export function preflightRemedy(error: unknown): string {
  if (!isDrayError(error)) return MEND;
  const { retry, remedy } = error.problem;
  if (retry === "backoff") {
    return "Preflight does not try again by itself: see that the named server runs, answers at this address and takes statements, then run preflight again.";
  }
  return /`dray (?:retry|recopy|skip|resume)/.test(remedy) ? MEND : remedy;
}
