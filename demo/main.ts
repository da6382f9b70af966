import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openServers, ServerUnavailable } from "../docker/servers.ts";
import { check } from "./check.ts";
import { type ApplicationHandle, type Child, startApplication, startRouter } from "./children.ts";
import { type DriveResult, drive } from "./drive.ts";
import { type Hosts, openHosts } from "./hosts.ts";
import { takeImage } from "./image.ts";
import { readLedger } from "./ledger.ts";
import { type DemoOptions, demoOptions, USAGE, UsageError } from "./options.ts";
import { appPauseMs, exitCode, MIN_AFTER_SWITCH, MIN_WHILE_STREAMING, type Report, weaknesses } from "./report.ts";
import { type Damage, sabotage } from "./sabotage.ts";
import { type Side, SOURCE_TENANTS, TARGET_TENANTS } from "./schema.ts";
import { seedSide } from "./seed.ts";
import { printReport } from "./text-report.ts";

/** A little more than the least that proves something, so that a late answer does not make the run worthless. */
const SPARE_WRITES = 20;
const SECONDS_AFTER_SWITCH = 3;

const say = (text: string): void => void process.stderr.write(`demo: ${text}\n`);

/**
 * From nothing to a checked move: servers, data, router and application, the product, and the proof. Four processes:
 * `dray serve`, the router, the application, and this one.
 */
async function demo(options: DemoOptions, signal: AbortSignal): Promise<0 | 1 | 3> {
  const folder = mkdtempSync(join(tmpdir(), "drayage-demo-"));
  const servers = await openServers({ log: say });
  let hosts: Hosts | null = null;
  let code: 0 | 1 | 3 = 1;
  try {
    hosts = await openHosts({ servers, log: options.log, say });
    code = await demoOn(hosts, { options, folder, signal });
    return code;
  } finally {
    await hosts?.clean().catch((error: unknown) => say(`cleaning up: ${error}`));
    await servers.close();
    if (code === 0) rmSync(folder, { recursive: true, force: true });
    else say(`ledger, images and logs are kept in ${folder}`);
  }
}

type Run = { readonly options: DemoOptions; readonly folder: string; readonly signal: AbortSignal };

async function demoOn(hosts: Hosts, run: Run): Promise<0 | 1 | 3> {
  const { options, folder, signal } = run;
  const tenants = SOURCE_TENANTS.slice(0, options.cutovers);
  const token = randomBytes(16).toString("hex");
  const ledgerFile = join(folder, "ledger.jsonl");
  await seed(hosts.addresses, options, folder);
  signal.throwIfAborted();

  let router: Child | null = null;
  let application: ApplicationHandle | null = null;
  let moves: DriveResult[];
  let seconds: number;
  try {
    router = await startRouter({ journalFile: join(folder, "router.jsonl"), token });
    const app = await startApplication({
      ...hosts.forApplication,
      routerUrl: router.url,
      ledgerFile,
      tps: options.tps,
      seed: options.seed,
      focus: tenants[0] ?? "",
    });
    application = app;
    say(`the application writes ${options.tps} transactions a second, for all tenants, on both sides`);
    moves = await drive({
      folder,
      token,
      tenants,
      say,
      signal,
      servers: hosts.forProduct,
      administrator: hosts.addresses.source,
      routerUrl: router.url,
      log: hosts.log,
      productSchema: hosts.productSchema,
      beforeMove: (tenant) => app.focus(tenant),
      beforeCutover: (tenant) => written(app, tenant, "source", MIN_WHILE_STREAMING + SPARE_WRITES, signal),
      afterSwitch: async (tenant) => {
        await written(app, tenant, "target", MIN_AFTER_SWITCH + SPARE_WRITES, signal);
        await sleep(SECONDS_AFTER_SWITCH * 1000);
      },
      stray: options.sabotage === "stray" ? (tenant) => app.stray(tenant) : null,
    });
    seconds = (await app.settle()).seconds;
  } finally {
    await application?.stop();
    await router?.stop();
  }

  const damage = await damageFor(hosts.addresses, options, ledgerFile);
  say("checking every row of both sides against image and ledger");
  const result = await check({ servers: hosts.addresses, imageFolder: folder, ledgerFile, moved: tenants });
  const ledger = readLedger(ledgerFile);
  const weak = weaknesses({ ledger, moves, tps: options.tps, seconds });
  const report = makeReport({ options, moves, seconds, result, ledger });
  printReport({ report, result, weak, damage, moves, ledger, say });
  if (options.output === "json") process.stdout.write(`${JSON.stringify(report)}\n`);
  return exitCode(result, weak);
}

