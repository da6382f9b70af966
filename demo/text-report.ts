import type { CheckResult } from "./check.ts";
import type { ApplicationStats } from "./children.ts";
import type { LedgerEntry } from "./ledger.ts";
import { count } from "./narrator.ts";
import type { DriveResult } from "./product-answers.ts";
import { appPauseMs, type Report, switchName } from "./report.ts";
import type { Damage } from "./sabotage.ts";

const FINDINGS_SHOWN = 20;

/** What each step is for, in the words of somebody who sees it for the first time. */
const STEP_WORDS: Readonly<Record<string, string>> = {
  fence: "the router refuses the tenant's writes; then the grace",
  quiesce: "transactions that had begun before have ended",
  verify: "what changed lately is equal on both sides",
  drain: "a first mark has come through to the target",
  pin: "the fence is confirmed, and expires no more",
  "drain-again": "a second mark; nothing of the tenant came after the first",
  prepare: "marks at the target, from which the way back begins",
  confirm: "the target's failover candidates, where some are named, have everything",
  commit: "the outcome is written: from here only forward",
  route: "the router sends the tenant to the target",
};

/** For people: timelines, what the check saw, and each row that is not as it must be. */
export function printReport(options: {
  readonly report: Report;
  readonly result: CheckResult;
  readonly weak: readonly string[];
  readonly damage: Damage | null;
  readonly moves: readonly DriveResult[];
  readonly ledger: readonly LedgerEntry[];
  readonly application: ApplicationStats;
  readonly say: (text: string) => void;
}): void {
  const { report, result, moves, ledger, say } = options;
  for (const move of moves) printTimeline(move, ledger, say);
  const { refused, staleRollbacks, failed } = sums(options.application);
  say(`the application, in ${report.seconds} s: ${count(report.acknowledged_writes)} writes acknowledged`);
  say(`  ${count(refused)} refusals behind a fence, each tried again after 5 ms`);
  say(
    `  ${count(staleRollbacks)} rolled back, as the router's answer was too old; ${count(failed)} failed and repeated`,
  );
  say(`  ${count(report.unknown_writes)} of unknown outcome, looked up on both sides`);
  const { expected, found } = result.movedRows;
  say(
    `${count(result.rowsCompared)} rows compared; of what was moved ${count(found)} found, ${count(expected)} expected`,
  );
  say(`  ${count(report.lost_writes)} acknowledged writes lost`);
  say(`  ${count(report.differences)} rows differ`);
  say(`  ${count(report.neighbours_changed)} rows of other tenants changed`);
  if (result.strays > 0) say(`  ${result.strays} writes that the source acknowledged behind the fence`);
  for (const { kind, side, table, key, tenant, detail } of result.findings.slice(0, FINDINGS_SHOWN)) {
    say(`${kind}: ${table} ${key} of ${tenant} on the ${side}: ${detail}`);
  }
  const more = result.findings.length - FINDINGS_SHOWN;
  if (more > 0) say(`and ${more} more`);
  for (const reason of options.weak) say(`too little to prove anything: ${reason}`);
  const { damage } = options;
  if (damage === null) return;
  if (moves.some(({ found }) => found.length > 0)) say("the product's own verification found a row that differs");
  const isNamed = result.findings.some(
    ({ side, table, key }) => side === damage.side && table === damage.table && key === damage.key,
  );
  say(`the damaged row ${damage.table} ${damage.key} was ${isNamed ? "found and named" : "NOT FOUND"}`);
}

/** The first switch step by step; those after it are the same steps, in one line each. */
function printTimeline(move: DriveResult, ledger: readonly LedgerEntry[], say: (text: string) => void): void {
  const line = (name: string, ms: number, words: string): void =>
    say(`  ${ms.toFixed(1).padStart(9)} ms  ${name.padEnd(12)} ${words}`.trimEnd());
  for (const [index, { steps, pauseMs }] of move.switches.entries()) {
    say(`the ${switchName(index)} of ${move.tenant}:`);
    if (index === 0) for (const [step, ms] of Object.entries(steps)) line(step, ms, STEP_WORDS[step] ?? "");
    line("pause", pauseMs, "first fence call to last routing answer");
    line(
      "as seen",
      appPauseMs(ledger, move, index),
      "by the application: last write at the old home to first at the new",
    );
  }
}

function sums({ tenants }: ApplicationStats): { refused: number; staleRollbacks: number; failed: number } {
  const sum = { refused: 0, staleRollbacks: 0, failed: 0 };
  for (const { refused, staleRollbacks, failed } of Object.values(tenants)) {
    sum.refused += refused;
    sum.staleRollbacks += staleRollbacks;
    sum.failed += failed;
  }
  return sum;
}
