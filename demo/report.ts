import type { CheckResult, SwitchTime } from "./check.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { Side } from "./schema.ts";

/** When, by the wall clock of this machine, the product said it was where with one tenant. */
export interface MoveTimes {
  readonly tenant: string;
  /** The source committed the start mark: the lane's history begins. */
  readonly startMarkAtMs: number;
  /** The source committed the mark that ends the last chunk. */
  readonly lastChunkAtMs: number;
  /** The last chunk is in the target: from here on only the stream. */
  readonly streamingAtMs: number;
  /** The first cutover began: the fence may be there from now on. */
  readonly cutoverAtMs: number;
  /** Those that were carried out, in order. */
  readonly switches: readonly SwitchTime[];
  /** Finishing was asked for; null where the move ends before. */
  readonly finishAtMs: number | null;
}

/** Of what was not reached, as the run ended before, there is null. */
export interface Report {
  readonly log: "embedded" | "kafka";
  readonly rows: number;
  readonly copy_rows_per_s: number;
  /** Compared by the product while the tenant was written to, before the gate was asked. */
  readonly verified_rows: number;
  readonly lag_at_gate_s: number | null;
  readonly pause_ms: number | null;
  readonly app_pause_ms: number | null;
  readonly steps: Readonly<Record<string, number>>;
  readonly rollback_pause_ms: number | null;
  readonly rollback_app_pause_ms: number | null;
  /** Of the way forward again. */
  readonly second_pause_ms: number | null;
  readonly acknowledged_writes: number;
  readonly unknown_writes: number;
  readonly lost_writes: number;
  readonly differences: number;
  readonly neighbours_changed: number;
  readonly seconds: number;
}

/** Writes of one tenant at a side that a switch led to, or at the other, from that switch until the next was asked for. */
function around(ledger: readonly LedgerEntry[], move: Pick<MoveTimes, "tenant" | "switches">, index: number) {
  const { to, askedAtMs } = move.switches[index] ?? { to: "target", askedAtMs: Number.POSITIVE_INFINITY };
  const fromMs = move.switches[index - 1]?.askedAtMs ?? Number.NEGATIVE_INFINITY;
  const untilMs = move.switches[index + 1]?.askedAtMs ?? Number.POSITIVE_INFINITY;
  const [before, after]: [number[], number[]] = [[], []];
  for (const { tenant, side, stray, acknowledgedAtMs: atMs } of ledger) {
    if (tenant !== move.tenant || stray || atMs === null) continue;
    if (side === to && atMs >= askedAtMs && atMs < untilMs) after.push(atMs);
    if (side !== to && atMs >= fromMs && atMs < untilMs) before.push(atMs);
  }
  return { before, after };
}

/** The application's own view of a switch: its last write at the old home to its first at the new. NaN where one is missing. */
export function appPauseMs(
  ledger: readonly LedgerEntry[],
  move: Pick<MoveTimes, "tenant" | "switches">,
  index: number,
): number {
  const { before, after } = around(ledger, move, index);
  const last = before.reduce((most, atMs) => Math.max(most, atMs), Number.NEGATIVE_INFINITY);
  const first = after.reduce((least, atMs) => Math.min(least, atMs), Number.POSITIVE_INFINITY);
  const pause = first - last;
  return Number.isFinite(pause) ? pause : Number.NaN;
}

export const MIN_SHARE_OF_PACE = 0.8;
export const MIN_WHILE_COPYING = 20;
export const MIN_WHILE_STREAMING = 100;
export const MIN_AFTER_SWITCH = 100;
export const MIN_AFTER_FINISH = 20;
const SWITCH_NAMES = ["cutover", "rollback", "second cutover"] as const;
export type SwitchName = (typeof SWITCH_NAMES)[number];
/** Of the switches of one move, by their order. */
export function switchName(index: number): SwitchName {
  return SWITCH_NAMES[index] ?? "second cutover";
}

/** Why the run proves too little: too few writes, in all or of the tenant in one of its stretches. */
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
  for (const move of options.moves) {
    const { tenant, startMarkAtMs, lastChunkAtMs, streamingAtMs, cutoverAtMs, finishAtMs } = move;
    const own = acknowledged.filter((entry) => entry.tenant === tenant);
    const between = (side: Side, from: number, to: number) =>
      own.filter(({ side: at, acknowledgedAtMs: atMs }) => at === side && atMs !== null && atMs >= from && atMs < to)
        .length;
    const stretches: (readonly [string, number, number])[] = [
      ["between start mark and last chunk", between("source", startMarkAtMs, lastChunkAtMs), MIN_WHILE_COPYING],
      ["while streaming", between("source", streamingAtMs, cutoverAtMs), MIN_WHILE_STREAMING],
    ];
    for (const index of move.switches.keys()) {
      stretches.push([`after the ${switchName(index)}`, around(own, move, index).after.length, MIN_AFTER_SWITCH]);
    }
    if (finishAtMs !== null) {
      stretches.push(["from the finish on", between("target", finishAtMs, Number.POSITIVE_INFINITY), MIN_AFTER_FINISH]);
    }
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
