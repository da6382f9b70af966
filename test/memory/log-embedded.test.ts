import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "dray-memory-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;

test("L6: 512 MiB written, read by a slow reader and trimmed take no more memory than the first 64 MiB, nor disk", async () => {
  const script = new URL("./log-memory-child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, ["--expose-gc", script, folder], { stdio: ["ignore", "pipe", "inherit"] });
  const result = JSON.parse(await text(child.stdout)) as Record<
    "warmBytes" | "endBytes" | "fileBytes" | "entries",
    number
  >;
  expect(result.entries).toBe(512);
  expect(result.endBytes - result.warmBytes).toBeLessThan(64 * MIB);
  // Trimmed pages are used again: the file stays near what is not applied yet.
  expect(result.fileBytes).toBeLessThan(192 * MIB);
});
