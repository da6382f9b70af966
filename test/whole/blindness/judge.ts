import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { DifferenceReport } from "../../../cutover/move-service.ts";
import { compared, type LocalDriver, phase } from "../world/driver.ts";
import type { Random } from "../world/random.ts";
import type { BlindSides, Differing } from "./sides.ts";

const HANG_MS = 120_000;

/** Exactly these rows, in whatever order. */
export function expectSame(reported: readonly DifferenceReport[], differing: readonly Differing[]): void {
  const lines = (all: readonly (Omit<Differing, "columns"> & { readonly columns: readonly string[] | null })[]) =>
    all.map(({ table, key, kind, columns }) => `${table} ${key}: ${kind} ${columns?.join(",")}`).sort();
  const [found, wanted] = [lines(reported), lines(differing)];
  const [expected, got] = [new Set(wanted), new Set(found)];
  expect({
    missed: wanted.filter((line) => !got.has(line)),
    besides: found.filter((line) => !expected.has(line)),
    twice: found.length - got.size,
  }).toEqual({ missed: [], besides: [], twice: 0 });
}

/** Nothing is reported any more, and MySQL finds nothing either. */
export async function untilSame(sides: BlindSides, driver: LocalDriver): Promise<void> {
  const untilMs = performance.now() + HANG_MS;
  // What a repair wrote is reported until it stands in the target and was compared there.
  for (;;) {
    await phase(driver, "streaming");
    const { differences } = await compared(driver);
    if (differences.length === 0) break;
    if (performance.now() > untilMs) expectSame(differences, []);
    await sleep(100);
  }
  for (let found = await sides.differences(); ; found = await sides.differences()) {
    if (found.length === 0) return;
    if (performance.now() > untilMs) expect(found).toEqual([]);
    await sleep(100);
  }
}

export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const all = [...items];
  for (let i = all.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [all[i], all[j]] = [all[j] as T, all[i] as T];
  }
  return all;
}
