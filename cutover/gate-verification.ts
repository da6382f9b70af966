import type { LaneRuntime } from "./lane/lane-runtime.ts";
import type { GateCondition } from "./move-service.ts";

type Judged = Omit<GateCondition, "name">;

/** What the fence must still read of dirty keys; one that cannot be compared in this time is not one to fence for. */
const COMPARE_TIMEOUT_MS = 30_000;
const NAMED = 3;

/**
 * V2: everything was compared since it was copied, nothing differs, and what has changed since is little enough to be read
 * again under the fence. Keys that are dirty are compared now, so that only those of the last moments are left.
 */
export async function judgeVerification(
  lane: LaneRuntime,
  options: { readonly budgetMs: number },
  signal: AbortSignal,
): Promise<Judged> {
  const limit = `100%, 0 differences, dirty keys within ${Math.round(options.budgetMs)} ms`;
  const { state } = lane.verification;
  const open = state.tables.filter(({ isCovered }) => !isCovered).map(({ id }) => id);
  if (open.length > 0) {
    return { verdict: "no", value: `not yet compared: ${open.join(", ")}`, limit };
  }
  await lane.verification.compareDirtyNow(AbortSignal.any([signal, AbortSignal.timeout(COMPARE_TIMEOUT_MS)]));
  const differing = state.tables.flatMap((table) =>
    table.differences.map(({ key, kind }) => `${table.id} ${lane.describeKey(table.id, key)} ${kind}`),
  );
  const overflowing = state.tables.filter(({ overflows }) => overflows).map(({ id }) => id);
  if (overflowing.length > 0 && differing.length === 0) {
    return { verdict: "no", value: `rows differ, and are not named yet: ${overflowing.join(", ")}`, limit };
  }
  if (differing.length > 0) {
    const rest = differing.length > NAMED ? ` and ${differing.length - NAMED} more` : "";
    const beyond = overflowing.length > 0 ? ", and more than are kept by name" : "";
    const more = `${rest}${beyond}`;
    return { verdict: "no", value: `${differing.slice(0, NAMED).join("; ")}${more}`, limit };
  }
  const dirty = state.tables.reduce((sum, { dirtyKeys }) => sum + dirtyKeys, 0);
  const predictedMs = lane.verification.predictFencedMs(dirty);
  const value = `100%, 0 differences, ${dirty} dirty keys: about ${predictedMs.toFixed(0)} ms under the fence`;
  return { verdict: predictedMs <= options.budgetMs ? "yes" : "no", value, limit };
}
