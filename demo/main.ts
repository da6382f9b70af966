import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openServers, type Servers, ServerUnavailable } from "../docker/servers.ts";
import { Checks } from "./checks.ts";
import {
  type ApplicationHandle,
  type ApplicationStats,
  type Child,
  startApplication,
  startRouter,
} from "./children.ts";
import { drive } from "./drive.ts";
import { type Hosts, openHosts } from "./hosts.ts";
import { takeImage } from "./image.ts";
import { readLedger } from "./ledger.ts";
import { makeReport } from "./make-report.ts";
import { count, Narrator } from "./narrator.ts";
import { type DemoOptions, demoOptions, USAGE, UsageError } from "./options.ts";
import { SERVE_LOG } from "./product.ts";
import type { DriveResult } from "./product-answers.ts";
import { exitCode, MIN_AFTER_FINISH, MIN_AFTER_SWITCH, MIN_WHILE_STREAMING, weaknesses } from "./report.ts";
import { SIDES, type Side, SOURCE_TENANTS, TARGET_TENANTS } from "./schema.ts";
import { seedSide } from "./seed.ts";
import { printReport } from "./text-report.ts";
import { waitForWrites } from "./wait-for-writes.ts";

/** A little more than the least that proves something, so that a late answer does not make the run worthless. */
const SPARE_WRITES = 20;
const SECONDS_AFTER_SWITCH = 2;
const LEDGER = "ledger.jsonl";

type Run = {
  readonly options: DemoOptions;
  readonly servers: Servers;
  readonly folder: string;
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
};
type Moved = { readonly moves: DriveResult[]; readonly checks: Checks; readonly application: ApplicationStats };

/**
 * From nothing to a checked journey: servers, data, router and application, the product, and the proof. Four processes:
 * `dray serve`, the router, the application, and this one.
 */
async function demo(options: DemoOptions, narrator: Narrator, signal: AbortSignal): Promise<0 | 1 | 3> {
  const { say } = narrator;
  const folder = mkdtempSync(join(tmpdir(), "drayage-demo-"));
  const servers = await openServers({ log: say });
  let hosts: Hosts | null = null;
  let code: 0 | 1 | 3 = 1;
  try {
    const kafka = options.log === "kafka" ? ", and a Kafka broker for the log" : "";
    narrator.part(`two MySQL servers, a source and a target${kafka}`);
    hosts = await openHosts({ servers, log: options.log, say });
    signal.throwIfAborted();
    code = await demoOn(hosts, { options, servers, folder, narrator, signal });
  } catch (error) {
    const why = signal.aborted ? signal.reason : error;
    const isExpected = signal.aborted || error instanceof ServerUnavailable;
    narrator.part(`${isExpected ? "" : "FAILED: "}${why instanceof Error ? why.message : String(why)}`);
  } finally {
    await hosts?.clean().catch((error: unknown) => say(`what was made on the given servers is still there: ${error}`));
    await servers.close();
    const isEmpty = readdirSync(folder).length === 0;
    if (code === 0 || isEmpty) rmSync(folder, { recursive: true, force: true });
    else
      say(`kept for a look: ${folder} (${SERVE_LOG} is what dray serve logged, ${LEDGER} what the application wrote)`);
  }
  return code;
}

async function demoOn(hosts: Hosts, run: Run): Promise<0 | 1 | 3> {
  const { options, folder, narrator, signal } = run;
  const { say } = narrator;
  const ledgerFile = join(folder, LEDGER);
  const tenants = SOURCE_TENANTS.slice(0, options.cutovers);
  await seed(hosts.addresses, run);
  signal.throwIfAborted();
  const { moves, checks, application } = await moveUnderLoad(hosts, run, tenants, ledgerFile);

  const { damage } = checks;
  const result = checks.result();
  const ledger = readLedger(ledgerFile);
  const { seconds } = application;
  const weak = weaknesses({ ledger, moves, tps: options.tps, seconds });
  const report = makeReport({ options, moves, seconds, result, ledger });
  narrator.part("what came of it");
  printReport({ report, result, weak, damage, moves, ledger, application, say });
  const code = moves.some(({ found }) => found.length > 0) ? 1 : exitCode(result, weak);
  if (code === 0) narrator.part("all is well: nothing lost, nothing different, no neighbour touched");
  if (code === 1) narrator.part("FAILED: the rows named above are not as they must be");
  if (code === 3)
    narrator.part("nothing is wrong, but too little was written to prove it: a quieter machine, or --tps");
  if (options.output === "json") process.stdout.write(`${JSON.stringify(report)}\n`);
  return code;
}

