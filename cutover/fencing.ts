import { withBackoff } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import { DrayError } from "../pipeline/errors.ts";
import {
  type AdapterCall,
  type AdapterOutcome,
  type AdapterReading,
  type FenceAdapter,
  proves,
  type RouteAdapter,
  type TenantRef,
} from "./adapters/adapter.ts";

export type FencingOptions = TenantRef & {
  readonly from: string;
  readonly to: string;
  readonly fences: readonly FenceAdapter[];
  readonly routes: readonly RouteAdapter[];
  /** The longest time the application may act on a stale flag. */
  readonly graceMs: number;
  readonly clock: Clock;
};

type AnswerTime = { readonly ms: number; readonly expires: boolean };
export type AnswerTimes = { readonly fences: readonly AnswerTime[]; readonly routes: readonly AnswerTime[] };

const LEAST_LIFE_MS = 60_000;

/** What a fence, pin or route that did not hold says; the attempt is aborted (C, on failure). */
function failed(
  code: "FENCE_FAILED" | "PIN_FAILED" | "ROUTE_AMBIGUOUS",
  adapter: string,
  outcome: AdapterOutcome,
): DrayError {
  const why = outcome.kind === "done" ? outcome.reading.state : outcome.reason;
  return new DrayError(code, { adapter, answer: outcome.kind, why });
}

/**
 * All fences and routes of a move, in the manifest's order. Every call carries the generation (C4). `adapterMs` sums the
 * calls' time, so that a pause can be told apart into ours and theirs.
 */
export class Fencing {
  readonly #options: FencingOptions;
  #adapterMs = 0;

  constructor(options: FencingOptions) {
    this.#options = options;
  }

  get adapterMs(): number {
    return this.#adapterMs;
  }

  get timeoutsMs(): number {
    const { fences, routes } = this.#options;
    return [...fences, ...routes].reduce((sum, adapter) => sum + adapter.timeoutMs, 0);
  }

  get graceMs(): number {
    return this.#options.graceMs;
  }

