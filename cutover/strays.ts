import type { Change } from "../pipeline/entry.ts";

/** A row that was written at a side that the tenant had left. */
export type StrayRow = {
  readonly lane: string;
  /** As the lane's source names it. */
  readonly table: string;
  /** KeyBytes in base64. */
  readonly key: string;
};

/** More than these are not remembered one by one; `dray finish` is then refused. */
export const MOST_STRAYS = 1_000;

/** Each row once. Null: what the lane had told as stray went its way after all. */
export function straysWith(
  known: readonly StrayRow[],
  lane: string,
  changes: readonly Change[] | null,
): readonly StrayRow[] {
  if (changes === null) return known.filter((stray) => stray.lane !== lane);
  const name = ({ lane: of, table, key }: StrayRow) => `${of} ${table} ${key}`;
  const all = new Map(known.map((stray) => [name(stray), stray]));
  for (const { table, key } of changes) {
    if (all.size >= MOST_STRAYS) break;
    const stray = { lane, table, key: Buffer.from(key).toString("base64") };
    all.set(name(stray), stray);
  }
  return [...all.values()];
}
