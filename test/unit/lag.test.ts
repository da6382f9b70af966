import { describe, expect, test } from "vitest";
import { LagMeter } from "../../pipeline/lag.ts";

function meter() {
  let nowMs = 1000;
  const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => {} };
  return {
    lag: new LagMeter({ clock, intervalMs: 250 }),
    at: (ms: number) => {
      nowMs = ms;
    },
  };
}

describe("M3: lag through the whole path", () => {
  test("is unknown before the first heartbeat came through", () => {
    const { lag } = meter();
    lag.inLog(1, 990);
    expect(lag.read().seconds).toBeNull();
    expect(lag.read().below(10)).toBe(0);
  });

  test("is the time from just before the commit at the source to its effect in the target", () => {
    const { lag, at } = meter();
    at(1_010);
    lag.inLog(5, 1_000);
    at(1_030);
    lag.applied(4);
    expect(lag.read().seconds).toBeNull();
    lag.applied(5);
    expect(lag.read().seconds).toBeCloseTo(0.03);
    expect(lag.read().captureSeconds).toBeCloseTo(0.01);
  });

  test("silence is lag: it grows while nothing comes through", () => {
    const { lag, at } = meter();
    lag.inLog(1, 1_000);
    lag.applied(1);
    at(6_500);
    expect(lag.read().seconds).toBeCloseTo(5);
    expect(lag.read().below(1)).toBe(0);
  });

  test("counts the heartbeats in a row below the limit, newest last", () => {
    const { lag, at } = meter();
    for (const [i, tookMs] of [10, 3_000, 10, 10, 10].entries()) {
      const markedMs = 1_000 + i * 250;
      at(markedMs + tookMs);
      lag.inLog(i + 1, markedMs);
      lag.applied(i + 1);
    }
    expect(lag.read().below(1)).toBe(3);
    lag.reset();
    expect(lag.read().below(1)).toBe(0);
  });
});
