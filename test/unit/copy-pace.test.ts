import { expect, test } from "vitest";
import { systemClock } from "../../pipeline/clock.ts";
import { CopyPace } from "../../pipeline/copy-pace.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { Throttle } from "../../pipeline/throttle.ts";

const MIB = 1024 * 1024;

test("W8: the snapshot waits while the target is far behind with what was copied, and no longer", () => {
  const throttle = new Throttle({ clock: systemClock, probes: [] });
  const pace = new CopyPace({ throttle, lane: "m.db.f1" as LaneId });
  for (let seq = 1; seq <= 23; seq++) pace.appended(seq, MIB);
  expect(throttle.reasons).toEqual([]);
  pace.appended(24, MIB);
  expect(throttle.reasons).toEqual(["snapshot: the target is 24 MiB of copied rows behind"]);
  pace.applied(8);
  expect(throttle.reasons).toHaveLength(1);
  pace.applied(9);
  expect(throttle.reasons).toEqual([]);
  // Told of after it was applied: nothing is behind.
  pace.applied(40);
  pace.appended(39, 30 * MIB);
  expect(throttle.reasons).toEqual([]);
  pace.appended(41, 30 * MIB);
  expect(throttle.reasons).toHaveLength(1);
  // Another lane of the move is near its target: that says nothing of this one.
  new CopyPace({ throttle, lane: "m.other.f1" as LaneId }).applied(1);
  expect(throttle.reasons).toHaveLength(1);
  pace.reset();
  expect(throttle.reasons).toEqual([]);
});
