import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PROBES, type ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { ledgerProblems } from "../whole/world/compare.ts";
import { plannedRuns, Random, repeatable } from "../whole/world/random.ts";
import { World } from "../whole/world/world.ts";
import { crashRound, type Route } from "./crash-round.ts";

/** On which way of a move its process comes past each place. Total: a new probe does not compile before it has one. */
const ROUTES: Readonly<Record<ProbeName, Route>> = {
  "log.epoch-appended": "forward",
  "log.before-append": "forward",
  "log.after-append": "forward",
  "capture.after-start-mark": "forward",
  "capture.after-range": "forward",
  "capture.after-low-mark": "forward",
  "capture.after-chunk-read": "forward",
  "capture.after-high-mark": "forward",
  "capture.before-chunk-append": "forward",
  "capture.after-chunk-append": "forward",
  "verify.after-append": "forward",
  "verify.after-view": "forward",
  "verify.after-compare": "forward",
  "verify.after-save": "forward",
  "apply.after-epoch": "forward",
  "apply.before-commit": "forward",
  "apply.after-commit": "forward",
  "apply.before-watermark": "forward",
  "apply.after-watermark": "forward",
  "cutover.attempt-journalled": "forward",
  "cutover.before-fence": "forward",
  "cutover.after-fence": "forward",
  "cutover.after-quiesce": "forward",
  "cutover.after-s1": "forward",
  "cutover.after-verify": "forward",
  "cutover.after-prepare": "forward",
  "cutover.after-pin": "forward",
  "cutover.after-s2": "forward",
  "cutover.before-commit": "forward",
  "cutover.after-home-commit": "forward",
  "cutover.after-target-commit": "forward",
  "cutover.after-route": "forward",
  "cutover.after-retire": "forward",
  "cutover.before-abort-outcome": "attempt-aborted",
  "cutover.after-abort-outcome": "attempt-aborted",
  "cutover.after-unfence": "attempt-aborted",
  "recopy.intended": "recopy",
  "recopy.journalled": "recopy",
  "recopy.after-start-mark": "recopy",
  "recopy.all-journalled": "recopy-all",
  "recopy.after-close": "recopy-all",
  "recopy.after-replace": "recopy-all",
  "abort.after-outcome": "abort",
  "abort.after-close": "abort",
  "cleanup.after-batch": "abort",
  "finish.begun": "finish",
  "finish.after-compare": "finish",
  "finish.after-close": "finish",
  "finish.after-removal": "finish",
  "finish.after-drop": "finish",
};
const RANDOM_ROUNDS = 6;
/** A move comes past these once on its way, and once more on its way back. */
const SWITCH_PLACES = PROBES.filter((place) => place.startsWith("cutover.") && ROUTES[place] === "forward");

/** And these where the attempt to go back is given up, as on the way there. */
const ABORT_PLACES = PROBES.filter((place) => ROUTES[place] === "attempt-aborted");

/*
 * A move's process dies by SIGKILL at every named place, and another one goes on from what it left: the log, the control
 * store, the databases. Whatever the place, the tenant ends up writable at exactly one side with every row.
 */
describeWithMysql("C2, A2, L2: the process of a move is killed", ({ a, b }) => {
  const { seed, runs } = plannedRuns(RANDOM_ROUNDS);
  // Rounds whose place is not reached do not count, and need tenants too.
  const count = PROBES.length + SWITCH_PLACES.length + ABORT_PLACES.length + 1 + 3 * runs;
  let world: World;
  let next = 0;
  const rolledBack: string[] = [];

  beforeAll(async () => {
    const moved = Array.from({ length: count }, (_, i) => [`t${i}`, "a"] as const);
    const homes = Object.fromEntries([...moved, ["ACME", "a"], ["delta", "b"]] as [string, "a" | "b"][]);
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 70, workers: 2 });
  });
  afterAll(() => world?.close());

  describe("at", () => {
    test.each(PROBES)("%s", async (place) => {
      const round = { world, tenant: `t${next++}`, place, hit: 1, route: ROUTES[place] };
      expect(await crashRound(round), `${place} was reached`).toBe(true);
    });
  });

  describe("on the way back, at", () => {
    test.each(SWITCH_PLACES)("%s", async (place) => {
      const tenant = `t${next++}`;
      rolledBack.push(tenant);
      expect(await crashRound({ world, tenant, place, hit: 2, route: "rollback" }), `${place} was reached`).toBe(true);
    });
  });

  test("while rows are removed at the source, cleanup.after-batch", async () => {
    const round = { world, tenant: `t${next++}`, place: "cleanup.after-batch", hit: 3, route: "finish" } as const;
    expect(await crashRound(round), "it was reached").toBe(true);
  }, 600_000);

  describe("on the way back, which is given up, at", () => {
    test.each(ABORT_PLACES)("%s", async (place) => {
      const tenant = `t${next++}`;
      rolledBack.push(tenant);
      const round = { world, tenant, place, hit: 1, route: "rollback-aborted" } as const;
      expect(await crashRound(round), `${place} was reached`).toBe(true);
    });
  });

  test(`at random places, ${runs} times (SEED=${seed})`, async () => {
    const random = new Random(seed);
    let counted = 0;
    while (counted < runs && next < count) {
      const place = random.pick(PROBES);
      const hit = 1 + random.below(place.startsWith("cutover") || place.startsWith("abort") ? 1 : 12);
      const tenant = `t${next++}`;
      const counts = await repeatable(seed, () => crashRound({ world, tenant, place, hit, route: ROUTES[place] }));
      if (counts) counted++;
    }
    expect(counted).toBe(runs);
  }, 600_000);

  test("T1, A1: neighbours keep every row on both sides", async () => {
    const moved = Array.from({ length: next }, (_, i) => `t${i}`);
    const isBack = (tenant: string) => rolledBack.includes(tenant);
    expect(
      await ledgerProblems(
        world,
        "a",
        moved.filter((tenant) => !isBack(tenant)),
      ),
    ).toEqual([]);
    expect(await ledgerProblems(world, "b", rolledBack)).toEqual([]);
  });
});
