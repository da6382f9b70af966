import { DrayError } from "../../pipeline/errors.ts";
import type { Acknowledged, AppliedUpTo, CandidateState, Holding, TargetHistory } from "../../sinks/target-history.ts";
import type { Lane } from "./lane.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import type { Side } from "./sides.ts";

const LOOK_AGAIN_MS = 20;

/** What a target has executed, and its one failover candidate, over connections that may fail (C6). */
export class SimulatedHistory implements TargetHistory {
  readonly #scheduler: Scheduler;
  readonly #process: Process;
  readonly #side: Side;
  readonly #lanes: () => readonly Lane[];

  constructor(options: {
    readonly scheduler: Scheduler;
    readonly process: Process;
    readonly side: Side;
    readonly lanes: () => readonly Lane[];
  }) {
    this.#scheduler = options.scheduler;
    this.#process = options.process;
    this.#side = options.side;
    this.#lanes = options.lanes;
  }

  acknowledged(applied: readonly AppliedUpTo[], signal: AbortSignal): Promise<Acknowledged> {
    const { uuid, stream, name } = this.#side;
    const atServer = () => {
      for (const { lane, seq } of applied) {
        const known = this.#lanes().find((each) => each.name === lane);
        if (known?.hasApplied(seq) !== true) throw new DrayError("TARGET_CHANGED", { lane });
      }
      return { serverUuid: uuid, set: String(stream.length) };
    };
    return this.#scheduler.call(this.#process, `what ${name} has executed`, atServer, signal);
  }

  async confirmCandidates(set: string | null, signal: AbortSignal): Promise<void> {
    const label = `what the candidate of ${this.#side.name} has executed`;
    const atServer = () => this.#side.hasReplicated(Number(set));
    const behind = () => new DrayError("TARGET_CANDIDATE_BEHIND", { candidate: `candidate of ${this.#side.name}` });
    const clock = this.#scheduler.clockOf(this.#process);
    try {
      while (!(await this.#scheduler.call(this.#process, label, atServer, signal))) {
        await clock.sleep(LOOK_AGAIN_MS, signal);
      }
    } catch {
      throw behind();
    }
  }

  candidates(): Promise<readonly CandidateState[]> {
    return Promise.reject(new Error("the gate is no part of this model"));
  }

  holds(): Promise<Holding> {
    return Promise.reject(new Error("nothing watches the target in this model"));
  }
}
