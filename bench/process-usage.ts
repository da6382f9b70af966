import { readdirSync, readFileSync } from "node:fs";

/** `/proc` counts in ticks of 10 ms on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface Usage {
  /** utime + stime, of ended and waited-for children too. */
  readonly cpuSeconds: number;
  /** Highest resident size (VmHWM), summed over the processes. */
  readonly peakMegabytes: number;
}

/** Of a process and all its descendants, from /proc. */
export function usageOf(pid: number): Usage {
  let ticks = 0;
  let peakKilobytes = 0;
  for (const member of [pid, ...descendants(pid)]) {
    const stat = statOf(member);
    if (stat === null) continue;
    // A descendant's own ended children are counted where they were waited for.
    ticks += stat.ownTicks + stat.childTicks;
    peakKilobytes += Number(/^VmHWM:\s+(\d+)/m.exec(readProc(member, "status"))?.[1] ?? 0);
  }
  return { cpuSeconds: ticks / TICKS_PER_SECOND, peakMegabytes: peakKilobytes / 1024 };
}

export type ProcessStat = {
  readonly pid: number;
  readonly name: string;
  readonly parent: number;
  readonly ownTicks: number;
  readonly childTicks: number;
};

export function allProcesses(): ProcessStat[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? []);
}

export function descendants(pid: number): number[] {
  const all = allProcesses();
  const found: number[] = [];
  for (let level = [pid]; level.length > 0; ) {
    level = all.filter(({ parent }) => level.includes(parent)).map((process) => process.pid);
    found.push(...level);
  }
  return found;
}

function statOf(pid: number): ProcessStat | null {
  const text = readProc(pid, "stat");
  // The name may hold anything, so that only what follows its closing bracket can be split.
  const end = text.lastIndexOf(")");
  if (end < 0) return null;
  const fields = text
    .slice(end + 2)
    .split(" ")
    .map(Number);
  const at = (place: number): number => fields[place - 3] ?? 0;
  return {
    pid,
    name: text.slice(text.indexOf("(") + 1, end),
    parent: at(4),
    ownTicks: at(14) + at(15),
    childTicks: at(16) + at(17),
  };
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // ended meanwhile
  }
}
