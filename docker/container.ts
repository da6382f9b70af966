import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { lastLines, onPath, runCommand } from "./command.ts";
import type { Guard } from "./guard.ts";
import type { Runner, StopMode } from "./server-process.ts";

/** A container engine that answers; a client without its engine counts as none. */
export async function containerEngine(): Promise<string | null> {
  for (const name of ["docker", "podman"]) {
    const command = onPath(name);
    if (command === null) continue;
    const { code } = await runCommand({ command, args: ["info"], timeoutMs: 20_000 });
    if (code === 0) return command;
  }
  return null;
}

export type ContainerOptions = {
  readonly engine: string;
  readonly guard: Guard;
  readonly name: string;
  readonly image: string;
  /** The port in the container, and where it is published on 127.0.0.1. */
  readonly port: { readonly inside: number; readonly outside: number };
  readonly environment?: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  readonly answers: () => Promise<boolean>;
  readonly startTimeoutMs?: number;
};

/** The container is kept while stopped, so a start finds the same data. */
export class Container implements Runner {
  readonly #options: ContainerOptions;
  readonly #name: string;
  #created = false;
  #pid: number | null = null;

  constructor(options: ContainerOptions) {
    this.#options = options;
    this.#name = `dray-${options.name}-${randomBytes(4).toString("hex")}`;
  }

  get pid(): number | null {
    return this.#pid;
  }

  async start(): Promise<void> {
    if (this.#pid !== null) return;
    const { engine, guard, image, port, environment = {}, args, answers } = this.#options;
    if (this.#created) await this.#run(["start", this.#name]);
    else {
      guard.container(engine, this.#name);
      const variables = Object.entries(environment).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
      const publish = `127.0.0.1:${port.outside}:${port.inside}`;
      await this.#run(["run", "--detach", "--name", this.#name, "--publish", publish, ...variables, image, ...args]);
      this.#created = true;
    }
    const deadline = performance.now() + (this.#options.startTimeoutMs ?? 120_000);
    while (!(await answers())) {
      if (performance.now() > deadline) throw new Error(`${this.#name} does not answer: ${await this.#lastWords()}`);
      if ((await this.#inspect("{{.State.Running}}")) !== "true") {
        throw new Error(`${this.#name} ended while starting: ${await this.#lastWords()}`);
      }
      await sleep(200);
    }
    this.#pid = Number(await this.#inspect("{{.State.Pid}}"));
  }

  async stop(how: StopMode = "graceful"): Promise<void> {
    if (this.#pid === null) return;
    await this.#run(how === "kill" ? ["kill", this.#name] : ["stop", "--time", "60", this.#name]);
    this.#pid = null;
  }

  pause(): void {
    spawnSync(this.#options.engine, ["pause", this.#name]);
  }

  resume(): void {
    spawnSync(this.#options.engine, ["unpause", this.#name]);
  }

  async #inspect(format: string): Promise<string> {
    return (await this.#run(["inspect", "--format", format, this.#name])).trim();
  }

  async #lastWords(): Promise<string> {
    const { output } = await runCommand({ command: this.#options.engine, args: ["logs", "--tail", "5", this.#name] });
    return lastLines(output, 5);
  }

  async #run(args: readonly string[]): Promise<string> {
    const { code, output } = await runCommand({ command: this.#options.engine, args });
    if (code !== 0) throw new Error(`${this.#options.engine} ${args[0]}: ${lastLines(output, 3)}`);
    return output;
  }
}
