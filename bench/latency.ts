import type { ServerAddress } from "../demo/mysql.ts";
import { type Found, REQUIRED } from "./bench-run.ts";
import { type Child, startChild } from "./child.ts";
import { compareSides } from "./compare.ts";
import type { CompareLimitDone, CompareLimitSettings } from "./compare-limit.ts";
import { percentile } from "./figures.ts";
import { catchUp, startReplica, stopReplica } from "./hosts.ts";
import { Passes } from "./passes.ts";
import type { ProberSettings } from "./prober.ts";
import { type Product, sleep } from "./product.ts";
import type { Line } from "./report.ts";
import type { SteadySettings } from "./steady-load.ts";
import { type Streaming, TENANT } from "./streaming.ts";

const WARM_UP_MS = 3_000;

/** Without verification and with it, in turns: what is slow at one time meets both. */
const TURNS = 2;

/** Rows of a range of the comparison by hand: as many as ours has beside changes (V1). */
const RANGE_ROWS = 250;

/**
 * Ours, ours while every row is compared again and again, ours beside a comparison by hand of as many rows, and then the
 * replica's, each alone with the same load, so that none waits for another's work.
 */
export async function measureLatency(streaming: Streaming): Promise<Found> {
  const { hosts, options } = streaming.run;
  const { source } = hosts;
  const { rows, tps, seed } = options;
  const steady: SteadySettings = {
    source,
    side: "source",
    tenant: TENANT,
    tenants: 1,
    rows,
    tps,
    seed: seed + 7,
    routerUrl: null,
  };
  const load = startChild("./steady-load.ts", steady);
  try {
    return await underLoad(streaming, load);
  } finally {
    await load.stop();
  }
}

async function underLoad({ run, product, move, replica }: Streaming, load: Child): Promise<Found> {
  const { hosts, options, say } = run;
  const { source, target } = hosts;
  const { seed, seconds } = options;
  await load.message("ready");
  const probe = async (at: ServerAddress, forSeconds: number): Promise<Probed> => {
    await sleep(WARM_UP_MS);
    const settings: ProberSettings = { source, target: at, tenant: TENANT, seconds: forSeconds, seed: seed + 8 };
    return await startChild("./prober.ts", settings).message<Probed>("done");
  };
  const turns: { without: Probed; verifying: Probed; byHand: Probed; cpuSeconds: number; compared: number }[] = [];
  const each = seconds / TURNS;
  while (turns.length < TURNS) {
    const before = product.usage().cpuSeconds;
    const without = await probe(target, each);
    const cpuSeconds = product.usage().cpuSeconds - before;
    const passes = await Passes.start(product, move);
    const verifying = await probe(target, each);
    const { rows: compared } = await passes.stop();
    await product.untilVerified(move);
    const limit: CompareLimitSettings = {
      source,
      target,
      tenant: TENANT,
      rowsPerSecond: compared / (each + WARM_UP_MS / 1000),
      rangeRows: RANGE_ROWS,
    };
    const byHand = await besideHand(limit, () => probe(target, each));
    turns.push({ without, verifying, byHand, cpuSeconds, compared });
  }
  const measuredSeconds = seconds + (TURNS * WARM_UP_MS) / 1000;
  const cpuShare = turns.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0) / measuredSeconds;
  const comparedPerSecond = turns.reduce((sum, { compared }) => sum + compared, 0) / measuredSeconds;
  const ours = latencyOf(turns.map(({ without }) => without));
  const verifying = latencyOf(turns.map(({ verifying: one }) => one));
  say(`latency: dray p50 ${ours.p50.toFixed(2)} ms, p99 ${ours.p99.toFixed(2)} ms, ${cpuShare.toFixed(2)} cores`);
  say(
    `latency: dray while verifying ${Math.round(comparedPerSecond).toLocaleString("en")} rows/s ` +
      `p50 ${verifying.p50.toFixed(2)} ms, p99 ${verifying.p99.toFixed(2)} ms`,
  );
  const byHand = latencyOf(turns.map(({ byHand: one }) => one));
  say(`latency: dray beside a comparison by hand p50 ${byHand.p50.toFixed(2)} ms, p99 ${byHand.p99.toFixed(2)} ms`);
  await product.stop();
  await startReplica(replica);
  await catchUp(replica, source);
  const native = latencyOf([await probe(replica, seconds)]);
  say(`latency: replica p50 ${native.p50.toFixed(2)} ms, p99 ${native.p99.toFixed(2)} ms`);
  load.process.kill("SIGTERM");
  const { committed, seconds: loadSeconds } = await load.message<{ committed: number; seconds: number }>("done");
  say(`latency: the load was ${Math.round(committed / loadSeconds)} transactions a second`);
  await catchUp(replica, source);
  await stopReplica(replica);
  await compareSides({ what: "latency, replica", source, target: replica, tenant: null });
  await product.start();
  await untilCaughtUp(product, move);
  await compareSides({ what: "latency, dray", source, target, tenant: null });
  const required = REQUIRED[options.log].latencyMs;
  const without = { name: "without", of: ours };
  const lines = [
    ...latencyLines("commit to visible", ours, { name: "replica", of: native }, required),
    ...latencyLines("commit to visible while verifying", verifying, without, required),
    ...latencyLines("commit to visible beside a comparison by hand", byHand, without, NOTHING_REQUIRED),
    { name: "rows compared meanwhile", ours: comparedPerSecond, unit: "rows/s", beside: null, required: null },
  ];
  const details = {
    ours: shown(ours),
    verifying: shown(verifying),
    byHand: shown(byHand),
    comparedPerSecond,
    replica: shown(native),
    cpuShare,
  };
  return { lines, details };
}

