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

type Verb = "cutover" | "rollback";
type Pause = {
  readonly tenant: number;
  readonly verb: Verb;
  readonly pauseMs: number;
  /** The fence and route calls, and the grace. */
  readonly adapterMs: number;
  readonly ownMs: number;
  /** As predicted right before the fence, without the adapters' steps. */
  readonly predictedOwnMs: number;
  readonly steps: Readonly<Record<string, number>>;
  readonly predictedSteps: Readonly<Record<string, number>>;
};

/** What these take is the adapters' and the grace's; what else is in them is little. */
const ADAPTER_STEPS: ReadonlySet<string> = new Set(["fence", "pin", "route"]);
/** A prediction holds where it is this near: by share, or by milliseconds, whichever is more. */
const NEAR_SHARE = 0.3;
const NEAR_MS = 15;
const NEAR_AT_LEAST = 0.9;

/**
 * Tenants of equal size in the same tables, moved one after the other, each under the full load on itself; and back again,
 * with the same load at the new home.
 */
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
      const move = await product.begin(tenant);
      await product.untilStreaming(move);
      await product.untilVerified(move);
      const verbs: readonly Verb[] = options.parts.has("rollback") ? ["cutover", "rollback"] : ["cutover"];
      for (const verb of verbs) {
        const pause = await switchUnderLoad(run, product, { tenant, move, verb });
        say(
          `${verb}: tenant ${tenant}: ${pause.pauseMs.toFixed(1)} ms, without the adapters ${pause.ownMs.toFixed(1)} ms ` +
            `(predicted ${pause.predictedOwnMs.toFixed(1)} ms)`,
        );
        pauses.push(pause);
      }
      await product.api.post(`/v1/moves/${move}/${verbs.includes("rollback") ? "abort" : "close"}`, null);
    }
    peakMegabytes = product.usage().peakMegabytes;
  } finally {
    await product.close();
  }
  return found(run, pauses, peakMegabytes);
}

async function switchUnderLoad(
  { options, hosts }: BenchRun,
  product: Product,
  { tenant, move, verb }: { readonly tenant: number; readonly move: string; readonly verb: Verb },
): Promise<Pause> {
  const { cutovers, rows, tps, seed } = options;
  const { source, target } = hosts;
  const { routerUrl } = product;
  const home =
    verb === "cutover" ? ({ source, side: "source" } as const) : ({ source: target, side: "target" } as const);
  const about = { tenant, tenants: cutovers, rows, tps, seed: seed + tenant, routerUrl };
  const load = startChild("./steady-load.ts", { ...home, ...about } satisfies SteadySettings);
  try {
    await load.message("ready");
    await sleep(SETTLE_MS);
    await untilGateOpens(product, move, verb);
    const { outcome, reason, pauseMs, steps, predicted } = await product.api.switch(verb, move, {});
    if (outcome !== "committed" || pauseMs === null) throw new Error(`${verb} of ${move}: ${outcome} ${reason ?? ""}`);
    const routed = (await product.api.journal(move)).findLast(({ event }) => event === "routed");
    const adapterMs = Number(routed?.facts["adapterMs"]);
    if (!Number.isFinite(adapterMs))
      throw new Error(`${verb} of ${move}: the journal does not tell the adapters' time`);
    // The load has seen the switch, and nothing of it is under way.
    await load.message("done");
    await compareSides({ what: `tenant ${tenant}`, source, target, tenant });
    const took: Record<string, number> = {};
    for (const { step, tookMs } of steps) took[step] = (took[step] ?? 0) + tookMs;
    const predictedOwnMs = predicted.reduce((sum, { step, ms }) => sum + (ADAPTER_STEPS.has(step) ? 0 : ms), 0);
    const predictedSteps = Object.fromEntries(predicted.map(({ step, ms }) => [step, ms]));
    const ownMs = pauseMs - adapterMs;
    return { tenant, verb, pauseMs, adapterMs, ownMs, predictedOwnMs, steps: took, predictedSteps };
  } finally {
    await load.stop();
  }
}

async function untilGateOpens(product: Product, move: string, verb: Verb): Promise<void> {
  const until = performance.now() + GATE_TIMEOUT_MS;
  for (;;) {
    const { outcome, reason } = await product.api.switch(verb, move, { dryRun: true });
    if (outcome === "would-run") return;
    if (performance.now() > until) throw new Error(`the gate of ${move} stays closed: ${reason ?? outcome}`);
    await sleep(ASK_AGAIN_MS);
  }
}

function isNear({ ownMs, predictedOwnMs }: Pause): boolean {
  return Math.abs(predictedOwnMs - ownMs) <= Math.max(NEAR_MS, NEAR_SHARE * ownMs);
}

function found({ options }: BenchRun, all: readonly Pause[], peakMegabytes: number): Found {
  const required = REQUIRED[options.log].pauseMs;
  const spread = (values: readonly number[]) => ({ p50: percentile(values, 50), max: Math.max(...values) });
  const line = (name: string, ours: number, limits: Found["lines"][number]["required"], unit = "ms") => ({
    name,
    ours,
    unit,
    beside: null,
    required: limits,
  });
  const linesOf = (verb: Verb): Found["lines"] => {
    const pauses = all.filter((pause) => pause.verb === verb);
    if (pauses.length === 0) return [];
    const what = verb === "cutover" ? "pause" : "pause of a rollback";
    const own = spread(pauses.map(({ ownMs }) => ownMs));
    const near = pauses.filter(isNear).length / pauses.length;
    const steps = Object.keys(pauses[0]?.steps ?? {}).map(
      (step) => [step, spread(pauses.map((pause) => pause.steps[step] ?? 0))] as const,
    );
    return [
      line(`${what} without the adapters, p50 of ${pauses.length}`, own.p50, { atMost: required.p50 }),
      line(`${what} without the adapters, max of ${pauses.length}`, own.max, { atMost: required.max }),
      line(`${what}, predicted within 30% or 15 ms, share of ${pauses.length}`, near, { atLeast: NEAR_AT_LEAST }, ""),
      line(`${what}, p50`, spread(pauses.map(({ pauseMs }) => pauseMs)).p50, null),
      line(`${what}, adapters and grace, p50`, spread(pauses.map(({ adapterMs }) => adapterMs)).p50, null),
      ...steps.map(([step, { p50, max }]) => line(`${what}, step ${step}, p50 (max ${max.toFixed(1)})`, p50, null)),
    ];
  };
  return {
    lines: [
      ...linesOf("cutover"),
      ...linesOf("rollback"),
      line(
        `peak memory of our processes over ${options.cutovers} moves`,
        peakMegabytes,
        { atMost: REQUIRED[options.log].peakMegabytes },
        "MB",
      ),
    ],
    details: { pauses: all },
  };
}
