import { openDifferences, uncoveredTables } from "./lane/fenced-comparison.ts";
import type { LaneRuntime } from "./lane/lane-runtime.ts";
import type { VerifyHalf } from "./lane/verify-half.ts";
import type { GateCondition } from "./move-service.ts";

type Judged = Omit<GateCondition, "name">;

/** What is asked of a lane. */
export type VerifiedLane = Pick<LaneRuntime, "describeKey"> & {
  readonly verification: Pick<VerifyHalf, "state" | "compareDirtyNow" | "predictFenced">;
};

/** What the fence must still read of dirty keys; one that cannot be compared in this time is not one to fence for. */
const COMPARE_TIMEOUT_MS = 30_000;
const NAMED = 3;

/**
 * V2: everything was compared since it was copied, nothing differs, and what has changed since is little enough to be read
 * again under the fence. Keys that are dirty are compared now, so that only those of the last moments are left.
 */
export async function judgeVerification(
  lane: VerifiedLane,
  options: { readonly budgetMs: number },
  signal: AbortSignal,
): Promise<Judged> {
  const limit = `100%, 0 differences, dirty keys within ${Math.round(options.budgetMs)} ms`;
  const { verification } = lane;
  const { state } = verification;
  const notCompared = (tables: readonly string[]): Judged => {
    return { verdict: "no", value: `not yet compared: ${tables.join(", ")}`, limit };
  };
  const before = uncoveredTables(state);
  if (before.length > 0) return notCompared(before);
  await verification.compareDirtyNow(AbortSignal.any([signal, AbortSignal.timeout(COMPARE_TIMEOUT_MS)]));
  // Meanwhile the target may have become another server, or a table have been written anew: only what is known now counts.
  const after = uncoveredTables(state);
  if (after.length > 0) return notCompared(after);
  const differing = openDifferences(state).map(
    ({ table, key, kind }) => `${table} ${lane.describeKey(table, key)} ${kind}`,
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
  const { ms, known } = verification.predictFenced(dirty);
  const pace = known === "measured" ? "" : ", by an assumed pace";
  const value = `100%, 0 differences, ${dirty} dirty keys: about ${ms.toFixed(0)} ms under the fence${pace}`;
  return { verdict: ms <= options.budgetMs ? "yes" : "no", value, limit };
}
