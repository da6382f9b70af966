import type { CheckResult } from "./check.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { DemoOptions } from "./options.ts";
import type { DriveResult } from "./product-answers.ts";
import { appPauseMs, type Report } from "./report.ts";

/** Of several tenants the longest pauses are shown, the steps of the longest first one, and the slowest copy. */
export function makeReport(about: {
  readonly options: DemoOptions;
  readonly moves: readonly DriveResult[];
  readonly seconds: number;
  readonly result: CheckResult;
  readonly ledger: readonly LedgerEntry[];
}): Report {
  const { options, moves, result, ledger } = about;
  const cutovers = moves.flatMap(({ switches }) => switches.slice(0, 1));
  const longest = cutovers.toSorted((a, b) => b.pauseMs - a.pauseMs)[0];
  const pause = (index: number) =>
    most(moves.flatMap(({ switches }) => switches.slice(index, index + 1)).map(({ pauseMs }) => pauseMs));
  const appPause = (index: number) =>
    most(moves.filter(({ switches }) => switches.length > index).map((move) => appPauseMs(ledger, move, index)));
  return {
    log: options.log,
    rows: options.rows,
    copy_rows_per_s: Math.round(Math.min(...moves.map((move) => move.copyRowsPerSecond))),
    verified_rows: moves.reduce((sum, { verifiedRows }) => sum + verifiedRows, 0),
    lag_at_gate_s: cutovers.length === 0 ? null : Math.max(...cutovers.map(({ lagAtGateSeconds }) => lagAtGateSeconds)),
    pause_ms: pause(0),
    app_pause_ms: appPause(0),
    steps: Object.fromEntries(Object.entries(longest?.steps ?? {}).map(([step, ms]) => [step, round(ms)])),
    rollback_pause_ms: pause(1),
    rollback_app_pause_ms: appPause(1),
    second_pause_ms: pause(2),
    acknowledged_writes: result.acknowledgedWrites,
    unknown_writes: result.unknownWrites,
    lost_writes: result.lostWrites,
    differences: result.differences,
    neighbours_changed: result.neighboursChanged,
    seconds: round(about.seconds),
  };
}

const most = (values: readonly number[]): number | null => (values.length === 0 ? null : round(Math.max(...values)));
const round = (value: number): number => Math.round(value * 10) / 10;