  /**
   * Every fence in order, then the grace. FENCE_FAILED at the first that is not known to hold. One that runs out by
   * itself is asked to hold well beyond the pause that is allowed, so that it never does before it is pinned.
   */
  async fence(generation: number, maxPauseMs: number, signal: AbortSignal): Promise<void> {
    const { fences, clock, graceMs } = this.#options;
    const expiresInMs = Math.max(LEAST_LIFE_MS, 2 * maxPauseMs);
    for (const adapter of fences) {
      const expires = adapter.expiry === "self" ? expiresInMs : null;
      const call = { ...this.#call(generation, this.#options.from), expiresInMs: expires };
      const outcome = await this.#timed(() => adapter.fence(call, signal));
      if (outcome.kind !== "done") throw failed("FENCE_FAILED", adapter.name, outcome);
    }
    if (graceMs > 0) await clock.sleep(graceMs, signal);
  }

  /** Fences that run out by themselves are confirmed never to have been lifted, and made permanent. */
  async pin(generation: number, signal: AbortSignal): Promise<void> {
    for (const adapter of this.#options.fences) {
      if (adapter.expiry !== "self") continue;
      const call = this.#call(generation, this.#options.from);
      const outcome = await this.#timed(() => adapter.pin(call, signal));
      if (outcome.kind !== "done") throw failed("PIN_FAILED", adapter.name, outcome);
    }
  }

  /**
   * Only after ABORTED(generation) stands (C1). Tried until every fence says that it is open, or that a higher generation
   * owns it; `onRetry` is told of each failure. Last fence first.
   */
  async unfence(generation: number, signal: AbortSignal, onRetry: (error: Error) => void): Promise<void> {
    for (const adapter of [...this.#options.fences].reverse()) {
      const call = this.#call(generation, this.#options.from);
      await this.#untilAnswered(signal, onRetry, adapter.name, "UNFENCE_FAILED", () => adapter.unfence(call, signal));
    }
  }

  /** Forward only: the source's fences become final. Tried until answered. */
  async retire(generation: number, signal: AbortSignal, onRetry: (error: Error) => void): Promise<void> {
    for (const adapter of this.#options.fences) {
      const call = this.#call(generation, this.#options.to);
      await this.#untilAnswered(signal, onRetry, adapter.name, "RETIRE_FAILED", () => adapter.retire(call, signal));
    }
  }

  /**
   * Forward only: tried again while the answer is unknown, for a route may be repeated. ROUTE_AMBIGUOUS once `patienceMs`
   * has passed without one, or where the far side refuses: then a person must look.
   */
  async route(generation: number, signal: AbortSignal, patienceMs: number): Promise<void> {
    const { routes, clock, to } = this.#options;
    for (const adapter of routes) {
      const until = clock.monotonicMs() + patienceMs;
      for (let waitMs = 20; ; waitMs = Math.min(waitMs * 2, 1_000)) {
        const outcome = await this.#timed(() => adapter.route(this.#call(generation, to), signal));
        if (outcome.kind === "done") break;
        if (outcome.kind === "refused" || clock.monotonicMs() >= until) {
          throw failed("ROUTE_AMBIGUOUS", adapter.name, outcome);
        }
        await clock.sleep(waitMs, signal);
      }
    }
  }

  /** The highest generation that any adapter reports (C2); a fence or route that cannot be read is an error. */
  async highestGeneration(signal: AbortSignal): Promise<number> {
    const { fences, routes } = this.#options;
    return Math.max(0, ...(await this.#read([...fences, ...routes], signal)).map(({ generation }) => generation));
  }

  /** The routes that do not say, read back, that they send the tenant where this generation brought it. */
  async notRouted(generation: number, signal: AbortSignal): Promise<readonly string[]> {
    const { routes } = this.#options;
    const readings = await this.#read(routes, signal);
    return readings.flatMap((reading, i) =>
      proves("route", generation, reading)
        ? []
        : [`${routes[i]?.name} reads ${reading.state} of generation ${reading.generation}`],
    );
  }

  /** How long each far side takes to answer, by reading it so often; the middle one counts. */
  async answerTimes(times: number, signal: AbortSignal): Promise<AnswerTimes> {
    const { clock, fences, routes, move, tenant } = this.#options;
    const timed = async (adapter: Pick<FenceAdapter, "name" | "read">) => {
      const took: number[] = [];
      for (let i = 0; i < times; i++) {
        const beganMs = clock.monotonicMs();
        await adapter.read({ move, tenant }, signal);
        took.push(clock.monotonicMs() - beganMs);
      }
      return took.toSorted((a, b) => a - b)[Math.floor(times / 2)] ?? 0;
    };
    const found: { fences: AnswerTime[]; routes: AnswerTime[] } = { fences: [], routes: [] };
    for (const each of fences) found.fences.push({ ms: await timed(each), expires: each.expiry === "self" });
    for (const each of routes) found.routes.push({ ms: await timed(each), expires: false });
    return found;
  }

  /** The generations of the fences that hold the tenant now; 0 of one that knows none. */
  async holding(signal: AbortSignal): Promise<readonly number[]> {
    const readings = await this.#read(this.#options.fences, signal);
    return readings.filter(({ state }) => state === "fenced" || state === "pinned").map(({ generation }) => generation);
  }

  async #read(adapters: readonly Pick<FenceAdapter, "name" | "read">[], signal: AbortSignal) {
    const readings: AdapterReading[] = [];
    for (const adapter of adapters) {
      const answer = await adapter.read({ move: this.#options.move, tenant: this.#options.tenant }, signal);
      if (answer.kind === "unknown")
        throw new DrayError("ADAPTER_SILENT", { adapter: adapter.name, why: answer.reason });
      readings.push(answer.reading);
    }
    return readings;
  }

  #call(generation: number, to: string): AdapterCall {
    return { move: this.#options.move, tenant: this.#options.tenant, generation, to };
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const begin = this.#options.clock.monotonicMs();
    try {
      return await work();
    } finally {
      this.#adapterMs += this.#options.clock.monotonicMs() - begin;
    }
  }

  async #untilAnswered(
    signal: AbortSignal,
    onRetry: (error: Error) => void,
    adapter: string,
    code: "UNFENCE_FAILED" | "RETIRE_FAILED",
    work: () => Promise<AdapterOutcome>,
  ): Promise<void> {
    await withBackoff(
      async () => {
        const outcome = await work();
        // Refused: a higher generation owns the fence by now, or this one is finished there already.
        if (outcome.kind === "unknown") throw new DrayError(code, { adapter, why: outcome.reason });
      },
      { signal, onRetry, maxMs: 2_000, clock: this.#options.clock },
    );
  }
}
