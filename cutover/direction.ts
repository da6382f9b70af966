/** Which way a lane carries and a cutover switches: from the move's `from` to its `to`, or back. */
export type Direction = "forward" | "reverse";

export function opposite(direction: Direction): Direction {
  return direction === "forward" ? "reverse" : "forward";
}

/** Where the tenant lives decides which way the next switch goes. */
export type Side = "from" | "to";

export function wayFrom(side: Side): Direction {
  return side === "from" ? "forward" : "reverse";
}

/** The side that the tenant lives on once a switch this way is committed. */
export function destination(direction: Direction): Side {
  return direction === "forward" ? "to" : "from";
}

const LETTERS: Readonly<Record<Direction, string>> = { forward: "f", reverse: "r" };

/** `<move>.<store>.<f|r><generation>`. */
export function laneName(move: string, store: string, direction: Direction, generation: number): string {
  return `${move}.${store}.${LETTERS[direction]}${generation}`;
}

export function directionOf(lane: string): Direction {
  return /\.r\d+$/.test(lane) ? "reverse" : "forward";
}

/** The clusters that a lane carries from and to, by the names that people know them by. */
export function sidesOf(
  lane: string,
  { from, to }: { readonly from: string; readonly to: string },
): { readonly source: string; readonly target: string } {
  return directionOf(lane) === "forward" ? { source: from, target: to } : { source: to, target: from };
}

/** The one that the lane was opened with. */
export function generationOf(lane: string): number {
  return Number(/\.[fr](\d+)$/.exec(lane)?.[1]);
}
