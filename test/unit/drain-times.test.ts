import { expect, test } from "vitest";
import { DrainTimes } from "../../cutover/lane/drain-times.ts";
import { systemClock } from "../../pipeline/clock.ts";

test("C10: the fastest drain of the last ten minutes tells the next one behind a fence; one that failed tells nothing", async () => {
  let nowMs = 1_000;
  const drains = new DrainTimes({ ...systemClock, monotonicMs: () => nowMs });
  const took = (ms: number) =>
    drains.timed(async () => {
      nowMs += ms;
      return ms;
    });
  expect(drains.fastestMs).toBeNull();
  expect(await took(8)).toBe(8);
  await took(20);
  await expect(drains.timed(() => Promise.reject(new Error("the target is away")))).rejects.toThrow("away");
  expect(drains.fastestMs).toBe(8);
  nowMs += 599_975;
  expect(drains.fastestMs).toBe(20);
  nowMs += 600_000;
  expect(drains.fastestMs).toBeNull();
});
