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

/** A part of a lane that is opened anew after every transient error, and stands still after a final one. */
export class Supervised<T> {
  readonly #options: SupervisedOptions<T>;
  readonly #part = new Latch<T>();
  #life: AbortController | null = null;
  #running: Promise<void> = Promise.resolve();
  #retrying: string | null = null;
  #stopped: unknown = null;

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

  /** Resolves with the part once it is there; fails where a final error has stopped it. */
  wait(signal: AbortSignal): Promise<T> {
    return this.#part.wait(signal);
  }

  start(): void {
    if (this.#life !== null && this.#stopped === null) return;
    this.#stopped = null;
    const life = new AbortController();
    this.#life = life;
    const run = keepRunning((signal) => this.#once(signal), {
      clock: this.#options.clock,
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
