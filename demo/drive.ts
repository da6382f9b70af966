import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ServerAddress } from "./mysql.ts";
import { Product } from "./product.ts";
import { manifestText, type ServerConfigOptions, SYSTEM, secrets, serverConfigText } from "./product-files.ts";
import type { MoveTimes } from "./report.ts";
import { writeBeforeCommit } from "./stray.ts";

/** What one tenant's move was like, as the product says. */
export interface DriveResult extends MoveTimes {
  readonly copyRowsPerSecond: number;
  readonly lagAtGateSeconds: number;
  readonly pauseMs: number;
  /** Milliseconds per step of the cutover. */
  readonly steps: Readonly<Record<string, number>>;
}

export interface DriveOptions extends ServerConfigOptions {
  readonly folder: string;
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
const GATE_TIMEOUT_MS = 30_000;
const EXIT_DONE = 0;
const EXIT_REFUSED = 3;
const EXIT_NEEDS_PERSON = 5;

/** Drives the product by its command line alone: preflight, start, progress, cutover. Any refusal is an error. */
export async function drive(options: DriveOptions): Promise<DriveResult[]> {
  const { folder } = options;
  const configFile = join(folder, "server.yaml");
  const manifestFile = join(folder, "manifest.yaml");
  writeFileSync(configFile, serverConfigText(options));
  writeFileSync(manifestFile, manifestText(options.servers.source.schema));
  const environment = secrets(options);
  const product = await Product.serve({ folder, configFile, environment, signal: options.signal });
  try {
    const results: DriveResult[] = [];
    for (const tenant of options.tenants) {
      const isLast = tenant === options.tenants.at(-1);
      results.push(
        await moveTenant({ ...options, product, manifestFile, tenant, stray: isLast ? options.stray : null }),
      );
    }
    return results;
  } finally {
    await product.stop();
  }
}

type MoveOptions = DriveOptions & { product: Product; manifestFile: string; tenant: string };

async function moveTenant(options: MoveOptions): Promise<DriveResult> {
  const { product, manifestFile, tenant, say, signal } = options;
  const move = `${SYSTEM}-${tenant}`;
  const run = async (args: readonly string[]): Promise<unknown> => {
    const result = await product.run([...args, "--json"], signal);
    // An alarm is what the stray writes are made for; otherwise it ends the demo.
    const isWell = result.code === EXIT_DONE || (options.stray !== null && result.code === EXIT_NEEDS_PERSON);
    if (!isWell) throw new Error(`dray ${args.join(" ")} ended with ${result.code}\n${result.text}`);
    return result.json;
  };
  const request = ["--manifest", manifestFile, "--tenant", tenant, "--from", "source", "--to", "target"];
  await options.beforeMove(tenant);
  say(`dray preflight: ${tenant} from source to target`);
  await run(["preflight", ...request]);
  await run(["start", ...request]);
  const status = await untilStreaming({ run: () => run(["status", move]), tenant, say, signal });
  await options.beforeCutover(tenant);
  say(`dray cutover: ${tenant}`);
  const switchOver = async (): Promise<unknown> => {
    const until = performance.now() + GATE_TIMEOUT_MS;
    for (;;) {
      const dryRun = await product.run(["cutover", move, "--dry-run", "--json"], signal);
      if (dryRun.code !== EXIT_REFUSED || performance.now() > until) return run(["cutover", move, "--yes"]);
      say(`${tenant}: the gate is closed, asking again`);
      await sleep(POLL_MS, signal);
    }
  };
  const cutover = await (options.stray === null
    ? switchOver()
    : cutoverWithStrays({ ...options, move, stray: options.stray, cutover: switchOver }));
  await options.afterSwitch(tenant);
  const journal = await run(["journal", move]);
  return readResult({ tenant, status, cutover, journal });
}

/** One write at the source before the commit point and one after, both behind the fence; then the alarm must be there. */
async function cutoverWithStrays(
  options: MoveOptions & {
    move: string;
    stray: NonNullable<DriveOptions["stray"]>;
    cutover: () => Promise<unknown>;
  },
): Promise<unknown> {
  const { stray, tenant, say } = options;
  const failed = new AbortController();
  const early = writeBeforeCommit({
    source: options.administrator,
    productSchema: options.productSchema,
    write: () => stray(tenant),
    signal: AbortSignal.any([options.signal, failed.signal]),
  });
  const [first, cutover] = await Promise.all([
    early,
    options.cutover().catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  ]);
  const second = await stray(tenant);
  for (const { table, key } of [first, second]) say(`sabotage: the source acknowledged a write to ${table} ${key}`);
  await untilAlarm(options);
  return cutover;
}

async function untilStreaming(options: {
  readonly run: () => Promise<unknown>;
  readonly tenant: string;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}): Promise<unknown> {
  for (;;) {
    const status = await options.run();
    const { phase, progress, problem } = readStatus(status);
    if (problem !== null) throw new Error(`${options.tenant}: ${problem}`);
    options.say(`${options.tenant}: ${phase}, ${progress}`);
    if (phase === "streaming") return status;
    await sleep(POLL_MS, options.signal);
  }
}

async function untilAlarm(options: {
  readonly product: Product;
  readonly move: string;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const until = performance.now() + ALARM_TIMEOUT_MS;
  for (;;) {
    const { code, json } = await options.product.run(["status", options.move, "--json"], options.signal);
    const { alarms } = readStatus(json);
    if (code === EXIT_NEEDS_PERSON && alarms.length > 0) {
      for (const alarm of alarms) options.say(`the product's alarm: ${alarm}`);
      return;
    }
    if (performance.now() > until) throw new Error("a stray write at the source, and the product raised no alarm");
    await sleep(POLL_MS, options.signal);
  }
}

async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, ms));
}

