// Runs as a process of its own and reads its parent's pipe: lines say what the parent owns, the end of the pipe says
// that the parent is gone, for whatever reason. Then everything owned is killed and removed.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { OWNER_VARIABLE } from "./guard.ts";
import { identify, isAlive, type ProcessIdentity } from "./process-identity.ts";

type Message = { folder?: string; pid?: number; engine?: string; container?: string };

const folders: string[] = [];
const processes: ProcessIdentity[] = [];
const containers: { engine: string; name: string }[] = [];

process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
process.on("SIGHUP", () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as Message;
  if (message.folder !== undefined) folders.push(message.folder);
  if (message.engine !== undefined && message.container !== undefined) {
    containers.push({ engine: message.engine, name: message.container });
  }
  const identity = message.pid === undefined ? null : identify(message.pid);
  if (identity !== null) processes.push(identity);
}

for (let round = 0; round < 50; round += 1) {
  const left = [...processes.filter(isAlive).map(({ pid }) => pid), ...marked()];
  if (left.length === 0) break;
  for (const pid of left) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself in between.
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}
for (const { engine, name } of containers) spawnSync(engine, ["rm", "--force", "--volumes", name]);
for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

/** A server started in the very moment the parent died was never reported; the mark in its environment finds it. */
function marked(): number[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(
      (pid) =>
        pid !== process.pid && folders.some((folder) => environmentOf(pid).includes(`${OWNER_VARIABLE}=${folder}`)),
    )
    .filter((pid) => identify(pid) !== null);
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  } catch {
    return [];
  }
}
