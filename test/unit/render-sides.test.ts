import { describe, expect, test } from "vitest";
import { cutoverLines } from "../../cli/render-cutover.ts";
import { verificationLines } from "../../cli/render-verification.ts";
import type { CutoverResult, DifferenceReport, MoveStatus } from "../../cutover/move-service.ts";

/* On the way back the roles of the two sides are swapped: they are told by the clusters' names, whichever way it goes. */
describe("C8: which side is meant", () => {
  const aborted = (direction: "forward" | "reverse") => {
    const attempt = { generation: 3, direction } as MoveStatus["attempt"];
    const status = { move: "it", from: "eu1", to: "eu2", attempt, verification: "", rollback: "" } as MoveStatus;
    const nothing = { gate: [], steps: [], predicted: [], pauseMs: null, reason: null };
    return cutoverLines({ ...nothing, outcome: "aborted", generation: 3, status } satisfies CutoverResult)[0];
  };

  test("an aborted attempt: the tenant works on where it was fenced", () => {
    expect(aborted("forward")).toBe("it: attempt aborted; the tenant works on at eu1 and everything copied is kept");
    expect(aborted("reverse")).toBe("it: attempt aborted; the tenant works on at eu2 and everything copied is kept");
  });

  test("a difference: each value at its cluster, and a row that is missing where it is", () => {
    const back = { lane: "it.db.r2", source: "eu2", target: "eu1", table: "t", key: "id=5", seq: 9, foundAtMs: 0 };
    const differing: DifferenceReport = {
      ...{ ...back, kind: "differing", columns: ["name"] },
      values: { name: { source: "new", target: null } },
    };
    const missing: DifferenceReport = { ...back, kind: "missing", columns: [], values: null };
    expect(verificationLines({ lanes: [], differences: [differing, missing] })).toEqual([
      "  t id=5: differing in name (at seq 9, 1970-01-01T00:00:00.000Z)",
      "    name: new at eu2, NULL at eu1",
      "  t id=5: missing at eu1 (at seq 9, 1970-01-01T00:00:00.000Z)",
    ]);
  });
});
