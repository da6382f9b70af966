import { type FileFinding, refuses } from "../pipeline/file-finding.ts";
import { type Finding, hasErrors } from "../pipeline/preflight.ts";
import type { MoveRequest, PreflightReport } from "./move-service.ts";

export type ReportParts = {
  readonly request: Pick<MoveRequest, "manifestFile" | "tenant" | "from" | "to">;
  readonly file: readonly FileFinding[];
  readonly checks: readonly Finding[];
};

/** Everything that was found, errors first, and what to do next. */
export function preflightReport({ request, file, checks }: ReportParts): PreflightReport {
  const passed = !refuses(file) && !hasErrors(checks);
  const { manifestFile, tenant, from, to } = request;
  const options = [`--manifest`, manifestFile, `--tenant`, tenant, `--from`, from, `--to`, to].map(shellWord).join(" ");
  const fixable = checks.some(({ fixSql }) => fixSql !== undefined && fixSql.length > 0);
  const again = `dray preflight ${options}`;
  return {
    passed,
    findings: [...file.map(ofFile), ...checks].sort((a, b) => rank(a) - rank(b)),
    next: passed ? [`dray start ${options}`] : [...(fixable ? [`${again} --fix-sql`] : []), again],
  };
}

/** As a shell takes it for one word. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function ofFile({ severity, place, message, remedy }: FileFinding): Finding {
  return { id: "manifest", severity, subject: place, finding: message, remedy, rule: "T2" };
}

function rank({ severity }: Finding): number {
  return severity === "error" ? 0 : severity === "warning" ? 1 : 2;
}
