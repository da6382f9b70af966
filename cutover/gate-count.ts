import type { LaneCount } from "./lane/lane-runtime.ts";

export type TableVerdict = {
  readonly table: string;
  readonly source: number;
  readonly target: number;
  /** What source minus target may be: the tenant's changes between the two counts. */
  readonly least: number;
  readonly most: number;
  readonly fits: "yes" | "no";
};

/**
 * The source was counted somewhere between two marks, the target at exactly the first one. Between them the tenant's
 * changes deleted and inserted known numbers of rows, so that the difference has bounds; 0 where nothing happened.
 */
export function judgeCount(count: LaneCount): readonly TableVerdict[] {
  return Object.keys(count.atSource).map((table) => {
    const source = count.atSource[table] ?? 0;
    const target = count.atTarget[table] ?? Number.NaN; // a table that was not counted never fits
    const before = count.before[table];
    const after = count.after[table];
    const least = (before?.delete ?? 0) - (after?.delete ?? 0);
    const most = (after?.insert ?? 0) - (before?.insert ?? 0);
    const difference = source - target;
    return { table, source, target, least, most, fits: difference >= least && difference <= most ? "yes" : "no" };
  });
}
