import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Act, VerifiedModel } from "./verified-model.ts";

const RUNS = Number(process.env["RUNS"] ?? 3_000);
const seed = process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) };

/** Weighted by repetition. */
const KINDS: readonly Act["kind"][] = [
  ...(["change", "change", "change", "change", "begin-range", "begin-range", "begin-range"] as const),
  ...(["end", "end", "end", "end", "begin-keys", "begin-keys", "plant", "plant"] as const),
  ...(["ask", "ask", "ask", "recheck", "repair", "save", "crash", "recopy", "restart"] as const),
];
const act = fc.record({ kind: fc.constantFrom(...KINDS), a: fc.nat(10_000), b: fc.nat(10_000) });

describe("V2: whatever happens in whatever order, no change of a compared key goes unnoticed", () => {
  test.each([
    ["keys with an order", true, 100],
    ["keys without one", false, 100],
    ["keys with an order, and more differences than are kept by name", true, 3],
    ["keys without one, and more differences than are kept by name", false, 3],
  ])("%s", (_name, ordered, mostDifferences) => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60, size: "max" }), (acts) => {
        const model = new VerifiedModel(ordered, mostDifferences);
        for (const [i, each] of acts.entries()) {
          model.act(each);
          expect(model.problems(), `behind step ${i}, ${each.kind}`).toEqual([]);
        }
        model.settle();
        expect([...model.problems(), ...model.settledProblems()]).toEqual([]);
      }),
      { numRuns: RUNS, ...seed },
    );
  });
});
