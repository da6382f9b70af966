import { expect, test } from "vitest";
import { MOST_READY_MS, SourceWatch, type WatchedLane } from "../../cutover/source-watch.ts";
import { MOST_STRAYS, StrayMemory, straysWith } from "../../cutover/strays.ts";
import type { Change } from "../../pipeline/entry.ts";

const LANE = "m.db.f1";
const signal = AbortSignal.timeout(20_000);
/** By the number. */
const changes = (from: number, to: number): readonly Change[] =>
  Array.from(
    { length: to - from },
    (_, i) => ({ table: "s.t", key: Buffer.from(String(from + i)) }) as unknown as Change,
  );

class FakeLane implements WatchedLane {
  readonly lane = LANE;
  readonly takesMs: number[];
  error: unknown = undefined;
  starts = 0;
  constructor(...takesMs: number[]) {
    this.takesMs = takesMs;
  }
  readonly stopped = () => this.error;
  readonly echo = async () => {
    if (this.error !== undefined) throw this.error;
    return (this.takesMs.length > 1 ? this.takesMs.shift() : this.takesMs[0]) ?? 0;
  };
  readonly start = () => {
    this.starts++;
  };
}

function watch(lanes: readonly WatchedLane[], missedBy: () => string | null = () => null) {
  const said: (string | null)[] = [];
  let nowMs = 0;
  const clock = {
    monotonicMs: () => nowMs,
    wallMs: () => 0,
    sleep: async (ms: number) => {
      nowMs += ms;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
  const onWaiting = (reason: string | null) => said.push(reason);
  return { said, watch: new SourceWatch({ move: "m", lanes, clock, known: () => new Set(), missedBy, onWaiting }) };
}

test("a source that is always a little slow is ready; one that locked rows would wait for says so until it is not", async () => {
  const steady = watch([new FakeLane(55)]);
  await steady.watch.ready(signal);
  expect(steady.said).toEqual([]);

  const { said, watch: slow } = watch([new FakeLane(200, 200, 30)]);
  await slow.ready(signal);
  expect(said).toEqual([
    ...Array(2).fill(expect.stringContaining(`SOURCE_WATCH_BEHIND move=m tookMs=200 limitMs=${MOST_READY_MS}`)),
    null,
  ]);
});

test("a moment slower than those of late is waited out", async () => {
  const { said, watch: one } = watch([new FakeLane(5, 5, 5, 50, 5)]);
  for (let batch = 0; batch < 3; batch++) await one.ready(signal);
  expect(said).toEqual([]);
  await one.ready(signal);
  expect(said).toEqual([expect.stringContaining("tookMs=50 limitMs=40"), null]);
});

test("a watch that has stopped is started again, and said to have stopped until it answers", async () => {
  const lane = new FakeLane(5);
  lane.error = new Error("purged");
  const { said, watch: one } = watch([lane]);
  let isStarted = false;
  const start = lane.start;
  Object.assign(lane, {
    start: () => {
      start();
      // The first attempt meets the same error.
      if (lane.starts > 1) lane.error = undefined;
      isStarted = true;
    },
  });
  await one.ready(signal);
  expect([isStarted, lane.starts]).toEqual([true, 2]);
  expect(said[0]).toContain("purged");
  expect(said.at(-1)).toBeNull();
});

test("where not every stray is known nothing is confirmed, and ready is nothing but a reason", async () => {
  const giveUp = new AbortController();
  const { said, watch: one } = watch([new FakeLane(1)], () => LANE);
  await expect(one.confirm(signal)).rejects.toMatchObject({ code: "STRAYS_UNKNOWN", facts: { lane: LANE } });
  const ready = one.ready(giveUp.signal);
  await expect.poll(() => said.length).toBeGreaterThan(2);
  expect(new Set(said)).toEqual(new Set([expect.stringContaining("STRAYS_UNKNOWN")]));
  giveUp.abort(new Error("enough"));
  await expect(ready).rejects.toThrow("enough");
});

test("nothing is watched by no lane", () => {
  expect(() => watch([])).toThrow("FINISH_WITHOUT_LANES");
});

test("strays: the first are kept, a process knows far more, and nobody takes some for all", () => {
  const none = { strays: [], straysMissed: [] };
  const full = straysWith(none, LANE, changes(0, MOST_STRAYS));
  expect([full.strays.length, full.straysMissed]).toEqual([MOST_STRAYS, []]);
  expect(straysWith(full, LANE, changes(0, 10))).toEqual(full);
  const over = straysWith(full, LANE, changes(MOST_STRAYS, MOST_STRAYS + 1));
  expect([over.strays.length, over.straysMissed]).toEqual([MOST_STRAYS, [LANE]]);

  const memory = new StrayMemory(none, 1_500);
  memory.saw(LANE, changes(0, 1_500));
  memory.saw(LANE, changes(0, 10));
  expect([memory.rows.length, memory.isWhole(LANE)]).toEqual([1_500, true]);
  memory.saw(LANE, changes(1_500, 1_501));
  expect([memory.rows.length, memory.isWhole(LANE)]).toEqual([1_500, false]);
  // Another process has what was kept.
  expect(new StrayMemory(full).isWhole(LANE)).toBe(true);
  expect(new StrayMemory(over).isWhole(LANE)).toBe(false);
  expect(new StrayMemory(over).isWhole("m.db.f9")).toBe(true);
  expect(straysWith(over, LANE, null)).toEqual(none);
  memory.saw(LANE, null);
  expect([memory.rows.length, memory.isWhole(LANE)]).toEqual([0, true]);
});
