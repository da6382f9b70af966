/**
 * Waits for what somebody else settles. The signal's abort rejects it with its reason, and no listener is left behind;
 * whoever keeps the waiting in a list takes it out again.
 */
export async function waitFor<T>(waiting: PromiseWithResolvers<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const onAbort = () => waiting.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await waiting.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** As `waitFor`, for work that may outlive the signal: nobody hears then what becomes of it. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const waiting = Promise.withResolvers<T>();
  waiting.promise.catch(() => {}); // the signal may have been there first
  work.then(waiting.resolve, waiting.reject);
  return await waitFor(waiting, signal);
}
