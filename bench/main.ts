import { mkdtempSync, rmSync } from "node:fs";
import { constants, cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { openServers, ServerUnavailable } from "../docker/servers.ts";
import type { BenchRun, Found } from "./bench-run.ts";
import { measureCopy } from "./copy.ts";
import { openHosts } from "./hosts.ts";
import { measureOpening } from "./log-opening.ts";
import { noiseOfOthers } from "./noise.ts";
import { type BenchOptions, benchOptions, type Part, USAGE, UsageError } from "./options.ts";
import { measurePause } from "./pause.ts";
import { lineJson, tableText, verdictOf } from "./report.ts";
import { measureStream } from "./stream.ts";
import { measureVerify } from "./verify.ts";

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** Parts that run together, in their order. */
const MEASURES: readonly { readonly parts: readonly Part[]; readonly measure: (run: BenchRun) => Promise<Found> }[] = [
  { parts: ["copy"], measure: measureCopy },
  { parts: ["verify"], measure: measureVerify },
  { parts: ["drain", "latency"], measure: measureStream },
  { parts: ["pause", "rollback"], measure: measurePause },
  { parts: ["open"], measure: measureOpening },
];

// Children are told at the exit; where a signal ends the process by itself there is none.
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => process.exit(128 + constants.signals[signal]));

/** 0: every required figure was reached. 1: one was missed, or two sides differ. */
async function bench(options: BenchOptions): Promise<0 | 1> {
  const folder = mkdtempSync(join(tmpdir(), "drayage-bench-"));
  const noise = await noiseOfOthers();
  say(`seed ${options.seed}; load average ${noise.load.toFixed(2)}`);
  for (const warning of noise.warnings) say(`WARNING, figures will suffer: ${warning}`);
  const servers = await openServers({ log: say });
  let isWhole = false;
  try {
    const hosts = await openHosts({ servers, bench: options });
    const run: BenchRun = { options, servers, hosts, folder, say };
    const found: Found[] = [];
    for (const { parts, measure } of MEASURES) {
      if (parts.some((part) => options.parts.has(part))) found.push(await measure(run));
    }
    isWhole = true;
    return report(options, hosts.versions, noise, found);
  } finally {
    await servers.close();
    if (isWhole) rmSync(folder, { recursive: true, force: true });
    else say(`data folders and logs are kept in ${folder}`);
  }
}

function report(
  options: BenchOptions,
  versions: readonly string[],
  noise: Awaited<ReturnType<typeof noiseOfOthers>>,
  found: readonly Found[],
): 0 | 1 {
  const lines = found.flatMap((one) => one.lines);
  const machine = `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${noise.load.toFixed(2)} before`;
  const { log, rows, durability, seed } = options;
  const about = `${log} log, ${rows.toLocaleString("en")} rows, ${durability} servers, seed ${seed}`;
  process.stdout.write(`${about}; ${versions.join(", ")}; ${machine}\n\n${tableText(lines)}\n`);
  const missed = lines.filter((line) => verdictOf(line) === "MISSED");
  if (options.output === "json") {
    const { parts: _, output: __, profileFolder: ___, ...settings } = options;
    const json = {
      ...settings,
      machine,
      versions,
      noise,
      lines: lines.map(lineJson),
      details: Object.assign({}, ...found.map((one) => one.details)),
      missed: missed.length,
    };
    process.stdout.write(`${JSON.stringify(json)}\n`);
  }
  return missed.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  try {
    return await bench(benchOptions(process.argv.slice(2)));
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`${error.message}\n${USAGE}\n`);
      return 2;
    }
    say(error instanceof ServerUnavailable ? error.message : String((error as Error).stack ?? error));
    return 1;
  }
}

process.exitCode = await main();
