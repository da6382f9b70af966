import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { lastLines } from "./command.ts";
import type { Guard } from "./guard.ts";

export type StopMode = "graceful" | "kill";

/** A server that we run, as a process or as a container: it can be taken down and up again on the same data. */
export interface Runner {
  readonly pid: number | null;
  /** Resolves once the server answers. Rejects with the server's own last words when it ends before that. */
  start(): Promise<void>;
  /** Resolves when the server is gone. Does nothing when it is not running. */
  stop(how?: StopMode): Promise<void>;
  pause(): void;
  resume(): void;
}

export type ServerProcessOptions = {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly guard: Guard;
  /** True once the server answers; called again and again until then. */
  readonly answers: () => Promise<boolean>;
  readonly startTimeoutMs?: number;
  /** A graceful stop that takes longer becomes a kill. */
  readonly stopTimeoutMs?: number;
};

export class ServerProcess implements Runner {
  readonly #options: ServerProcessOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  constructor(options: ServerProcessOptions) {
    this.#options = options;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  async start(): Promise<void> {
    if (this.#child !== null) return;
    const { name, command, args, logFile, guard, answers } = this.#options;
    const log = openSync(logFile, "a");
    // Detached: Ctrl-C in a terminal reaches the tool first, and servers end in the order their owner wants.
    const child = spawn(command, [...args], {
      stdio: ["ignore", log, log],
      detached: true,
      env: { ...guard.environment(), ...this.#options.environment },
    });
    closeSync(log);
    this.#child = child;
    child.unref();
    let failure: Error | null = null;
    this.#exited = new Promise((resolve) => {
      const gone = () => {
        if (this.#child === child) this.#child = null;
        resolve();
      };
      child.once("exit", gone);
      child.once("error", (error) => {
        failure = error;
        gone();
      });
    });
    if (child.pid !== undefined) guard.process(child.pid);
    const deadline = performance.now() + (this.#options.startTimeoutMs ?? 120_000);
    while (!(await answers())) {
      if (this.#child !== child)
        throw new Error(`${name} ended while starting: ${failure ?? lastLines(this.#log(), 8)}`);
      if (performance.now() > deadline) {
        await this.stop("kill");
        throw new Error(`${name} does not answer: ${lastLines(this.#log(), 8)}`);
      }
      await sleep(50);
    }
    if (this.#child !== child) throw new Error(`${name} ended while starting: ${lastLines(this.#log(), 8)}`);
  }

  async stop(how: StopMode = "graceful"): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    child.ref();
    // A stopped process takes no SIGTERM before it goes on.
    if (how === "graceful") child.kill("SIGCONT");
    child.kill(how === "kill" ? "SIGKILL" : "SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), this.#options.stopTimeoutMs ?? 60_000);
    await this.#exited;
    clearTimeout(timer);
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  #log(): string {
    return readFileSync(this.#options.logFile, "utf8");
  }
}
