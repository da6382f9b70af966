import { type BenchRun, type Found, REQUIRED } from "./bench-run.ts";
import { startChild } from "./child.ts";
import { compareSides } from "./compare.ts";
import { percentile } from "./figures.ts";
import { openProduct, type Product, sleep } from "./product.ts";
import { seedTables } from "./rows.ts";
import { emptySchema } from "./schema.ts";
import type { SteadySettings } from "./steady-load.ts";

const SETTLE_MS = 2_000;
const ASK_AGAIN_MS = 250;
const GATE_TIMEOUT_MS = 60_000;

type Pause = {
  readonly tenant: number;
  readonly pauseMs: number;
  /** The fence and route calls, and the grace. */
  readonly adapterMs: number;
  readonly ownMs: number;
  readonly steps: Readonly<Record<string, number>>;
};

/** Tenants of equal size in the same tables, moved one after the other, each under the full load on itself. */
export async function measurePause(run: BenchRun): Promise<Found> {
  const { options, hosts, say } = run;
  const tenants = options.cutovers;
  await emptySchema(hosts.source);
  await seedTables({ address: hosts.source, rows: options.rows, tenants, seed: options.seed });
  const product = await openProduct(run, { name: "pause", tenants });
  const pauses: Pause[] = [];
  let peakMegabytes: number;
  try {
    for (let tenant = 1; tenant <= tenants; tenant++) {
      const pause = await moveUnderLoad(run, product, tenant);
      say(`pause: tenant ${tenant}: ${pause.pauseMs.toFixed(1)} ms, without the adapters ${pause.ownMs.toFixed(1)} ms`);
      pauses.push(pause);
    }
    peakMegabytes = product.usage().peakMegabytes;
  } finally {
    await product.close();
  }
  return found(run, pauses, peakMegabytes);
}

async function moveUnderLoad({ options, hosts }: BenchRun, product: Product, tenant: number): Promise<Pause> {
  const { cutovers, rows, tps, seed } = options;
  const { source, target } = hosts;
  const { routerUrl } = product;
  const settings: SteadySettings = { source, tenant, tenants: cutovers, rows, tps, seed: seed + tenant, routerUrl };
  const load = startChild("./steady-load.ts", settings);
  try {
    await load.message("ready");
    const move = await product.begin(tenant);
    await product.untilStreaming(move);
    await sleep(SETTLE_MS);
    await untilGateOpens(product, move);
    const { outcome, reason, pauseMs, steps } = await product.api.cutover(move, {});
    if (outcome !== "committed" || pauseMs === null) throw new Error(`cutover of ${move}: ${outcome} ${reason ?? ""}`);
    const routed = (await product.api.journal(move)).find(({ event }) => event === "routed");
    const adapterMs = Number(routed?.facts["adapterMs"]);
    if (!Number.isFinite(adapterMs))
      throw new Error(`cutover of ${move}: the journal does not tell the adapters' time`);
    // The load has seen the switch, and nothing of it is under way.
    await load.message("done");
    await compareSides({ what: `tenant ${tenant}`, source, target, tenant });
    await product.api.post(`/v1/moves/${move}/close`, null);
    const took: Record<string, number> = {};
    for (const { step, tookMs } of steps) took[step] = (took[step] ?? 0) + tookMs;
    return { tenant, pauseMs, adapterMs, ownMs: pauseMs - adapterMs, steps: took };
  } finally {
    await load.stop();
  }
}

async function untilGateOpens(product: Product, move: string): Promise<void> {
  const until = performance.now() + GATE_TIMEOUT_MS;
  for (;;) {
    const { outcome, reason } = await product.api.cutover(move, { dryRun: true });
    if (outcome === "would-run") return;
    if (performance.now() > until) throw new Error(`the gate of ${move} stays closed: ${reason ?? outcome}`);
    await sleep(ASK_AGAIN_MS);
  }
}

function found({ options }: BenchRun, pauses: readonly Pause[], peakMegabytes: number): Found {
  const required = REQUIRED[options.log].pauseMs;
  const spread = (values: readonly number[]) => ({ p50: percentile(values, 50), max: Math.max(...values) });
  const own = spread(pauses.map(({ ownMs }) => ownMs));
  const whole = spread(pauses.map(({ pauseMs }) => pauseMs));
  const adapters = spread(pauses.map(({ adapterMs }) => adapterMs));
  const steps = Object.fromEntries(
    Object.keys(pauses[0]?.steps ?? {}).map((step) => [step, spread(pauses.map((pause) => pause.steps[step] ?? 0))]),
  );
  const line = (name: string, ours: number, atMost: number | null) => ({
    name,
    ours,
    unit: "ms",
    beside: null,
    required: atMost === null ? null : { atMost },
  });
  return {
    lines: [
      line(`pause without the adapters, p50 of ${pauses.length}`, own.p50, required.p50),
      line(`pause without the adapters, max of ${pauses.length}`, own.max, required.max),
      line("pause, p50", whole.p50, null),
      line("adapters and grace, p50", adapters.p50, null),
      ...Object.entries(steps).map(([step, { p50, max }]) =>
        line(`pause, step ${step}, p50 (max ${max.toFixed(1)})`, p50, null),
      ),
      {
        name: `peak memory of our processes over ${pauses.length} moves`,
        ours: peakMegabytes,
        unit: "MB",
        beside: null,
        required: { atMost: REQUIRED[options.log].peakMegabytes },
      },
    ],
    details: { own, whole, adapters, steps, pauses },
  };
}
