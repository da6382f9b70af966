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
