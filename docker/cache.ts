import { randomBytes } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { identify, isAlive, type ProcessIdentity } from "./process-identity.ts";

export type Log = (line: string) => void;

/** Where downloaded servers are kept, outside any checkout, so that a second checkout need not download again. */
export function cacheFolder(): string {
  const chosen = process.env["DRAY_CACHE"];
  return chosen === undefined || chosen === "" ? join(homedir(), ".cache", "drayage") : chosen;
}

export type CacheItem = {
  /** Folder name below the cache folder. */
  readonly name: string;
  /** Fills an empty folder. It is renamed into place only after this resolves, so a folder in place is whole. */
  readonly build: (folder: string) => Promise<void>;
  readonly log: Log;
};

/** Resolves with the item's folder, building it first where it is missing. Two runs at once build it only once. */
export async function cached({ name, build, log }: CacheItem): Promise<string> {
  const root = cacheFolder();
  const folder = join(root, name);
  if (existsSync(folder)) return folder;
  mkdirSync(root, { recursive: true });
  const release = await lock(join(root, `${name}.lock`), () => log(`waiting for another run that prepares ${name}`));
  try {
    if (existsSync(folder)) return folder;
    // Under the lock every building folder of this name is what a killed run left behind.
    for (const entry of readdirSync(root)) {
      if (entry.startsWith(`${name}.building-`)) rmSync(join(root, entry), { recursive: true, force: true });
    }
    const building = join(root, `${name}.building-${randomBytes(4).toString("hex")}`);
    mkdirSync(building);
    try {
      await build(building);
      renameSync(building, folder);
    } catch (error) {
      rmSync(building, { recursive: true, force: true });
      throw error;
    }
    return folder;
  } finally {
    release();
  }
}

/** A lock file that holds its owner's identity. The lock of a process that is gone is broken. */
export async function lock(path: string, onWait: () => void): Promise<() => void> {
  const own = identify(process.pid);
  if (own === null) throw new Error("this process does not find itself in the process table");
  const candidate = `${path}.${own.pid}.${randomBytes(4).toString("hex")}`;
  // Written aside and linked, so that nobody ever reads a lock that has no owner in it yet.
  writeFileSync(candidate, JSON.stringify(own));
  try {
    for (let waits = 0; ; waits += 1) {
      try {
        linkSync(candidate, path);
        return () => rmSync(path, { force: true });
      } catch (error) {
        if (!isCode(error, "EEXIST")) throw error;
      }
      breakStale(path);
      if (waits === 4) onWait();
      await sleep(250);
    }
  } finally {
    rmSync(candidate, { force: true });
  }
}

/** One at a time, and looked at once more: of two that see a dead owner, the slower must not take the lock of the faster. */
function breakStale(path: string): void {
  if (!isStale(path)) return;
  const breaking = `${path}.breaking`;
  try {
    writeFileSync(breaking, "", { flag: "wx" });
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
    const sinceMs = statSync(breaking, { throwIfNoEntry: false })?.mtimeMs;
    // Whoever broke it was killed half way.
    if (sinceMs !== undefined && Date.now() - sinceMs > 10_000) rmSync(breaking, { force: true });
    return;
  }
  if (isStale(path)) rmSync(path, { force: true });
  rmSync(breaking, { force: true });
}

function isStale(path: string): boolean {
  const owner = readOwner(path);
  return owner !== null && !isAlive(owner);
}

function readOwner(path: string): ProcessIdentity | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as ProcessIdentity;
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
