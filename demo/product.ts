import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Servers } from "../docker/servers.ts";

const DRAY = fileURLToPath(new URL("../bin/dray.js", import.meta.url));
/** In the demo's folder: what the server logs. */
export const SERVE_LOG = "serve.log";
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
  readonly #environment: NodeJS.ProcessEnv;
  readonly #exited: Promise<void>;

  private constructor(options: {
    readonly folder: string;
    readonly server: ChildProcess;
    readonly environment: NodeJS.ProcessEnv;
  }) {
    this.#folder = options.folder;
    this.#server = options.server;
    this.#environment = options.environment;
    this.#exited = new Promise((resolve) => options.server.once("exit", () => resolve()));
  }

  /** Resolves once the server answers. `environment` has the secrets that the configuration names. */
  static async serve(options: {
    readonly folder: string;
    readonly configFile: string;
    readonly environment: Readonly<Record<string, string>>;
    readonly guard: ReturnType<Servers["guard"]>;
    readonly signal: AbortSignal;
  }): Promise<Product> {
    const logFile = join(options.folder, SERVE_LOG);
    const log = openSync(logFile, "a");
    const { DRAY_URL: _, DRAY_TOKEN: __, ...environment } = options.guard.environment();
    const server = spawn(process.execPath, [DRAY, "serve", "--config", options.configFile], {
      cwd: options.folder,
      env: { ...environment, ...options.environment },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    if (server.pid !== undefined) options.guard.process(server.pid);
    const product = new Product({ folder: options.folder, server, environment });
    const until = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      if (server.exitCode !== null)
        throw new Error(`dray serve ended at once with ${server.exitCode}; its last words:\n${lastWords(logFile)}`);
      const { code } = await product.run(["list", "--json"], options.signal);
      if (code === 0) return product;
      if (performance.now() > until) {
        await product.stop();
        throw new Error(`dray serve does not answer; its last words:\n${lastWords(logFile)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  run(args: readonly string[], signal: AbortSignal): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [DRAY, ...args], {
        cwd: this.#folder,
        env: this.#environment,
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

function lastWords(file: string): string {
  return readFileSync(file, "utf8").trimEnd().split("\n").slice(-5).join("\n");
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
