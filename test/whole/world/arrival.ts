import { expect } from "vitest";
import { differences, ledgerProblems } from "./compare.ts";
import { cutoverOnceOpen, type Driver, phase } from "./driver.ts";
import type { Traffic } from "./traffic.ts";
import type { World } from "./world.ts";

export type Arriving = { readonly world: World; readonly traffic: Traffic; readonly tenant: string };

/**
 * The tenant lives at b: traffic ends, each of its rows is equal on both sides by SQL (it was held at the target), and
 * every acknowledged write of everybody stands at exactly one home.
 */
export async function expectArrived({ world, traffic, tenant }: Arriving): Promise<void> {
  expect(await world.homeOf(tenant)).toEqual({ home: "b", mayWrite: true });
  await traffic.stop();
  expect(await differences(world, tenant)).toEqual([]);
  world.ledger.switchHome(tenant, "b");
  expect(await ledgerProblems(world, "a", [tenant])).toEqual([]);
  expect(await ledgerProblems(world, "b")).toEqual([]);
}

/** Brings a move to its end however many attempts it takes, and looks at everything: one outcome, told by both sides. */
export async function expectMovedInTheEnd(
  arriving: Arriving & { readonly driver: Driver; readonly draySchema: string },
): Promise<void> {
  const { world, tenant, driver, draySchema } = arriving;
  world.heldAtTarget.add(tenant);
  for (;;) {
    const { phase: now } = await phase(driver, "streaming", "watching");
    if (now === "watching") break;
    expect((await cutoverOnceOpen(driver)).outcome).not.toBe("refused");
  }
  const outcomes = await world.outcomes(draySchema);
  const committed = outcomes.a.filter((row) => row.endsWith("COMMITTED"));
  expect(committed).toHaveLength(1);
  expect(outcomes.b.filter((row) => row.endsWith("COMMITTED"))).toEqual(committed);
  await expectArrived(arriving);
}
