import { createRequire } from "node:module";

/** What this file knows of kafkajs 2.2.4's request queue, one of which belongs to each connection. */
type RequestQueue = { pending: readonly unknown[]; scheduleCheckPendingRequests(): void };

/**
 * kafkajs 2.2.4 sets a timer of a negative time after every answer, which sets itself again for ever: a warning of Node
 * on the operator's screen and a thousand wake-ups a second for each connection. Nothing needs that timer while nothing
 * waits: a request that has to wait sets it itself. Returns whether the seam was found; without it kafkajs works as it comes.
 */
export function quietRequestTimers(): boolean {
  const load = createRequire(import.meta.url);
  let queue: { readonly prototype?: Partial<RequestQueue> };
  try {
    queue = load("kafkajs/src/network/requestQueue/index.js");
  } catch {
    return false;
  }
  const prototype = queue.prototype;
  const schedule = prototype?.scheduleCheckPendingRequests;
  if (!prototype || !schedule) return false;
  if (quieted.has(prototype)) return true;
  quieted.add(prototype);
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length > 0) schedule.call(this);
  };
  return true;
}

const quieted = new WeakSet<object>();
