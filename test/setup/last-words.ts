import type { Reporter, TestCase, TestModule } from "vitest/node";

/** Enough of a difference to tell what it is; the whole of it stands above. */
const MAX_LINES = 25;
const MAX_CHARS = 240;

type Failure = { readonly message: string; readonly stack?: string | undefined; readonly diff?: string | undefined };

/**
 * What failed and why: at once, as a run may be cut short, and once more and in short after everything else, all names
 * last. Where only the end of a run's output is kept, it is all there is, and vitest's JSON report leaves out what fails
 * in a hook.
 */
export default class LastWords implements Reporter {
  readonly #names: string[] = [];

  onTestCaseResult(test: TestCase): void {
    const { state, errors } = test.result();
    if (state !== "failed") return;
    for (const error of errors) print(`${test.module.relativeModuleId}: ${test.fullName}`, error);
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const error of module.errors()) this.#repeat(module.relativeModuleId, error);
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) this.#repeat(`${module.relativeModuleId}: ${suite.fullName}`, error);
      }
      for (const test of module.children.allTests("failed")) {
        for (const error of test.result().errors ?? [])
          this.#repeat(`${module.relativeModuleId}: ${test.fullName}`, error);
      }
    }
    for (const name of new Set(this.#names)) console.log(`FAILED ${name}`.slice(0, MAX_CHARS));
  }

  #repeat(place: string, failure: Failure): void {
    this.#names.push(place);
    print(place, failure);
  }
}

function print(place: string, { message, diff, stack }: Failure): void {
  const own = (stack ?? "").split("\n").filter((line) => line.includes("/test/"));
  const lines = [message, ...(diff === undefined ? [] : [diff]), ...own].join("\n").split("\n");
  console.log(`\nFAILED ${place}`);
  for (const line of lines.slice(0, MAX_LINES)) console.log(`  ${line.slice(0, MAX_CHARS)}`);
  if (lines.length > MAX_LINES) console.log(`  … ${lines.length - MAX_LINES} more lines`);
}
