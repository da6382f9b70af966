import { keepRunning, reasonOf } from "../../pipeline/backoff.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { Latch } from "./latch.ts";

export type SupervisedOptions<T> = {
  readonly clock: Clock;
  /** Opens the part, calls `ready` with it, and runs it until the signal or an error ends it. */
  readonly run: (signal: AbortSignal, ready: (part: T) => void) => Promise<void>;
  /** A final error ended it; nothing runs until `start` is called again. */
  readonly onStopped: (error: unknown) => void;
};

/** Whoever needs the part, as a tenant behind a fence does, waits no longer than this from one try to the next. */
const HURRIED_MS = 50;

/** A part of a lane that is opened anew after every transient error, and stands still after a final one. */
export class Supervised<T> {
  readonly #options: SupervisedOptions<T>;
  readonly #part = new Latch<T>();
  #life: AbortController | null = null;
  #running: Promise<void> = Promise.resolve();
  #retrying: string | null = null;
  #stopped: unknown = null;
  #waiters = 0;
  #pause = new AbortController();

  constructor(options: SupervisedOptions<T>) {
    this.#options = options;
  }

  get part(): T | null {
    return this.#part.value;
  }

  /** The final error that stopped it; null while it runs, or was never started. */
  get stopped(): unknown {
    return this.#stopped;
  }

  /** Why it is being opened again; null once it is there. */
  get retrying(): string | null {
    return this.#retrying;
  }

  /**
   * Resolves with the part once it is there; fails where a final error has stopped it. While somebody waits, the pauses
   * between two tries are short, however often it has failed: the one that runs ends now.
   */
  async wait(signal: AbortSignal): Promise<T> {
    this.#waiters++;
    this.#pause.abort(new Error("somebody waits"));
    try {
      return await this.#part.wait(signal);
    } finally {
      this.#waiters--;
    }
  }

  start(): void {
    if (this.#life !== null && this.#stopped === null) return;
    this.#stopped = null;
    const life = new AbortController();
    this.#life = life;
    const { clock } = this.#options;
    const run = keepRunning((signal) => this.#once(signal), {
      clock: {
        monotonicMs: () => clock.monotonicMs(),
        wallMs: () => clock.wallMs(),
        sleep: (ms) => this.#between(ms, life.signal),
      },
      signal: life.signal,
      onRetry: (error) => {
        this.#retrying = reasonOf(error);
      },
    });
    this.#running = run.catch((error) => {
      this.#part.fail(error);
      if (life.signal.aborted) return;
      this.#stopped = error;
      this.#options.onStopped(error);
    });
  }

  /** Ends it and waits for what is under way. It may be started again. */
  async stop(reason: string): Promise<void> {
    this.#life?.abort(new Error(reason));
    await this.#running;
    this.#life = null;
  }

  async #between(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (this.#waiters > 0) return await clock.sleep(Math.min(ms, HURRIED_MS), signal);
    this.#pause = new AbortController();
    const either = AbortSignal.any([signal, this.#pause.signal]);
    await clock.sleep(ms, either).catch(() => signal.throwIfAborted());
  }

  async #once(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.run(signal, (part) => {
        this.#retrying = null;
        this.#part.set(part);
      });
    } finally {
      this.#part.unset();
    }
  }
}
