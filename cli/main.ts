import { readFileSync } from "node:fs";

/** Resolves with the exit code: 0 done, 1 failed, 2 usage. */
export async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === "--version") {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  process.stderr.write("usage: dray --version\n");
  return 2;
}

/** The manifest stands one folder up in a checkout, and two in a package, below dist/. */
export function packageVersion(): string {
  for (const place of ["../package.json", "../../package.json"]) {
    try {
      return (JSON.parse(readFileSync(new URL(place, import.meta.url), "utf8")) as { version: string }).version;
    } catch {
      // Not here: the other place has it.
    }
  }
  return "unknown";
}
