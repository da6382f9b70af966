import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { StrayWrite, TenantStats } from "./load.ts";
import type { ServerAddress } from "./mysql.ts";

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;

/** A child process of the demo: says its URL in one JSON line on stdout once it serves. */
export interface Child {
  readonly url: string;
  readonly process: ChildProcess;
  /** SIGTERM, and SIGKILL when that does not end it in time. */
  stop(): Promise<void>;
}

export async function startRouter(options: { readonly journalFile: string; readonly token: string }): Promise<Child> {
  return startChild({
    file: "./router.ts",
    args: ["--journal", options.journalFile],
    environment: { DEMO_ROUTER_TOKEN: options.token },
  });
}

export async function startApplication(options: {
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  readonly routerUrl: string;
  readonly ledgerFile: string;
  readonly tps: number;
  readonly seed: number;
  readonly focus: string;
}): Promise<ApplicationHandle> {
  const args = ["--ledger", options.ledgerFile, "--router", options.routerUrl, "--tps", String(options.tps)];
  args.push("--seed", String(options.seed), "--focus", options.focus);
  const child = await startChild({
    file: "./application.ts",
    args,
    environment: { DEMO_SOURCE: JSON.stringify(options.source), DEMO_TARGET: JSON.stringify(options.target) },
  });
  return new ApplicationHandle({ child });
}

export interface ApplicationStats {
  readonly seconds: number;
  readonly lastError: string | null;
  readonly tenants: Readonly<Record<string, TenantStats>>;
}

/** The application as the demo talks to it: by its control port only. */
export class ApplicationHandle {
  readonly #child: Child;
  constructor(options: { readonly child: Child }) {
    this.#child = options.child;
  }
  get process(): ChildProcess {
    return this.#child.process;
  }
  stats(): Promise<ApplicationStats> {
    return this.#call("GET", "/stats") as Promise<ApplicationStats>;
  }
  async focus(tenant: string): Promise<void> {
    await this.#call("POST", `/focus?tenant=${encodeURIComponent(tenant)}`);
  }
  stray(tenant: string): Promise<StrayWrite> {
    return this.#call("POST", `/stray?tenant=${encodeURIComponent(tenant)}`) as Promise<StrayWrite>;
  }
  /** Sabotage: a row that the application leaves alone from now on. */
  reserve(tenant: string): Promise<StrayWrite> {
    return this.#call("POST", `/reserve?tenant=${encodeURIComponent(tenant)}`) as Promise<StrayWrite>;
  }
  /** While `work` runs nothing is written and nothing is under way. */
  async held<T>(work: () => Promise<T>): Promise<T> {
    await this.#call("POST", "/hold");
    try {
      return await work();
    } finally {
      await this.#call("POST", "/release");
    }
  }
  /** Resolves when every transaction has its outcome; nothing is written any more. */
  settle(): Promise<ApplicationStats> {
    return this.#call("POST", "/stop") as Promise<ApplicationStats>;
  }
  /** Ends the process; what is not settled yet is settled before. */
  stop(): Promise<void> {
    return this.#child.stop();
  }
  async #call(method: string, path: string): Promise<unknown> {
    const response = await fetch(`${this.#child.url}${path}`, { method });
    const body: unknown = await response.json();
    if (!response.ok) throw new Error(`application ${path}: ${JSON.stringify(body)}`);
    return body;
  }
}

async function startChild(options: {
  readonly file: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}): Promise<Child> {
  const file = fileURLToPath(new URL(options.file, import.meta.url));
  const child = spawn(process.execPath, [file, ...options.args], {
    env: { ...process.env, ...options.environment },
    // The channel is there to break: a child whose demo died ends by itself.
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${options.file} did not start in time`));
    }, START_TIMEOUT_MS);
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`${options.file} ended at once (${code ?? signal})`));
    });
    child.once("error", reject);
    child.stdout?.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      const line = text.split("\n", 2);
      if (line.length < 2) return;
      clearTimeout(timer);
      resolve((JSON.parse(line[0] ?? "") as { url: string }).url);
    });
  });
  return {
    url,
    process: child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
