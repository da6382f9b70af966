import type { ErrorAnswer, ErrorKind } from "../console/answers.ts";
import { isDrayError } from "../pipeline/errors.ts";
import { ApiError, ServerUnreachable } from "./api-client.ts";
import { EXIT, type ExitCode } from "./command.ts";
import { UsageError } from "./usage-error.ts";

export type ErrorOutcome = {
  readonly exitCode: ExitCode;
  readonly lines: readonly string[];
  readonly json: Readonly<Record<string, unknown>>;
};

const EXIT_OF: Readonly<Record<ErrorKind, ExitCode>> = {
  failed: EXIT.failed,
  usage: EXIT.usage,
  refused: EXIT.refused,
  held: EXIT.held,
  person: EXIT.person,
};

/** What went wrong, for people and for programs, always with what to do. */
export function errorOutcome(error: unknown): ErrorOutcome {
  if (error instanceof ApiError) return ofAnswer(error.answer);
  if (error instanceof UsageError) {
    const json = { code: "USAGE", message: error.message, remedy: "Add --help to see how the command is written." };
    return { exitCode: EXIT.usage, lines: [...error.message.split("\n"), json.remedy], json };
  }
  if (error instanceof ServerUnreachable) {
    const remedy = "Start `dray serve`, or set DRAY_URL or --data-dir to where it runs.";
    const json = { code: "SERVER_UNREACHABLE", message: error.message, remedy, next: ["dray serve"] };
    return { exitCode: EXIT.failed, lines: [error.message, remedy], json };
  }
  // `serve` fails in this process, as the server that it is.
  if (isDrayError(error)) {
    const { code, message, facts, problem } = error;
    return {
      exitCode: EXIT.failed,
      lines: [message, problem.remedy],
      json: { code, message, facts, remedy: problem.remedy },
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { exitCode: EXIT.failed, lines: [message], json: { code: "INTERNAL", message } };
}

function ofAnswer(answer: ErrorAnswer): ErrorOutcome {
  const listed = details(answer);
  const lines = [listed.length > 0 ? answer.code : answer.message, ...listed, answer.remedy];
  if (answer.next.length > 0) lines.push(`next: ${answer.next.join("\n      ")}`);
  return { exitCode: EXIT_OF[answer.kind], lines, json: answer };
}

/** Findings and lists among the facts read better as lines. */
function details({ facts }: ErrorAnswer): string[] {
  const { findings, wrong } = facts;
  if (Array.isArray(wrong)) return wrong.map((each) => `  ${String(each)}`);
  if (!Array.isArray(findings)) return [];
  return findings.flatMap((each: Readonly<Record<string, unknown>>) => {
    const place = String(each["place"] ?? each["subject"] ?? "");
    const severity = String(each["severity"] ?? "error");
    const message = String(each["message"] ?? each["finding"] ?? "");
    return [`  ${place}: ${severity}: ${message}`, `      ${String(each["remedy"] ?? "")}`];
  });
}
