import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Servers } from "../docker/servers.ts";
import type { ServerAddress } from "./mysql.ts";
import { type CommandResult, Product } from "./product.ts";
import {
  type DriveResult,
  failureText,
  readCutover,
  readLog,
  readResult,
  readStatus,
  type StatusFacts,
} from "./product-answers.ts";
import { manifestText, type ServerConfigOptions, SYSTEM, secrets, serverConfigText } from "./product-files.ts";
import { writeBeforeCommit } from "./stray.ts";

export interface DriveOptions extends ServerConfigOptions {
  readonly folder: string;
  /** Of the product's processes, so that none outlives the demo. */
  readonly guard: ReturnType<Servers["guard"]>;
  readonly token: string;
  /** Moved one after the other. */
  readonly tenants: readonly string[];
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
  readonly beforeMove: (tenant: string) => Promise<void>;
  /** Resolves when enough was written while the tenant streams. */
  readonly beforeCutover: (tenant: string) => Promise<void>;
  readonly afterSwitch: (tenant: string) => Promise<void>;
  /** The source with an account that may lock tables: for the sabotage around the commit point. */
  readonly administrator: ServerAddress;
  /** Writes one row at the source although the tenant is fenced: around the commit point of the last move. */
  readonly stray: ((tenant: string) => Promise<{ table: string; key: string }>) | null;
}

const POLL_MS = 1000;
const ALARM_TIMEOUT_MS = 30_000;
const GATE_TIMEOUT_MS = 120_000;
const ATTEMPTS_MAX = 3;
const LOG_PAGE = 10_000;
const EXIT_DONE = 0;
const EXIT_NEEDS_PERSON = 5;

/** Drives the product by its command line alone: preflight, start, progress, cutover. Any refusal is an error. */
export async function drive(options: DriveOptions): Promise<DriveResult[]> {
  const { folder, guard, say, signal } = options;
  const configFile = join(folder, "server.yaml");
  const manifestFile = join(folder, "manifest.yaml");
  writeFileSync(configFile, serverConfigText(options));
  writeFileSync(manifestFile, manifestText(options.servers.source.schema));
  const environment = secrets(options);
  say(`dray serve: one process that captures, applies and controls; the log is ${options.log.kind}`);
  const product = await Product.serve({ folder, configFile, environment, guard, signal });
  try {
    const results: DriveResult[] = [];
    for (const tenant of options.tenants) {
      const isLast = tenant === options.tenants.at(-1);
      const stray = isLast ? options.stray : null;
      results.push(await new TenantMove({ ...options, product, manifestFile, tenant, stray }).run());
    }
    return results;
  } finally {
    await product.stop();
  }
}

type TenantMoveOptions = DriveOptions & { product: Product; manifestFile: string; tenant: string };

/** One tenant from preflight to some seconds after the switch. */
class TenantMove {
  readonly #options: TenantMoveOptions;
  readonly #name: string;

  constructor(options: TenantMoveOptions) {
    this.#options = options;
    this.#name = `${SYSTEM}-${options.tenant}`;
  }

  async run(): Promise<DriveResult> {
    const { manifestFile, tenant, say } = this.#options;
    const request = ["--manifest", manifestFile, "--tenant", tenant, "--from", "source", "--to", "target"];
    await this.#options.beforeMove(tenant);
    await this.#must(["preflight", ...request]);
    say(`dray preflight: nothing stands in the way of moving ${tenant} from source to target`);
    await this.#must(["start", ...request]);
    say(`dray start: ${tenant}'s rows are copied while the application goes on writing them`);
    const { status, startMarkAtMs } = await this.#untilStreaming();
    const lastChunkAtMs = await this.#lastChunkAtMs();
    await this.#options.beforeCutover(tenant);
    const cutover = await (this.#options.stray === null ? this.#switchOver() : this.#switchOverWithStrays());
    say(`${tenant} lives on the target now; the source's copy stays, fenced`);
    await this.#options.afterSwitch(tenant);
    const journal = await this.#must(["journal", this.#name]);
    return readResult({ tenant, startMarkAtMs, lastChunkAtMs, status, cutover, journal });
  }

  async #untilStreaming(): Promise<{ status: unknown; startMarkAtMs: number }> {
    const { tenant, say } = this.#options;
    let startMarkAtMs: number | null = null;
    for (;;) {
      const status = await this.#must(["status", this.#name]);
      // Asked early: what is applied goes from the log after a while.
      startMarkAtMs ??= readLog(await this.#must(["log", this.#name, "--limit", "10"])).startMarkAtMs;
      const { phase, progress, problem } = readStatus(status);
      if (problem !== null) throw new Error(`dray status: ${tenant} stopped\n${problem}`);
      say(`dray status: ${tenant} is ${phase}, ${progress}`);
      if (phase === "streaming") {
        if (startMarkAtMs === null) throw new Error(`${tenant} streams, and its log has no start mark`);
        return { status, startMarkAtMs };
      }
      await this.#sleep();
    }
  }

  async #lastChunkAtMs(): Promise<number> {
    let found: number | null = null;
    for (let after = 0; ; ) {
      const page = readLog(
        await this.#must(["log", this.#name, "--after", String(after), "--limit", String(LOG_PAGE)]),
      );
      found = page.lastChunkAtMs ?? found;
      if (page.entries < LOG_PAGE) break;
      after = page.lastSeq;
    }
    if (found === null) throw new Error(`${this.#options.tenant} is copied, and its log has no chunk`);
    return found;
  }

