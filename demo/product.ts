import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const DRAY = fileURLToPath(new URL("../bin/dray.js", import.meta.url));
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

/** What a `dray` command ended with; `json` is its last line on stdout where that is JSON. */
export interface CommandResult {
  readonly code: number;
  readonly json: unknown;
  readonly text: string;
}

/**
 * The product as an operator has it: `dray serve` in a process of its own, and the command line. Everything runs in one
 * folder, so that the commands find the server by its default socket there.
 */
export class Product {
  readonly #folder: string;
  readonly #server: ChildProcess;
  readonly #exited: Promise<void>;

  private constructor(options: { readonly folder: string; readonly server: ChildProcess }) {
    this.#folder = options.folder;
    this.#server = options.server;
    this.#exited = new Promise((resolve) => options.server.once("exit", () => resolve()));
  }

  /** Resolves once the server answers. `environment` has the secrets that the configuration names. */
  static async serve(options: {
    readonly folder: string;
    readonly configFile: string;
    readonly environment: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  }): Promise<Product> {
    const log = openSync(join(options.folder, "serve.log"), "a");
    const server = spawn(process.execPath, [DRAY, "serve", "--config", options.configFile], {
      cwd: options.folder,
      env: { ...process.env, ...options.environment },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    const product = new Product({ folder: options.folder, server });
    const until = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      if (server.exitCode !== null)
        throw new Error(`dray serve ended at once; see ${join(options.folder, "serve.log")}`);
      const { code } = await product.run(["list", "--json"], options.signal);
      if (code === 0) return product;
      if (performance.now() > until) {
        await product.stop();
        throw new Error(`dray serve does not answer; see ${join(options.folder, "serve.log")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  get pid(): number {
    return this.#server.pid ?? 0;
  }

  run(args: readonly string[], signal: AbortSignal): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [DRAY, ...args], {
        cwd: this.#folder,
        stdio: ["ignore", "pipe", "pipe"],
        signal,
      });
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (part: string) => {
        stdout += part;
      });
      child.stderr.setEncoding("utf8").on("data", (part: string) => {
        stderr += part;
      });
      child.once("error", reject);
      child.once("close", (code) => {
        resolve({ code: code ?? 1, json: lastJson(stdout), text: `${stdout}${stderr}`.trim() });
      });
    });
  }

  async stop(): Promise<void> {
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return;
    this.#server.kill("SIGTERM");
    const timer = setTimeout(() => this.#server.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}

/** The whole output, or its last line: a command that shows progress prints its answer last. */
function lastJson(stdout: string): unknown {
  for (const text of [stdout, stdout.trimEnd().split("\n").at(-1) ?? ""]) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      // Not JSON: the caller has the text.
    }
  }
  return null;
}
