import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { reasonOf, withBackoff } from "../pipeline/backoff.ts";
import { DrayError, isDrayError } from "../pipeline/errors.ts";
import { type RunResult, retryRouting, runCutover } from "./cutover-run.ts";
import type { Direction } from "./direction.ts";
import type { Move } from "./move.ts";
import type { CutoverRequest, MoveEvent } from "./move-service.ts";
import { type Phase, SWITCHING } from "./phases.ts";
import { recoverMove } from "./reconcile.ts";

/** What has begun in these phases ends without a client. */
export function isToBeEnded(phase: Phase): boolean {
  return SWITCHING.has(phase) || phase === "aborting" || phase === "finishing";
}

export type AttemptRunsOptions = {
  readonly logger: Logger;
  /** Aborts when the server stops. */
  readonly life: AbortSignal;
};

/** Attempts under way in this process: each holds its move until it is decided, or a person decides (C2). */
export class AttemptRuns {
  readonly #options: AttemptRunsOptions;
  readonly #holds = new Map<string, { readonly controller: AbortController; readonly done: Promise<unknown> }>();

  constructor(options: AttemptRunsOptions) {
    this.#options = options;
  }

  /** A switch, the same in both directions (C8). */
  async run(
    move: Move,
    direction: Direction,
    request: CutoverRequest,
    by: string,
    onEvent: (event: MoveEvent) => void,
  ): Promise<RunResult> {
    const command = direction === "forward" ? "cutover" : "rollback";
    return await this.#unlessLeft(move, command, by, (forward) =>
      runCutover(move, direction, request, by, onEvent, forward),
    );
  }

  /** COMMITTED stands, and the routing is open: its calls are made again. */
  async retryRouting(move: Move, by: string): Promise<RunResult> {
    return await this.#unlessLeft(move, "retry", by, (forward) => retryRouting(move, by, forward));
  }

  /** C2, an abort that was cut short, and a finish: brought to an end in the background, whatever it takes. */
  recover(move: Move): void {
    if (!isToBeEnded(move.phase)) return;
    const { logger, life } = this.#options;
    const onRetry = (error: Error) => logger.warn({ move: move.name, error: error.message }, "recovery is tried again");
    const work = (signal: AbortSignal) => withBackoff(() => recoverMove(move, signal), { signal, onRetry });
    move
      .command("recovery", "server", () => this.#held(move, work))
      .catch((error: unknown) => {
        if (life.aborted || isDrayError(error, "RESOLVED_BY_A_PERSON")) return;
        logger.error({ move: move.name, error: reasonOf(error) }, "recovery has ended without a decision");
      });
  }

  /** A finish that cannot go on, or is not to: what it has not removed by now stays. */
  async leaveFinish(move: Move): Promise<void> {
    if (move.phase === "finishing") await this.#letGo(move);
  }

  /** Only what is alarmed as held: an attempt that may still decide by itself is not a person's business. */
  async letGo(move: Move): Promise<void> {
    const alarms = await move.context.alarms.of(move.name);
    if (alarms.some(({ code }) => code === "CUTOVER_HELD")) await this.#letGo(move);
  }

  async #letGo(move: Move): Promise<void> {
    const hold = this.#holds.get(move.name);
    if (hold === undefined) return;
    hold.controller.abort(new DrayError("RESOLVED_BY_A_PERSON", { move: move.name }));
    await hold.done.catch(() => {});
    // Whoever held the move lets go of it in the same moment.
    await nextTurn();
  }

  async #unlessLeft<T>(
    move: Move,
    command: string,
    by: string,
    work: (forward: AbortSignal) => Promise<T>,
  ): Promise<T> {
    let isLeft = false;
    const run = async (forward: AbortSignal) => {
      try {
        return await work(forward);
      } catch (error) {
        isLeft = !forward.aborted && SWITCHING.has(move.phase);
        throw error;
      }
    };
    try {
      return await move.command(command, by, () => this.#held(move, run));
    } catch (error) {
      // C2: whatever ended the attempt half way (a full disk, say), nobody is left fenced until the next start.
      if (isLeft) this.recover(move);
      throw error;
    }
  }

  /** An attempt that waits for a decision nobody can write or read holds the move until a person resolves it (C2). */
  async #held<T>(move: Move, work: (forward: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const done = work(AbortSignal.any([controller.signal, this.#options.life]));
    this.#holds.set(move.name, { controller, done });
    try {
      return await done;
    } finally {
      this.#holds.delete(move.name);
    }
  }
}
