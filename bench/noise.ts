import { cpus, loadavg } from "node:os";
import { allProcesses, descendants } from "./process-usage.ts";

const SAMPLE_MS = 2_000;
const NOTICED_CPU = 0.05;
const TICKS_PER_SECOND = 100;

/** Who else uses the machine, before anything of ours runs: figures taken beside others are worth less. */
export async function noiseOfOthers(): Promise<{ readonly load: number; readonly warnings: readonly string[] }> {
  const load = loadavg()[0] ?? 0;
  const before = new Map(allProcesses().map((process) => [process.pid, process.ownTicks]));
  await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
  const ours = new Set([process.pid, ...descendants(process.pid)]);
  const busy = allProcesses()
    .filter(({ pid }) => before.has(pid) && !ours.has(pid))
    .map(({ pid, name, ownTicks }) => {
      const cores = (ownTicks - (before.get(pid) ?? 0)) / TICKS_PER_SECOND / (SAMPLE_MS / 1000);
      return { pid, name, cores };
    })
    .filter(({ cores }) => cores >= NOTICED_CPU)
    .sort((a, b) => b.cores - a.cores);
  const warnings = busy.map(({ pid, name, cores }) => `${name} (${pid}) uses ${Math.round(cores * 100)}% of a core`);
  if (load > cpus().length / 2) warnings.unshift(`load average ${load.toFixed(2)} on ${cpus().length} cores`);
  return { load, warnings };
}
