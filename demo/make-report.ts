import type { CheckResult } from "./check.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { DemoOptions } from "./options.ts";
import type { DriveResult } from "./product-answers.ts";
import { appPauseMs, type Report } from "./report.ts";

/** Of several cutovers the one with the longest pause is shown, and the slowest copy. */
export function makeReport(about: {
  readonly options: DemoOptions;
  readonly moves: readonly DriveResult[];
  readonly seconds: number;
  readonly result: CheckResult;
  readonly ledger: readonly LedgerEntry[];
}): Report {
  const { options, moves, result, ledger } = about;
  const longest = moves.toSorted((a, b) => b.pauseMs - a.pauseMs)[0];
  if (longest === undefined) throw new Error("nothing was moved");
  return {
    log: options.log,
    rows: options.rows,
    copy_rows_per_s: Math.round(Math.min(...moves.map((move) => move.copyRowsPerSecond))),
    lag_at_gate_s: Math.max(...moves.map((move) => move.lagAtGateSeconds)),
    pause_ms: round(longest.pauseMs),
    app_pause_ms: round(Math.max(...moves.map((move) => appPauseMs(ledger, move.tenant)))),
    steps: Object.fromEntries(Object.entries(longest.steps).map(([step, ms]) => [step, round(ms)])),
    acknowledged_writes: result.acknowledgedWrites,
    unknown_writes: result.unknownWrites,
    lost_writes: result.lostWrites,
    differences: result.differences,
    neighbours_changed: result.neighboursChanged,
    seconds: round(about.seconds),
  };
}

const round = (value: number): number => Math.round(value * 10) / 10;