  /** As an operator would: asks again while the gate is closed, and after an attempt that was aborted. */
  async #switchOver(): Promise<unknown> {
    const { tenant, say, product, signal, stray } = this.#options;
    const until = performance.now() + GATE_TIMEOUT_MS;
    const attempts = stray === null ? ATTEMPTS_MAX : 1;
    for (let attempt = 1; ; ) {
      say(`dray cutover: ${tenant}'s writes are held, the last changes drained, the routing switched`);
      const result = await product.run(["cutover", this.#name, "--yes", "--json"], signal);
      const { outcome, reason } = readCutover(result.json ?? {});
      if (outcome === "committed") return result.json;
      if (outcome === "refused" && performance.now() < until) {
        say(`the gate is closed, nothing has happened: ${reason}`);
      } else if (outcome === "aborted" && attempt++ < attempts) {
        say(`the attempt was aborted, ${tenant} works on at the source: ${reason}`);
      } else {
        throw new Error(`dray cutover ended with ${result.code}\n${failureText(result)}`);
      }
      await this.#sleep();
    }
  }

  /** One write at the source before the commit point, one after, both behind the fence; then the alarm must be there. */
  async #switchOverWithStrays(): Promise<unknown> {
    const { tenant, say } = this.#options;
    const stray = this.#options.stray ?? (() => Promise.reject(new Error("no stray writes were asked for")));
    const failed = new AbortController();
    const early = writeBeforeCommit({
      source: this.#options.administrator,
      productSchema: this.#options.productSchema,
      write: () => stray(tenant),
      signal: AbortSignal.any([this.#options.signal, failed.signal]),
    });
    const [first, cutover] = await Promise.all([
      early,
      this.#switchOver().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ]);
    const second = await stray(tenant);
    say(`sabotage: before the commit point the source acknowledged a write to ${first.table} ${first.key}`);
    say(`sabotage: after it the source acknowledged a write to ${second.table} ${second.key}`);
    await this.#untilAlarms(2);
    return cutover;
  }

  async #untilAlarms(times: number): Promise<void> {
    const { product, say, signal } = this.#options;
    const until = performance.now() + ALARM_TIMEOUT_MS;
    for (;;) {
      const { code, json } = await product.run(["status", this.#name, "--json"], signal);
      const { alarms, alarmsRaised }: StatusFacts = readStatus(json);
      if (code === EXIT_NEEDS_PERSON && alarmsRaised >= times) {
        for (const alarm of alarms) say(`the product's alarm: ${alarm}`);
        return;
      }
      if (performance.now() > until) {
        throw new Error(`${times} stray writes at the source, and the product raised ${alarmsRaised} alarms`);
      }
      await this.#sleep();
    }
  }

  async #must(args: readonly string[]): Promise<unknown> {
    const { product, signal, stray } = this.#options;
    const result: CommandResult = await product.run([...args, "--json"], signal);
    // An alarm is what the stray writes are made for; otherwise it ends the demo.
    const isWell = result.code === EXIT_DONE || (stray !== null && result.code === EXIT_NEEDS_PERSON);
    if (!isWell) throw new Error(`dray ${args.join(" ")} ended with ${result.code}\n${failureText(result)}`);
    return result.json;
  }

  async #sleep(): Promise<void> {
    this.#options.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
