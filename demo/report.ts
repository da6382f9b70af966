import type { CheckResult } from "./check.ts";
import type { LedgerEntry } from "./ledger.ts";

/** When, by the wall clock of this machine, the product said it was where with one tenant. */
export interface MoveTimes {
  readonly tenant: string;
  /** The source committed the start mark: the lane's history begins. */
  readonly startMarkAtMs: number;
  /** The source committed the mark that ends the last chunk. */
  readonly lastChunkAtMs: number;
  /** The last chunk is in the target: from here on only the stream. */
  readonly streamingAtMs: number;
  /** The cutover began: the fence may be there from now on. */
  readonly cutoverAtMs: number;
}

export interface Report {
  readonly log: "embedded" | "kafka";
  readonly rows: number;
  readonly copy_rows_per_s: number;
  readonly lag_at_gate_s: number;
  readonly pause_ms: number;
  readonly app_pause_ms: number;
  readonly steps: Readonly<Record<string, number>>;
  readonly acknowledged_writes: number;
  readonly unknown_writes: number;
  readonly lost_writes: number;
  readonly differences: number;
  readonly neighbours_changed: number;
  readonly seconds: number;
}

/** The application's own view: its last write at the source to its first at the target. NaN where one is missing. */
export function appPauseMs(ledger: readonly LedgerEntry[], tenant: string): number {
  let last = Number.NEGATIVE_INFINITY;
  let first = Number.POSITIVE_INFINITY;
  for (const { tenant: owner, side, stray, acknowledgedAtMs } of ledger) {
    if (owner !== tenant || stray || acknowledgedAtMs === null) continue;
    if (side === "source") last = Math.max(last, acknowledgedAtMs);
    else first = Math.min(first, acknowledgedAtMs);
  }
  const pause = first - last;
  return Number.isFinite(pause) ? pause : Number.NaN;
}

export const MIN_SHARE_OF_PACE = 0.8;
export const MIN_WHILE_COPYING = 20;
export const MIN_WHILE_STREAMING = 100;
export const MIN_AFTER_SWITCH = 100;

/** Why the run proves too little: too few writes, in all or of the tenant in one of the three stretches. */
export function weaknesses(options: {
  readonly ledger: readonly LedgerEntry[];
  readonly moves: readonly MoveTimes[];
  readonly tps: number;
  readonly seconds: number;
}): string[] {
  const found: string[] = [];
  const acknowledged = options.ledger.filter((entry) => entry.acknowledgedAtMs !== null && !entry.stray);
  const least = MIN_SHARE_OF_PACE * options.tps * options.seconds;
  if (acknowledged.length < least) {
    found.push(`${acknowledged.length} writes acknowledged, less than 80% of the pace (${Math.ceil(least)})`);
  }
  for (const { tenant, startMarkAtMs, lastChunkAtMs, streamingAtMs, cutoverAtMs } of options.moves) {
    const own = acknowledged.filter((entry) => entry.tenant === tenant);
    const source = own.filter((entry) => entry.side === "source");
    const between = (from: number, to: number) =>
      source.filter(
        ({ acknowledgedAtMs }) => acknowledgedAtMs !== null && acknowledgedAtMs >= from && acknowledgedAtMs < to,
      ).length;
    const stretches = [
      ["between start mark and last chunk", between(startMarkAtMs, lastChunkAtMs), MIN_WHILE_COPYING],
      ["while streaming", between(streamingAtMs, cutoverAtMs), MIN_WHILE_STREAMING],
      ["after the switch", own.length - source.length, MIN_AFTER_SWITCH],
    ] as const;
    for (const [name, count, min] of stretches) {
      if (count < min) found.push(`${tenant}: ${count} acknowledged writes ${name}, fewer than ${min}`);
    }
  }
  return found;
}

/** 1: something is wrong with the data. 3: too few writes to prove anything. 0: all well. */
export function exitCode(result: CheckResult, weak: readonly string[]): 0 | 1 | 3 {
  const { lostWrites, differences, neighboursChanged, strays } = result;
  if (lostWrites !== 0 || differences !== 0 || neighboursChanged !== 0 || strays !== 0) return 1;
  return weak.length > 0 ? 3 : 0;
}
