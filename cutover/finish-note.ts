import type { FinishStatus } from "./move-service.ts";

/** A row of the source that is left: KeyBytes in base64, by the forward lane's table. */
export type LeftRow = { readonly table: string; readonly key: string };

/** Kept with the move: how far `dray finish` is, so that it goes on after a crash. */
export type FinishNote = {
  readonly by: string;
  readonly stage: FinishStatus["stage"];
  /** A person answers for what was not compared. */
  readonly accepted: boolean;
  readonly removed: Readonly<Record<string, number>>;
  /** Found by the last comparison: rows of the source that the tenant's new home does not have. */
  readonly extra: readonly LeftRow[];
  /** By table and key, once the removal is done; the first of them. */
  readonly left: readonly string[];
  /** All of them, by table. */
  readonly rowsLeft: Readonly<Record<string, number>>;
  readonly reason: string | null;
};

export function finishStatus(note: FinishNote | null): FinishStatus | null {
  if (note === null) return null;
  const { stage, removed, left, rowsLeft, reason } = note;
  return { stage, rowsRemoved: removed, left, rowsLeft, reason };
}
