/** What a check of a file found. All findings are told at once, each with its place and what to do. */
export type FileFinding = {
  /** error: refused. warning: goes on, but somebody should know. */
  readonly severity: "error" | "warning";
  /** `file:line:column`, or the file and the cluster's schema and table. */
  readonly place: string;
  readonly message: string;
  readonly remedy: string;
};

export function refuses(findings: readonly FileFinding[]): boolean {
  return findings.some((finding) => finding.severity === "error");
}
