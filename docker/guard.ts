import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** In the environment of every process we start as a server: the folder of the run that owns it. */
export const OWNER_VARIABLE = "DRAY_SERVERS_FOLDER";

/**
 * Owns a temporary folder, and a small process that outlives us by a moment: however this process ends, SIGKILL
 * included, it kills the servers that carry our folder in their environment, removes our containers and the folder.
 */
export class Guard {
  readonly folder: string;
  readonly #watchdog: ChildProcess;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "dray-servers-"));
    // Detached: a Ctrl-C goes to the whole foreground group, and this one must live on to clean up.
    this.#watchdog = spawn(process.execPath, [fileURLToPath(new URL("./watchdog.ts", import.meta.url))], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    // A closed pipe is the watchdog's end, seen elsewhere; without a listener it would end us too.
    this.#watchdog.stdin?.on("error", () => {});
    this.#watchdog.unref();
    const pipe = this.#watchdog.stdin as unknown as { unref?: () => void } | null;
    pipe?.unref?.();
    this.#tell({ folder: this.folder });
  }

  get watchdogPid(): number | undefined {
    return this.#watchdog.pid;
  }

  environment(): NodeJS.ProcessEnv {
    return { ...process.env, NODE_OPTIONS: "", [OWNER_VARIABLE]: this.folder };
  }

  process(pid: number): void {
    this.#tell({ pid });
  }

  container(engine: string, name: string): void {
    this.#tell({ engine, container: name });
  }

  /** Everything is stopped already; the watchdog removes the folder and ends. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      if (this.#watchdog.exitCode !== null || this.#watchdog.signalCode !== null) resolve();
      else this.#watchdog.once("exit", () => resolve());
    });
    this.#watchdog.ref();
    this.#watchdog.stdin?.end();
    await ended;
  }

  #tell(message: Record<string, string | number>): void {
    this.#watchdog.stdin?.write(`${JSON.stringify(message)}\n`);
  }
}
