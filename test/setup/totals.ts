import { SKIPPED_FOR_WANT } from "./skipped.ts";

/** What is read of vitest's JSON report. */
export type Report = {
  readonly success: boolean;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
};

export type Totals = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What counts as failed though no test did: each is one of `failed`. */
  readonly problems: readonly string[];
};

/**
 * Totals of a run. A test file that did not run, a suite in which nothing ran, and errors outside of any test count as
 * failures: each would otherwise look like success.
 *
 * @param expected the test files that should have run, by the same paths as the report's
 */
export function totals(
  report: Report | null,
  expected: readonly string[],
  options: { readonly exitCode: number | null; readonly byName: boolean },
): Totals {
  if (report === null) return { passed: 0, failed: 1, skipped: 0, problems: ["the test runner left no report"] };
  const problems: string[] = [];
  const all = report.testResults.flatMap((file) => file.assertionResults);
  const count = (...states: string[]) => all.filter(({ status }) => states.includes(status)).length;
  const ran = new Set(report.testResults.map(({ name }) => name));
  for (const file of expected) if (!ran.has(file)) problems.push(`${file}: was not run`);
  for (const { name, status, message, assertionResults: tests } of report.testResults) {
    const failed = tests.some((test) => test.status === "failed");
    if (status === "failed" && !failed) problems.push(`${name}: ${message || "failed outside of its tests"}`);
    else if (tests.length === 0) problems.push(`${name}: has no test`);
    // A filter by test name leaves whole files idle on purpose.
    else if (!options.byName && tests.every(isIdle)) problems.push(`${name}: none of its tests ran`);
  }
  const failedTests = count("failed");
  if (options.exitCode !== 0 && failedTests + problems.length === 0) {
    problems.push(
      `the test runner ended with ${options.exitCode ?? "a signal"}: an error outside of any test, shown above`,
    );
  }
  return {
    passed: count("passed"),
    failed: failedTests + problems.length,
    skipped: count("pending", "skipped", "todo", "disabled"),
    problems,
  };
}

function isIdle({ status, fullName }: { readonly status: string; readonly fullName: string }): boolean {
  return status !== "passed" && status !== "failed" && !fullName.includes(SKIPPED_FOR_WANT);
}

export function lastLine({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
