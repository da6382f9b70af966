import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/**
 * A process named so that a reused pid is not taken for it: the pid together with the moment it was started, as the
 * kernel tells it. `null` when no such process runs.
 */
export type ProcessIdentity = { readonly pid: number; readonly startedAt: string };

export function identify(pid: number): ProcessIdentity | null {
  const startedAt = process.platform === "linux" ? fromProc(pid) : fromPs(pid);
  return startedAt === null ? null : { pid, startedAt };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startedAt === identity.startedAt;
}

function fromProc(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name may hold spaces and brackets, so fields are counted from its closing bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; only its parent has not looked yet.
    return fields[0] === "Z" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function fromPs(pid: number): string | null {
  const { stdout, status } = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
  return status === 0 && stdout.trim() !== "" ? stdout.trim() : null;
}
