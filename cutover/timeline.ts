import type { Clock } from "../pipeline/clock.ts";

/**
 * The steps of a cutover, in order (C). `drain` to `prepare` may come more than once; what `prepare` takes is what is still
 * waited for once `drain-again` is done, as it is begun behind `verify`.
 */
export type StepName =
  | "gate"
  | "fence"
  | "quiesce"
  | "drain"
  | "verify"
  | "pin"
  | "drain-again"
  | "prepare"
  | "confirm"
  | "commit"
  | "route"
  | "unfence";

export type Step = { readonly step: StepName; readonly startedMs: number; readonly tookMs: number };
export type StepEvent = {
  readonly step: StepName;
  readonly state: "started" | "done" | "failed";
  readonly atMs: number;
};

/** C10: what each step took, in milliseconds since the first; told as it happens. */
export class Timeline {
  readonly #clock: Clock;
  readonly #onStep: (event: StepEvent) => void;
  readonly #steps: Step[] = [];
  readonly #beginMs: number;
  #current: StepName = "gate";

  constructor(options: { readonly clock: Clock; readonly onStep: (event: StepEvent) => void }) {
    this.#clock = options.clock;
    this.#onStep = options.onStep;
    this.#beginMs = options.clock.monotonicMs();
  }

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** The step it is in, or ended in. */
  get current(): StepName {
    return this.#current;
  }

  get elapsedMs(): number {
    return this.#clock.monotonicMs() - this.#beginMs;
  }

  async run<T>(step: StepName, work: () => Promise<T>): Promise<T> {
    this.#current = step;
    const startedMs = this.elapsedMs;
    this.#onStep({ step, state: "started", atMs: startedMs });
    try {
      const result = await work();
      this.#end(step, startedMs, "done");
      return result;
    } catch (error) {
      this.#end(step, startedMs, "failed");
      throw error;
    }
  }

  #end(step: StepName, startedMs: number, state: "done" | "failed"): void {
    this.#steps.push({ step, startedMs, tookMs: this.elapsedMs - startedMs });
    this.#onStep({ step, state, atMs: this.elapsedMs });
  }
}
