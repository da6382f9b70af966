import { setImmediate as settled } from "node:timers/promises";
import fc from "fast-check";
import { finalBreaches, stepBreaches, usual } from "./properties.ts";
import { RULES, type Rules } from "./rules.ts";
import type { Happening } from "./scheduler.ts";
import type { Cue } from "./stories.ts";
import { type Plan, World } from "./world.ts";

/** A world, and which of the things that may happen did, as shares of their weights. */
export type Schedule = {
  readonly plan: Plan;
  readonly choices: readonly number[];
  /** What happens before anything is left to chance. */
  readonly story?: readonly Cue[];
};
export type Verdict = {
  readonly breaches: readonly string[];
  readonly trace: readonly string[];
  readonly world: World;
};

const CHOICES = 1_000;
const MOST_STEPS = 3_000;

const plans: fc.Arbitrary<Plan> = fc.record({
  direction: fc.constantFrom("forward", "back"),
  layout: fc.constantFrom("one", "several"),
  expiry: fc.constantFrom("supervised", "self"),
  faults: fc.nat(4),
  disasters: fc.nat(4),
  failovers: fc.nat(2),
  lateWrites: fc.nat(2),
  hangs: fc.nat(1),
  often: fc.subarray(["aborts", "old copies", "failovers", "zombies"]),
});
const choices = fc.array(fc.noBias(fc.nat(CHOICES - 1)), { minLength: 40, maxLength: 260, size: "max" });

/** Plays a schedule, then lets everything come to rest without faults, and judges. */
export async function play({ plan, choices, story = [] }: Schedule, rules: Rules = RULES): Promise<Verdict> {
  const world = new World(plan, rules);
  await settled();
  for (const cue of story) await follow(world, cue);
  for (const choice of choices) {
    const happening = choose(world.happenings(), choice / CHOICES);
    await happen(world, happening);
    if (world.breaches.length > 0) return verdict(world);
  }
  world.trace.push("--- nothing fails any more");
  await finalBreaches(world, (happening) => happen(world, happening), MOST_STEPS);
  return verdict(world);
}

export type Found = Verdict & { readonly schedule: Schedule; readonly run: number };

/** The first schedule of a seed that breaks something, made short; null where none of them does. */
export async function explore(options: {
  readonly seed: number;
  readonly runs: number;
  readonly rules?: Rules;
  /** How many plays may be spent on making a find shorter. */
  readonly shrinkingPlays: number;
  readonly onPlayed?: (verdict: Verdict) => void;
}): Promise<Found | null> {
  const { seed, runs, rules = RULES, shrinkingPlays, onPlayed } = options;
  const found: Schedule[] = [];
  let played = 0;
  const holds = async (schedule: Schedule) => {
    played++;
    const verdict = await play(schedule, rules);
    onPlayed?.(verdict);
    if (verdict.breaches.length > 0) found.push(schedule);
    return verdict.breaches.length === 0;
  };
  const schedules = fc.record({ plan: plans, choices });
  await fc.check(fc.asyncProperty(schedules, holds), { seed, numRuns: runs, endOnFailure: true });
  const [first] = found;
  if (first === undefined) return null;
  const schedule = await shorter(first, rules, shrinkingPlays);
  return { ...(await play(schedule, rules)), schedule, run: played };
}

/** Leaves out stretches of choices, longer ones first, as long as what is left still breaks something. */
async function shorter(schedule: Schedule, rules: Rules, mostPlays: number): Promise<Schedule> {
  let best = schedule;
  let plays = 0;
  const tryOut = async (choices: readonly number[]) => {
    if (plays++ >= mostPlays) return;
    const { breaches } = await play({ ...best, choices }, rules);
    if (breaches.length > 0) best = { ...best, choices };
  };
  for (let length = Math.ceil(best.choices.length / 2); length >= 1 && plays < mostPlays; ) {
    const before = best.choices.length;
    for (let at = best.choices.length - length; at > -length && plays < mostPlays; at -= length) {
      await tryOut(best.choices.filter((_, i) => i < at || i >= at + length));
    }
    if (best.choices.length === before) length = Math.floor(length / 2);
  }
  return best;
}

async function follow(world: World, { next, before = next }: Cue): Promise<void> {
  for (let steps = 0; steps < MOST_STEPS && world.breaches.length === 0; steps++) {
    const happenings = world.happenings();
    const found = happenings.find(({ label }) => next.test(label));
    if (found !== undefined && happenings.some(({ label }) => before.test(label))) return await happen(world, found);
    const going = usual(world, "are left");
    if (going === null) return; // it cannot come to that
    await happen(world, going);
  }
}

async function happen(world: World, happening: Happening): Promise<void> {
  world.trace.push(`${String(world.scheduler.nowMs).padStart(6)} ${happening.label}`);
  happening.run();
  await settled();
  stepBreaches(world);
}

function verdict(world: World): Verdict {
  return { breaches: world.breaches, trace: world.trace, world };
}

function choose(happenings: readonly Happening[], share: number): Happening {
  const total = happenings.reduce((sum, { weight }) => sum + weight, 0);
  let left = share * total;
  for (const happening of happenings) {
    left -= happening.weight;
    if (left < 0) return happening;
  }
  return happenings[0] as Happening;
}
