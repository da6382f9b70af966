/** What a check of a file or a schema found. All findings are told at once, each with its place and what to do (K4). */
export type Finding = {
  /** error: refused. warning: goes on, but somebody should know. */
  readonly severity: "error" | "warning";
  /** `file:line:column`, or a cluster, schema or table by name. */
  readonly place: string;
  readonly message: string;
  readonly remedy: string;
};

export function hasErrors(findings: readonly Finding[]): boolean {
  return findings.some((finding) => finding.severity === "error");
}

export function formatFinding(finding: Finding): string {
  return `${finding.place}: ${finding.severity}: ${finding.message}\n    ${finding.remedy}`;
}
