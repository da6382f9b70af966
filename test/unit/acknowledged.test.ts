import { describe, expect, test } from "vitest";
import { acknowledgedIn } from "../../cutover/acknowledged.ts";
import type { Outcomes } from "../../cutover/commit-point.ts";
import type { Phase } from "../../cutover/phases.ts";
import { isFollowed } from "../../cutover/target-watch.ts";
import type { OutcomeRow } from "../../pipeline/outcome.ts";

const held = (set: string) => ({ store: "db", serverUuid: "u", set });

function committed(generation: number, set: string): OutcomeRow {
  return {
    ...{ generation, outcome: "COMMITTED", homeUuid: "u", facts: { targets: [held(set)] } },
  } as unknown as OutcomeRow;
}

describe("C6: what the target must hold", () => {
  test("is what the switch acknowledged that brought the tenant there, not an earlier one", () => {
    const rows: Outcomes = new Map([
      [1, { home: committed(1, "first"), target: committed(1, "first") }],
      [2, { home: committed(2, "back"), target: committed(2, "back") }],
      [3, { target: committed(3, "third") }],
    ]);
    expect(acknowledgedIn(rows, 3)).toEqual([held("third")]);
    expect(acknowledgedIn(rows, 4)).toEqual([]);
  });

  test("is looked at as long as the tenant serves there, behind an aborted attempt of a move that went back too", () => {
    const back = { lives: { side: "from", generation: 2 }, targets: [held("back")] } as const;
    const there = { lives: { side: "to", generation: 1 }, targets: [held("first")] } as const;
    const never = { lives: { side: "from", generation: 0 }, targets: [] } as const;
    const followed: readonly Phase[] = ["rolled-back", "streaming", "paused", "copying", "failed"];
    for (const phase of followed) expect(isFollowed(phase, back), phase).toBe(true);
    for (const phase of ["aborting", "aborted", "closed"] as const) expect(isFollowed(phase, back), phase).toBe(false);
    for (const phase of ["watching", "finishing"] as const) expect(isFollowed(phase, there), phase).toBe(true);
    for (const phase of ["copying", "streaming", "paused"] as const)
      expect(isFollowed(phase, never), phase).toBe(false);
  });
});
