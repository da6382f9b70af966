import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import { openBody } from "../../pipeline/entry-codec.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { changesDraft, newLane, openOptions, readSome, seqs, upTo } from "../contracts/log-drafts.ts";
import type { CrashOptions } from "./log-crash-child.ts";

/*
 * A process is killed at a named place, opened again, killed again, on one lane. An entry that was acknowledged is
 * there; one that was not may be there or not; a gap, a repeat or a changed entry is never there.
 */
const PLACES: readonly ProbeName[] = ["log.epoch-appended", "log.before-append", "log.after-append"];

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Gives the last seq acknowledged; fails unless the child reached the place and died there. */
async function dieAt(options: CrashOptions): Promise<number> {
  const script = new URL("./log-crash-child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let acknowledged = 0;
  let reached = "";
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("reached ")) reached = line.slice("reached ".length);
    else acknowledged = Number(line);
  }
  const [, signal] = await exited;
  expect({ signal, reached }).toEqual({ signal: "SIGKILL", reached: options.place });
  return acknowledged;
}

describe("L2, L4 embedded log, killed", () => {
  test.each(PLACES)("at %s, again and again", async (place) => {
    const folder = mkdtempSync(join(tmpdir(), "dray-crash-"));
    folders.push(folder);
    const lane = newLane();
    let mustHave = 0;
    for (const hit of [1, 2, 5]) {
      if (place === "log.epoch-appended" && hit > 1) break;
      mustHave = Math.max(mustHave, await dieAt({ folder, lane, place, hit }));
    }
    const chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
    const log = new SqliteLog({ folder, chunkStore, clock: systemClock });
    const writer = await log.openWriter(openOptions(lane));
    const last = writer.tail?.seq ?? 0;
    expect(last).toBeGreaterThanOrEqual(mustHave);
    await writer.append(changesDraft(`p${last + 1}`));
    const entries = await readSome(log, lane, last + 1);
    expect(seqs(entries)).toEqual(upTo(last + 1));
    for (const entry of entries) {
      const body = Buffer.from(await openBody(entry, chunkStore)).toString();
      expect(body.slice(0, 40)).toBe(`body p${entry.header.seq}`);
    }
    await log.close();
  });
});
