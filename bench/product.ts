import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { secrets, serverConfigText } from "../demo/product-files.ts";
import type { BenchRun } from "./bench-run.ts";
import { type Child, startChild } from "./child.ts";
import { DrayApi, type StatusAnswer, type VerificationAnswer } from "./dray-api.ts";
import type { Hosts } from "./hosts.ts";
import { type Usage, usageOf } from "./process-usage.ts";
import { dropProductSchema, emptySchema, PRODUCT_SCHEMA, SCHEMA, TABLES } from "./schema.ts";

const DRAY = fileURLToPath(new URL("../bin/dray.js", import.meta.url));
const SYSTEM = "bench";
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
/** As in the demo: an answer of the router is good for 50 ms. */
export const FENCE_GRACE_MS = 100;

/**
 * The product with its default settings, `dray serve` in a process of its own and spoken to by its API, and the router
 * that is its fence and route adapter. One data folder; the server may be stopped and started on it.
 */
export class Product {
  readonly #folder: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #profileFolder: string | null;
  readonly #router: Child;
  readonly routerUrl: string;
  readonly api: DrayApi;
  #server: ChildProcess | null = null;

  private constructor(options: ProductOptions & { readonly router: Child; readonly routerUrl: string; token: string }) {
    const { folder, hosts, routerUrl, token } = options;
    this.#folder = folder;
    this.#profileFolder = options.profileFolder;
    this.#router = options.router;
    this.routerUrl = routerUrl;
    this.api = new DrayApi({ socketPath: join(folder, "dray-data", "dray.sock") });
    const servers = hosts.forProduct;
    this.#environment = secrets({ servers, token });
    writeFileSync(
      join(folder, "server.yaml"),
      serverConfigText({ servers, routerUrl, log: hosts.log, productSchema: PRODUCT_SCHEMA }),
    );
  }

  /** `folder` is new. Resolves once the server answers. */
  static async open(options: ProductOptions): Promise<Product> {
    mkdirSync(options.folder, { recursive: true });
    const token = randomBytes(16).toString("hex");
    const journalFile = join(options.folder, "router.jsonl");
    const router = startChild("./router.ts", { token, journalFile, tenants: options.tenants });
    const { url } = await router.message<{ url: string }>("ready");
    const product = new Product({ ...options, router, routerUrl: url, token });
    try {
      await product.start();
    } catch (error) {
      await product.close();
      throw error;
    }
    return product;
  }

  /** Resolves once the server answers. */
  async start(): Promise<void> {
    const log = openSync(join(this.#folder, "serve.log"), "a");
    const profile = this.#profileFolder === null ? [] : ["--cpu-prof", `--cpu-prof-dir=${this.#profileFolder}`];
    const server = spawn(process.execPath, [...profile, DRAY, "serve", "--config", "server.yaml"], {
      cwd: this.#folder,
      env: { ...process.env, ...this.#environment },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#server = server;
    // A bench that is ended leaves nothing running.
    const end = () => void server.kill("SIGTERM");
    process.once("exit", end);
    server.once("exit", () => process.off("exit", end));
    const until = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const answers = await this.api.get("/v1/moves").then(
        () => true,
        () => false,
      );
      if (answers) return;
      if (server.exitCode !== null || performance.now() > until) throw new Error(`dray serve: ${this.#lastWords()}`);
      await sleep(2);
    }
  }

  /** SIGTERM, as an operator stops it; resolves when it has ended. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null || server.exitCode !== null || server.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => server.once("exit", () => resolve()));
    server.kill("SIGTERM");
    const timer = setTimeout(() => server.kill("SIGKILL"), READY_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    await this.stop();
    await this.#router.stop();
  }

  usage(): Usage {
    const pid = this.#server?.pid;
    if (pid === undefined) throw new Error("dray serve does not run");
    return usageOf(pid);
  }

  /** Starts a tenant's move; resolves once it copies. */
  async begin(tenant: number): Promise<string> {
    await this.api.post("/v1/moves", {
      manifest: manifestText(),
      tenant: String(tenant),
      from: "source",
      to: "target",
    });
    return `${SYSTEM}-${tenant}`;
  }

  async untilStreaming(move: string): Promise<StatusAnswer> {
    for (;;) {
      const status = await this.api.status(move);
      if (status.problem !== null) throw new Error(`${move}: ${status.problem.message} ${status.problem.remedy}`);
      if (status.phase === "streaming") return status;
      await sleep(POLL_MS);
    }
  }

  /** Every row has been compared, and no pass is under way. */
  async untilVerified(move: string): Promise<VerificationAnswer> {
    for (;;) {
      const report = await this.api.get<VerificationAnswer>(`/v1/moves/${move}/verification`);
      if (report.lanes.every(({ covered, passUnderWay }) => covered && !passUnderWay)) return report;
      await sleep(POLL_MS);
    }
  }

  #lastWords(): string {
    return readFileSync(join(this.#folder, "serve.log"), "utf8").trim().split("\n").slice(-5).join("\n");
  }
}

export interface ProductOptions {
  readonly folder: string;
  readonly hosts: Hosts;
  readonly tenants: number;
  readonly profileFolder: string | null;
}

function manifestText(): string {
  const tables = Object.fromEntries(TABLES.map((table) => [table, { column: "tenant_id" }]));
  return JSON.stringify({
    name: SYSTEM,
    stores: { db: { kind: "mysql", schemas: { [SCHEMA]: { tables } } } },
    fence: { steps: [{ adapter: "router" }], grace_ms: FENCE_GRACE_MS },
    routing: [{ adapter: "router" }],
    // Servers that are relaxed to be measured like the peers.
    consents: ["relaxed-durability"],
  });
}

/** On empty tables in the target, and without a trace of an earlier move on either side. */
export async function openProduct(
  run: BenchRun,
  { name, tenants }: { readonly name: string; readonly tenants: number },
): Promise<Product> {
  const { hosts, options, folder } = run;
  await emptySchema(hosts.target);
  await dropProductSchema(hosts.source);
  return await Product.open({ folder: join(folder, name), hosts, tenants, profileFolder: options.profileFolder });
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
