import { reasonOf } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import { waitFor } from "./wait.ts";

/** One thing that may ask the snapshot to slow down. */
export interface ThrottleProbe {
  /** As the manifest names it. */
  readonly name: string;
  readonly everyMs: number;
  /** The measured value and its limit; a probe that throws or is late counts as over the limit (W8). */
  measure(signal: AbortSignal): Promise<{ readonly value: number; readonly limit: number }>;
}

/**
 * W8: the set of reasons why the snapshot must not read on. Only the snapshot is ever held, never the stream. The words
 * of a reason are for people; nothing may branch on them.
 */
export class Throttle {
  readonly #clock: Clock;
  readonly #probes: readonly ThrottleProbe[];
  readonly #reasons = new Map<string, string>();
  #waiting: (() => void)[] = [];

  constructor(options: { readonly clock: Clock; readonly probes: readonly ThrottleProbe[] }) {
    this.#clock = options.clock;
    this.#probes = options.probes;
    for (const probe of this.#probes) this.#reasons.set(`probe ${probe.name}`, `${probe.name}: not measured yet`);
  }

  get reasons(): readonly string[] {
    return [...this.#reasons.values()];
  }

  hold(holder: string, reason: string): void {
    this.#reasons.set(holder, reason);
  }

  release(holder: string): void {
    this.#reasons.delete(holder);
    if (this.#reasons.size > 0) return;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves once nobody holds. */
  async clear(signal: AbortSignal): Promise<void> {
    while (this.#reasons.size > 0) {
      signal.throwIfAborted();
      const cleared = Promise.withResolvers<void>();
      this.#waiting.push(cleared.resolve);
      try {
        await waitFor(cleared, signal);
      } finally {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== cleared.resolve);
      }
    }
  }

  /** Measures every probe in its own rhythm until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#probes.map((probe) => this.#watch(probe, signal)));
  }

  async #watch(probe: ThrottleProbe, signal: AbortSignal): Promise<void> {
    const holder = `probe ${probe.name}`;
    while (!signal.aborted) {
      const timeout = AbortSignal.timeout(Math.max(probe.everyMs, 1_000));
      try {
        const { value, limit } = await probe.measure(AbortSignal.any([signal, timeout]));
        if (value > limit) this.hold(holder, `${probe.name}: ${value} > ${limit}`);
        else this.release(holder);
      } catch (error) {
        if (signal.aborted) return;
        this.hold(holder, `${probe.name}: no answer (${reasonOf(error)})`);
      }
      await this.#clock.sleep(probe.everyMs, signal).catch(() => {});
    }
  }
}
