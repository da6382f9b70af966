import type { FaultKind } from "./planter.ts";

/** Of the column that a fault is in; of any other fault its own name. */
export const typeOf = ({ what }: { readonly what: string }): string => what.split(": ")[0] ?? "";

/** First one kind of each type, then the second one of each, and so on. */
export function evenly(kinds: readonly FaultKind[]): readonly FaultKind[] {
  const byType = Map.groupBy(kinds, typeOf);
  const most = Math.max(...[...byType.values()].map(({ length }) => length));
  return Array.from({ length: most }, (_, i) => [...byType.values()].flatMap((of) => of.slice(i, i + 1))).flat();
}
