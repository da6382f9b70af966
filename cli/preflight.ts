import { z } from "zod";
import type { Finding, PreflightReport } from "../cutover/move-service.ts";
import { command, EXIT } from "./command.ts";
import { moveRequest, moveRequestFlags, moveRequestOptions } from "./move-request.ts";

export default command({
  name: "preflight",
  summary: "Checks everything a move needs, and tells all findings at once.",
  options: z.object({
    ...moveRequestOptions,
    fixSql: z.boolean().default(false).describe("Prints nothing but the SQL that mends what SQL can mend"),
  }),
  flags: { ...moveRequestFlags, fixSql: "--fix-sql" },
  async run({ api }, { fixSql, ...request }) {
    const report = await api.post<PreflightReport>("/v1/preflight", moveRequest(request));
    const exitCode = report.passed ? EXIT.done : EXIT.refused;
    if (fixSql) return { lines: sqlLines(report.findings), json: report, next: [], exitCode };
    const shown = report.findings.filter((finding) => finding.severity !== "info");
    const lines = [...shown.flatMap(findingLines), report.passed ? "preflight passed" : "preflight refused"];
    return { lines, json: report, next: report.next, exitCode };
  },
});

function findingLines(finding: Finding): string[] {
  const fix = finding.fixSql === undefined ? [] : finding.fixSql.map((sql) => `    ${sql}`);
  return [
    `${finding.severity}: ${finding.subject}: ${finding.finding} (${finding.rule})`,
    `    ${finding.remedy}`,
    ...fix,
  ];
}

/** Runnable as it stands: what is not SQL is a comment. */
function sqlLines(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ fixSql, fixOn, subject, finding }) => {
    if (fixSql === undefined) return [];
    return [
      `-- ${fixOn === undefined ? subject : `on ${fixOn}: ${subject}`}: ${finding.replaceAll("\n", " ")}`,
      ...fixSql.map(ended),
    ];
  });
}

function ended(sql: string): string {
  return sql.trimEnd().endsWith(";") ? sql : `${sql};`;
}
