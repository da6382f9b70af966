import type { Reporter, TestModule } from "vitest/node";

/** Enough of a difference to tell what it is; the whole of it stands above. */
const MAX_LINES = 25;

type Failure = { readonly message: string; readonly stack?: string | undefined; readonly diff?: string | undefined };

/**
 * What failed and why, once more and in short after everything else: where only the end of a run's output is kept, it
 * is all there is, and vitest's JSON report leaves out what fails in a hook.
 */
export default class LastWords implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const error of module.errors()) print(module.relativeModuleId, error);
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) print(`${module.relativeModuleId}: ${suite.fullName}`, error);
      }
      for (const test of module.children.allTests("failed")) {
        for (const error of test.result().errors ?? []) print(`${module.relativeModuleId}: ${test.fullName}`, error);
      }
    }
  }
}

function print(place: string, { message, diff, stack }: Failure): void {
  const own = (stack ?? "").split("\n").filter((line) => line.includes("/test/"));
  const lines = [message, ...(diff === undefined ? [] : [diff]), ...own].join("\n").split("\n");
  console.log(`\nFAILED ${place}`);
  for (const line of lines.slice(0, MAX_LINES)) console.log(`  ${line}`);
  if (lines.length > MAX_LINES) console.log(`  … ${lines.length - MAX_LINES} more lines`);
}
