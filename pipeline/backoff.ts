import pRetry from "p-retry";
import { type Clock, systemClock } from "./clock.ts";
import { DrayError, isDrayError } from "./errors.ts";

export type BackoffOptions = {
  readonly signal: AbortSignal;
  /** Called with each failure that is tried again, for `reason` in status and the log. */
  readonly onRetry: (error: Error, attempt: number) => void;
  readonly minMs?: number;
  readonly maxMs?: number;
  /** What the waiting goes by; the system's where nobody says otherwise. */
  readonly clock?: Clock;
};

/**
 * Runs `work` until it succeeds, waiting longer after each failure that says `retry: backoff`; any other error is thrown
 * at once, for a permanent error is never tried again (A8). Gives up only by its signal.
 */
export async function withBackoff<T>(work: (attempt: number) => Promise<T>, options: BackoffOptions): Promise<T> {
  const { signal, minMs = 50, maxMs = 5_000, clock = systemClock } = options;
  try {
    return await pRetry((attempt) => work(attempt), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 0, // the library's own waiting knows no clock but the system's
      signal,
      shouldRetry: async ({ error, attemptNumber }) => {
        if (!isTransient(error)) return false;
        options.onRetry(error, attemptNumber);
        await clock.sleep(Math.min((1 + Math.random()) * minMs * 2 ** (attemptNumber - 1), maxMs), signal);
        return true;
      },
    });
  } catch (error) {
    options.signal.throwIfAborted();
    throw error;
  }
}

export function isTransient(error: unknown): boolean {
  return isDrayError(error) && error.problem.retry === "backoff";
}

/** A8: what the work stood on is another by now; begun anew, it asks where it stands. */
export function wantsReopening(error: unknown): boolean {
  return isDrayError(error) && error.problem.retry === "reopen";
}

/** What status shows for an error: code and facts of ours, else the message. */
export function reasonOf(error: unknown): string {
  if (error instanceof DrayError) return error.message;
  return error instanceof Error ? error.message : String(error);
}

/**
 * Runs `work` again and again until its signal aborts or it fails for good; each run is a new opening. The waiting
 * begins anew after a run that held for half a minute, so that one failure a day does not add up.
 */
export async function keepRunning(
  work: (signal: AbortSignal) => Promise<void>,
  options: BackoffOptions & { readonly clock: Clock },
): Promise<void> {
  const { clock, signal, minMs = 50, maxMs = 5_000 } = options;
  let waitMs = minMs;
  for (let attempt = 1; ; attempt++) {
    const beganMs = clock.monotonicMs();
    try {
      await work(signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!isTransient(error) && !wantsReopening(error)) throw error;
      options.onRetry(error as Error, attempt);
      if (clock.monotonicMs() - beganMs > 30_000) waitMs = minMs;
      await clock.sleep(waitMs * (0.5 + Math.random()), signal);
      waitMs = Math.min(waitMs * 2, maxMs);
    }
    signal.throwIfAborted();
  }
}
