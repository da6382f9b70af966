import type { FileFinding } from "../cutover/move-service.ts";
import { type CommandResult, EXIT } from "./command.ts";

export type FileCheck = {
  readonly findings: readonly FileFinding[];
  /** What is said where there is nothing to mend. */
  readonly good: string;
  readonly next: readonly string[];
};

/** What `config check` and `manifest check` answer: every finding with its place and what to do. */
export function findingsResult({ findings, good, next }: FileCheck): CommandResult {
  const lines = findings.flatMap((finding) => [
    `${finding.place}: ${finding.severity}: ${finding.message}`,
    `    ${finding.remedy}`,
  ]);
  const refused = findings.some((finding) => finding.severity === "error");
  return {
    lines: refused ? lines : [...lines, good],
    json: { passed: !refused, findings },
    next: refused ? [] : next,
    exitCode: refused ? EXIT.refused : EXIT.done,
  };
}