// What follows is all that knows the fields of the product's answers.

type TableJson = { rowsCopied: number; rowsEstimated: number | null };
type StatusJson = {
  phase: string;
  alarms: { code: string; message: string }[];
  problem: { message: string; remedy: string } | null;
  lanes: { tables: TableJson[]; lagSeconds: number | null; waiting: string[] }[];
};
type CutoverJson = {
  outcome: string;
  reason: string | null;
  gate: { name: string; value: string }[];
  steps: { step: string; tookMs: number }[];
  pauseMs: number | null;
};
type JournalJson = { event: string; atMs: number }[];

const rowsCopied = (status: StatusJson): number =>
  status.lanes.flatMap((lane) => lane.tables).reduce((sum, table) => sum + table.rowsCopied, 0);

function readStatus(json: unknown): {
  readonly phase: string;
  readonly progress: string;
  readonly problem: string | null;
  readonly alarms: readonly string[];
} {
  const status = json as StatusJson;
  const lag = status.lanes[0]?.lagSeconds;
  const waiting = status.lanes.flatMap((lane) => lane.waiting);
  const parts = [`${rowsCopied(status).toLocaleString("en")} rows copied`];
  if (lag !== null && lag !== undefined) parts.push(`lag ${lag.toFixed(3)} s`);
  if (waiting.length > 0) parts.push(`waiting: ${waiting.join("; ")}`);
  return {
    phase: status.phase,
    progress: parts.join(", "),
    problem: status.problem === null ? null : `${status.problem.message} ${status.problem.remedy}`,
    alarms: status.alarms.map(({ code, message }) => `${code} ${message}`),
  };
}

function readResult(answers: { tenant: string; status: unknown; cutover: unknown; journal: unknown }): DriveResult {
  const cutover = answers.cutover as CutoverJson;
  const journal = answers.journal as JournalJson;
  if (cutover.outcome !== "committed" || cutover.pauseMs === null) {
    throw new Error(`${answers.tenant}: the cutover ended as ${cutover.outcome}: ${cutover.reason ?? ""}`);
  }
  const at = (event: string): number => {
    const entry = journal.findLast((candidate) => candidate.event === event);
    if (entry === undefined) throw new Error(`${answers.tenant}: no ${event} in the journal`);
    return entry.atMs;
  };
  const lag = Number.parseFloat(cutover.gate.find((condition) => condition.name.startsWith("lag"))?.value ?? "");
  const [startedAtMs, copiedAtMs] = [at("passed"), at("copied")];
  return {
    tenant: answers.tenant,
    startedAtMs,
    copiedAtMs,
    cutoverAtMs: at("attempt"),
    copyRowsPerSecond: (rowsCopied(answers.status as StatusJson) * 1000) / Math.max(1, copiedAtMs - startedAtMs),
    lagAtGateSeconds: lag,
    pauseMs: cutover.pauseMs,
    steps: Object.fromEntries(cutover.steps.map(({ step, tookMs }) => [step, tookMs])),
  };
}
