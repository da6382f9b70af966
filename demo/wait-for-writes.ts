import type { ApplicationHandle } from "./children.ts";
import type { Side } from "./schema.ts";

const POLL_MS = 100;
const SAY_EVERY_MS = 5_000;
const STALLED_MS = 60_000;

/**
 * Resolves when so many more writes of the tenant are acknowledged at that side. Rejects, with what the application
 * met last, when not one more is within a minute.
 */
export async function waitForWrites(options: {
  readonly application: ApplicationHandle;
  readonly tenant: string;
  readonly side: Side;
  readonly count: number;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { application, tenant, side, count, say, signal } = options;
  const stats = async () => {
    const { tenants, lastError } = await application.stats();
    return { acknowledged: tenants[tenant]?.acknowledged[side] ?? 0, lastError };
  };
  const { acknowledged: before } = await stats();
  let last = { acknowledged: before, atMs: performance.now() };
  let saidAtMs = performance.now();
  for (;;) {
    signal.throwIfAborted();
    const { acknowledged, lastError } = await stats();
    const written = acknowledged - before;
    if (written >= count) return;
    const nowMs = performance.now();
    if (acknowledged > last.acknowledged) last = { acknowledged, atMs: nowMs };
    if (nowMs - last.atMs > STALLED_MS) {
      const why = lastError === null ? "it met no error" : `its last error: ${lastError}`;
      throw new Error(`the application's writes for ${tenant} at the ${side} have stopped; ${why}`);
    }
    if (nowMs - saidAtMs > SAY_EVERY_MS) {
      saidAtMs = nowMs;
      say(`waiting for more writes of ${tenant} at the ${side}: ${written} of ${count}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
