#!/usr/bin/env node
// Plain JavaScript, so that a Node which is too old gets as far as the line that says so.
import { existsSync } from "node:fs";
import * as nodeModule from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

const needed = 24;
if (Number(process.versions.node.split(".")[0]) < needed) {
  process.stderr.write(
    `dray needs Node ${needed} or later and this is ${process.version}: install Node ${needed} and run it again\n`,
  );
  process.exit(2);
}

// Known and harmless, and nothing the operator could act on.
const quiet = new Set(["ExperimentalWarning", "TimeoutNegativeWarning"]);
const emitWarning = process.emitWarning;
process.emitWarning = (warning, ...rest) => {
  const name = typeof rest[0] === "string" ? rest[0] : rest[0]?.type;
  if (!quiet.has(name)) emitWarning.call(process, warning, ...rest);
};

// Compiled once and read from then on: half the time of a start, and a quarter less memory. Without it dray runs too.
// Threads go by the variable.
process.env.NODE_COMPILE_CACHE ||= join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "drayage", "node");
nodeModule.enableCompileCache(process.env.NODE_COMPILE_CACHE);

// Only a checkout has the TypeScript; there it is the truth, whatever a build has left behind.
const source = new URL("../cli/main.ts", import.meta.url);
const packed = new URL("../dist/cli/main.js", import.meta.url);
const { main } = await import(existsSync(source) ? source.href : packed.href);
process.exitCode = await main(process.argv.slice(2));