/** Router and application run from before the first move until after the last; the last check is made when they rest. */
async function moveUnderLoad(hosts: Hosts, run: Run, tenants: readonly string[], ledgerFile: string): Promise<Moved> {
  const { options, folder, narrator, signal } = run;
  const { say } = narrator;
  const token = randomBytes(16).toString("hex");
  let router: Child | null = null;
  let handle: ApplicationHandle | null = null;
  try {
    narrator.part("a live system: a router that knows where each tenant lives, an application that asks it");
    router = await startRouter({ journalFile: join(folder, "router.jsonl"), token });
    const application = await startApplication({
      ...hosts.forApplication,
      routerUrl: router.url,
      ledgerFile,
      tps: options.tps,
      seed: options.seed,
      focus: tenants[0] ?? "",
    });
    handle = application;
    say(`${options.tps} transactions a second for all tenants on both sides, half of them for the one that moves`);
    narrator.part("the move, by the product's own commands");
    const written = (tenant: string, side: Side, least: number): Promise<void> =>
      waitForWrites({ application, tenant, side, count: least + SPARE_WRITES, say, signal });
    const checks = new Checks({ ...run, servers: hosts.addresses, ledgerFile, application });
    const moves = await drive({
      folder,
      token,
      tenants,
      say,
      signal,
      guard: run.servers.guard(),
      servers: hosts.forProduct,
      administrator: hosts.addresses.source,
      routerUrl: router.url,
      log: hosts.log,
      productSchema: hosts.productSchema,
      // Nobody else waits on these servers: the gate is to open soon.
      verifySharePercent: 100,
      journey: options.sabotage === null ? "whole" : "cutover",
      beforeMove: (tenant) => checks.reserve(tenant),
      beforeVerify: () => checks.damageTarget(),
      beforeCutover: (tenant) => written(tenant, "source", MIN_WHILE_STREAMING),
      afterSwitch: async (tenant, to) => {
        await Promise.all([written(tenant, to, MIN_AFTER_SWITCH), sleep(SECONDS_AFTER_SWITCH * 1000)]);
      },
      afterFinish: (tenant) => written(tenant, "target", MIN_AFTER_FINISH),
      check: (stage) => checks.make(stage),
      stray: options.sabotage === "stray" ? (tenant) => application.stray(tenant) : null,
    });
    return { moves, checks, application: await application.settle() };
  } finally {
    await handle?.stop();
    await router?.stop();
  }
}

async function seed(addresses: Hosts["addresses"], { options, folder, narrator }: Run): Promise<void> {
  const { rows, seed: number } = options;
  narrator.part("data: users, orders and invoices in tables that all tenants share");
  const [source, target] = await Promise.all(
    SIDES.map((side) => seedSide({ address: addresses[side], side, rows, seed: number })),
  );
  const first = SOURCE_TENANTS[0];
  narrator.say(`source: ${count(source?.rows ?? 0)} rows of ${SOURCE_TENANTS.join(", ")}, 60% of them ${first}'s`);
  narrator.say(`target: ${count(target?.rows ?? 0)} rows of ${TARGET_TENANTS.join(", ")}; seed ${number}`);
  await takeImage({ servers: addresses, folder });
  narrator.say("every row was read once and kept, for the check at the end");
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function main(): Promise<number> {
  const narrator = new Narrator({ write: (line) => void process.stderr.write(`${line}\n`) });
  const stopped = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(name, () => {
      narrator.say(`${name}: stopping what was started; once more to stop at once`);
      stopped.abort(new Error(`stopped by ${name}`));
    });
  }
  let options: DemoOptions;
  try {
    options = demoOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${USAGE}\n`);
    return 2;
  }
  return await demo(options, narrator, stopped.signal);
}

process.exitCode = await main();
