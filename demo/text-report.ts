import type { CheckResult } from "./check.ts";
import type { DriveResult } from "./drive.ts";
import type { LedgerEntry } from "./ledger.ts";
import { appPauseMs, type Report } from "./report.ts";
import type { Damage } from "./sabotage.ts";

const FINDINGS_SHOWN = 20;

/** For people: timelines, what the check saw, and each row that is not as it must be. */
export function printReport(options: {
  readonly report: Report;
  readonly result: CheckResult;
  readonly weak: readonly string[];
  readonly damage: Damage | null;
  readonly moves: readonly DriveResult[];
  readonly ledger: readonly LedgerEntry[];
  readonly say: (text: string) => void;
}): void {
  const { report, result, moves, ledger, say } = options;
  for (const move of moves) {
    say(`cutover of ${move.tenant}, in milliseconds:`);
    for (const [step, ms] of Object.entries(move.steps)) say(`  ${step.padEnd(16)} ${ms.toFixed(1).padStart(9)}`);
    say(`  ${"pause".padEnd(16)} ${move.pauseMs.toFixed(1).padStart(9)}`);
    const seen = appPauseMs(ledger, move.tenant);
    say(
      `  ${"seen by the app".padEnd(16)} ${seen.toFixed(1).padStart(9)}  last write at the source to first at the target`,
    );
  }
  const { expected, found } = result.movedRows;
  say(`${result.rowsCompared.toLocaleString("en")} rows compared; moved: ${found} found, ${expected} expected`);
  say(
    `${report.acknowledged_writes} acknowledged writes in ${report.seconds} s, ${report.unknown_writes} of unknown outcome; ` +
      `${report.lost_writes} lost, ${report.differences} differences, ${report.neighbours_changed} neighbours changed, ` +
      `${result.strays} strays`,
  );
  for (const { kind, side, table, key, tenant, detail } of result.findings.slice(0, FINDINGS_SHOWN)) {
    say(`${kind}: ${table} ${key} of ${tenant} on the ${side}: ${detail}`);
  }
  const more = result.findings.length - FINDINGS_SHOWN;
  if (more > 0) say(`and ${more} more`);
  for (const reason of options.weak) say(`too little to prove anything: ${reason}`);
  const { damage } = options;
  if (damage === null) return;
  const isNamed = result.findings.some(
    ({ side, table, key }) => side === damage.side && table === damage.table && key === damage.key,
  );
  say(`the damaged row ${damage.table} ${damage.key} was ${isNamed ? "found and named" : "NOT FOUND"}`);
}
