import { describe, expect, test } from "vitest";
import { SKIPPED_FOR_WANT } from "../setup/skipped.ts";
import { lastLine, type Report, totals } from "../setup/totals.ts";

const file = (name: string, ...states: string[]): Report["testResults"][number] => ({
  name,
  status: states.includes("failed") ? "failed" : "passed",
  assertionResults: states.map((status) => ({ status, fullName: `${name} test` })),
});
const report = (...testResults: Report["testResults"][number][]): Report => ({ success: true, testResults });
const plain = { exitCode: 0, byName: false };

describe("totals of a test run", () => {
  test("passed, failed and skipped tests are counted", () => {
    const result = totals(report(file("a", "passed", "passed", "skipped"), file("b", "failed")), ["a", "b"], {
      exitCode: 1,
      byName: false,
    });
    expect(lastLine(result)).toBe("2 passed, 1 failed, 1 skipped");
    expect(result.problems).toEqual([]);
  });

  test("a file that was not run fails", () => {
    expect(totals(report(file("a", "passed")), ["a", "b"], plain)).toMatchObject({
      failed: 1,
      problems: ["b: was not run"],
    });
  });

  test("a suite without a test fails", () => {
    expect(totals(report(file("a")), ["a"], plain).problems).toEqual(["a: has no test"]);
  });

  test("a suite in which nothing ran fails, unless it names the server that it lacks", () => {
    expect(totals(report(file("a", "skipped")), ["a"], plain).problems).toEqual(["a: none of its tests ran"]);
    const wanting = {
      name: "a",
      status: "passed",
      assertionResults: [{ status: "skipped", fullName: `a ${SKIPPED_FOR_WANT} MySQL` }],
    };
    expect(totals(report(wanting), ["a"], plain)).toMatchObject({ failed: 0, skipped: 1 });
  });

  test("a file that does not load fails", () => {
    const broken = { name: "a", status: "failed", message: "SyntaxError", assertionResults: [] };
    expect(totals(report(broken), ["a"], { exitCode: 1, byName: false })).toMatchObject({
      failed: 1,
      problems: ["a: SyntaxError"],
    });
  });

  test("a runner that ends badly though every test passed fails", () => {
    expect(totals(report(file("a", "passed")), ["a"], { exitCode: 1, byName: false })).toMatchObject({
      passed: 1,
      failed: 1,
    });
    expect(totals(report(file("a", "passed")), ["a"], { exitCode: null, byName: false }).failed).toBe(1);
    expect(totals(null, [], plain).failed).toBe(1);
  });
});