async function besideHand(settings: CompareLimitSettings, probe: () => Promise<Probed>): Promise<Probed> {
  const limit = startChild("./compare-limit.ts", settings);
  try {
    const probed = await probe();
    limit.process.kill("SIGTERM");
    const { rows, seconds } = await limit.message<CompareLimitDone>("done");
    if (rows / seconds < 0.9 * settings.rowsPerSecond) throw new Error(`by hand ${rows} rows in ${seconds} s: too few`);
    return probed;
  } finally {
    await limit.stop();
  }
}

type Probed = { readonly delaysMs: readonly number[]; readonly looksMs: readonly number[] };
type Latency = Probed & { readonly p50: number; readonly p99: number };

function latencyOf(all: readonly Probed[]): Latency {
  const delaysMs = all.flatMap((one) => one.delaysMs);
  const looksMs = all.flatMap((one) => one.looksMs);
  return { p50: percentile(delaysMs, 50), p99: percentile(delaysMs, 99), delaysMs, looksMs };
}

const NOTHING_REQUIRED = { p50: null, p99: null };

function latencyLines(
  what: string,
  ours: Latency,
  beside: { readonly name: string; readonly of: Latency },
  required: { readonly p50: number | null; readonly p99: number | null },
): Line[] {
  const line = (name: "p50" | "p99" | "max", of: (latency: Latency) => number, atMost: number | null): Line => ({
    name: `${what}, ${name} (${beside.name}: ${of(beside.of).toFixed(2)})`,
    ours: of(ours),
    unit: "ms",
    beside: null,
    required: atMost === null ? null : { atMost },
  });
  return [
    line("p50", ({ p50 }) => p50, required.p50),
    line("p99", ({ p99 }) => p99, required.p99),
    line("max", ({ delaysMs }) => Math.max(...delaysMs), null),
  ];
}

function shown({ p50, p99, delaysMs, looksMs }: Latency) {
  return { p50, p99, max: Math.max(...delaysMs), markers: delaysMs.length, lookP50Ms: percentile(looksMs, 50) };
}

/** Nothing is written any more: once two heartbeats behind each other are applied, so is all before them. */
async function untilCaughtUp(product: Product, move: string): Promise<void> {
  for (let tail: number | null = null; ; ) {
    const [lane] = (await product.api.status(move)).lanes;
    const watermark = lane?.watermark ?? null;
    const connected = lane?.capture === "shared" || lane?.capture === "detached";
    if (connected && (lane?.lagSeconds ?? 99) < 1 && watermark !== null) {
      if (tail !== null && watermark > tail) return;
      tail ??= lane?.tailSeq ?? null;
    }
    await sleep(100);
  }
}