async function seed(addresses: Hosts["addresses"], options: DemoOptions, folder: string): Promise<void> {
  say(
    `seed ${options.seed}: ${options.rows.toLocaleString("en")} rows on the source, 60% of them ${SOURCE_TENANTS[0]}'s`,
  );
  const sides = (["source", "target"] as const).map((side) =>
    seedSide({ address: addresses[side], side, rows: options.rows, seed: options.seed }),
  );
  await Promise.all(sides);
  await takeImage({ servers: addresses, folder });
}

/** Resolves when so many more writes of the tenant are acknowledged at that side. */
async function written(
  application: ApplicationHandle,
  tenant: string,
  side: Side,
  count: number,
  signal: AbortSignal,
): Promise<void> {
  const acknowledged = async () => (await application.stats()).tenants[tenant]?.acknowledged[side] ?? 0;
  const goal = (await acknowledged()) + count;
  while ((await acknowledged()) < goal) {
    signal.throwIfAborted();
    await sleep(100);
  }
}

async function damageFor(
  servers: Hosts["addresses"],
  options: DemoOptions,
  ledgerFile: string,
): Promise<Damage | null> {
  if (options.sabotage === null || options.sabotage === "stray") return null;
  const [tenant = "", neighbour = ""] = [SOURCE_TENANTS[0], TARGET_TENANTS[0]];
  const damage = await sabotage({ kind: options.sabotage, servers, ledgerFile, tenant, neighbour });
  say(`sabotage ${options.sabotage}: ${damage.table} ${damage.key} on the ${damage.side}`);
  return damage;
}

/** Of several cutovers the one with the longest pause is shown, and the slowest copy. */
function makeReport(about: {
  options: DemoOptions;
  moves: readonly DriveResult[];
  seconds: number;
  result: Awaited<ReturnType<typeof check>>;
  ledger: ReturnType<typeof readLedger>;
}): Report {
  const { options, moves, result, ledger } = about;
  const longest = moves.toSorted((a, b) => b.pauseMs - a.pauseMs)[0];
  if (longest === undefined) throw new Error("nothing was moved");
  return {
    log: options.log,
    rows: options.rows,
    copy_rows_per_s: Math.round(Math.min(...moves.map((move) => move.copyRowsPerSecond))),
    lag_at_gate_s: Math.max(...moves.map((move) => move.lagAtGateSeconds)),
    pause_ms: round(longest.pauseMs),
    app_pause_ms: round(Math.max(...moves.map((move) => appPauseMs(ledger, move.tenant)))),
    steps: Object.fromEntries(Object.entries(longest.steps).map(([step, ms]) => [step, round(ms)])),
    acknowledged_writes: result.acknowledgedWrites,
    unknown_writes: result.unknownWrites,
    lost_writes: result.lostWrites,
    differences: result.differences,
    neighbours_changed: result.neighboursChanged,
    seconds: round(about.seconds),
  };
}

const round = (value: number): number => Math.round(value * 10) / 10;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function main(): Promise<number> {
  const stopped = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => stopped.abort(new Error(`stopped by ${name}`)));
  }
  try {
    return await demo(demoOptions(process.argv.slice(2)), stopped.signal);
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`${error.message}\n${USAGE}\n`);
      return 2;
    }
    say(error instanceof ServerUnavailable ? error.message : String((error as Error).stack ?? error));
    return 1;
  }
}

process.exitCode = await main();
