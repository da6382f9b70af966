import { setImmediate as settled } from "node:timers/promises";
import type { Happening } from "./scheduler.ts";
import { otherSide, type SideName } from "./sides.ts";
import type { World } from "./world.ts";

/** What must hold after every step. */
export function stepBreaches(world: World): void {
  const writable = world.application.writable();
  if (writable.size > 1) world.breach(`the tenant can be written on both sides: ${world.adapters}`);
}

/**
 * What must hold once nothing fails any more: everybody who was stalled goes on and comes to rest, a new process brings
 * the move to its end, and a cutover that an operator asks for then succeeds.
 */
export async function finalBreaches(
  world: World,
  happen: (happening: Happening) => Promise<void>,
  mostSteps: number,
): Promise<void> {
  const rest = async (what: string, hung: "are left" | "are rolled back") => {
    await settled();
    for (let steps = 0; world.breaches.length === 0; steps++) {
      const next = usual(world, hung);
      if (next === null) break;
      if (steps >= mostSteps) return world.breach(`${what} never ends`);
      await happen(next);
    }
    for (const { process, command } of world.coordinators) {
      if (process.state === "running" && command !== null) world.breach(`${process.name} ${command}: never ends`);
    }
  };
  world.disastersLeft = 0;
  world.failoversLeft = 0;
  world.scheduler.faultsLeft = 0;
  for (const { process } of world.coordinators) if (process.state === "stalled") process.state = "running";
  await rest("what was under way", "are left");
  if (world.breaches.length > 0) return;
  for (const { process } of world.coordinators) process.state = "dead";
  world.trace.push("--- a new process");
  const last = world.startProcess();
  await rest("recovery", "are left");
  for (let times = 0; times < 3 && world.breaches.length === 0 && last.memory.phase === "failed"; times++) {
    last.retry();
    await rest("routing that is tried again", "are left");
  }
  arrived(world);
  // An abort ends the move, whatever memory it was told from.
  if (world.breaches.length > 0 || world.laneOf(last.memory).closedInTarget === "yes") return;
  for (const lane of world.lanes) lane.isStuck = "no";
  await rest("the lanes", "are rolled back");
  for (const write of world.application.writes()) await happen(write);
  await rest("the lanes", "are rolled back");
  if (world.breaches.length > 0) return;
  world.trace.push("--- one more cutover");
  const before = world.committed.length;
  last.cutOver();
  await rest("one more cutover", "are rolled back");
  if (world.committed.length === before) world.breach("a cutover without any fault does not succeed");
  arrived(world);
}

/** The tenant is writable where the last outcome says, and everything a client was told of is there. */
function arrived(world: World): void {
  if (world.breaches.length > 0) return;
  const [home, ...more] = world.application.writable();
  if (home === undefined || more.length > 0) return world.breach(`the tenant cannot write: ${world.adapters}`);
  const expected = homeByOutcomes(world);
  if (home !== expected) world.breach(`the tenant lives at ${home}, and outcomes say ${expected}`);
  const { rows } = world.sides[home];
  const { strays } = world;
  const excused = world.application.acknowledged.filter((write) => {
    // Told as a stray: it came behind the seal, where the application had promised that nobody writes.
    const end = world.committed[write.leg];
    const isBehindSeal = end !== undefined && write.place >= end.sealedAt;
    return write.isLate === "yes" && isBehindSeal && strays.has(write.key);
  });
  for (const { side, hotKey } of excused) world.sides[side].spoiled.add(hotKey);
  for (const write of world.application.acknowledged) {
    if (excused.includes(write)) continue;
    if (!rows.has(write.key)) world.breach(`${write.key}, written to ${write.side}, is not at ${home}`);
    const isOld = (rows.get(write.hotKey) ?? 0) < write.value && !world.sides[home].spoiled.has(write.hotKey);
    if (isOld) world.breach(`${write.hotKey} at ${home} is older than ${write.value}, written to ${write.side}`);
  }
}

function homeByOutcomes(world: World): SideName {
  const last = world.committed.filter(({ generation, home }) => {
    return world.sides[otherSide(home)].outcomes.get(generation)?.outcome === "COMMITTED";
  });
  const newest = last.sort((a, b) => a.generation - b.generation).at(-1);
  return newest === undefined ? world.firstHome : otherSide(newest.home);
}

/** What goes on by itself where nothing fails: whoever is first; time only where nobody can do anything. */
export function usual(world: World, hung: "are left" | "are rolled back"): Happening | null {
  const [first] = [
    ...world.scheduler.happenings(),
    ...world.application.endings(hung),
    ...world.lanes.flatMap((lane) => lane.happenings()),
    ...world.replications(),
  ].filter(({ label }) => !label.startsWith("arrives") || !world.isAnyoneStalled);
  if (first !== undefined) return first;
  const due = world.scheduler.nextDueMs();
  if (due === null) return world.scheduler.lateArrivals()[0] ?? null;
  const run = () => {
    world.scheduler.nowMs = Math.max(due, world.scheduler.nowMs);
  };
  return { label: "time passes to the next timer", weight: 1, run };
}
