import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { freemem } from "node:os";
import { join } from "node:path";

const GIB = 2 ** 30;
const MEMORY = "/dev/shm";
/** The servers of two test files at work, and what the tests themselves need. */
const NEEDED = 12 * GIB;

/**
 * From here on temporary folders, the servers' data among them, lie in memory where the machine has plenty of it: no test
 * cuts the power, so what a disk would keep over that is never asked for, and the machine's other work is not slowed by
 * their fsyncs. A TMPDIR that somebody has set stays.
 */
export function keepFoldersInMemory(): void {
  if (process.env["TMPDIR"] !== undefined || freemem() < NEEDED) return;
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    if (bavail * bsize < NEEDED) return;
    const folder = mkdtempSync(join(MEMORY, "dray-tests-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    process.env["TMPDIR"] = folder;
  } catch {
    // No such place, as on macOS, or not for us: on disk, then.
  }
}
