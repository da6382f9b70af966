import { describe, expect, test } from "vitest";
import { VerifyPace } from "../../cutover/lane/verify-pace.ts";
import { systemClock } from "../../pipeline/clock.ts";

const WHOLE = { rows: 20_000, bytes: 4_000_000 };

function paced(sharePercent = 10) {
  const now = { ms: 0, isCopied: true, seq: 0, lagSeconds: 0 as number | null };
  const pace = new VerifyPace({
    clock: { ...systemClock, monotonicMs: () => now.ms },
    chunkBudget: WHOLE,
    sharePercent,
    isCopied: () => now.isCopied,
    lastChangeSeq: () => now.seq,
    lagSeconds: () => now.lagSeconds,
  });
  return { now, pace };
}

describe("V1: verification takes what nobody else needs", () => {
  test("where nothing else is at work it takes all there is, in whole ranges", () => {
    const { pace } = paced();
    expect([pace.yieldsTo(), pace.restPerMs(), pace.rangeBudget()]).toEqual([null, 0, WHOLE]);
  });

  test("beside a copy each of the two workers rests so long that both take a tenth of the time", () => {
    const { now, pace } = paced();
    now.isCopied = false;
    expect([pace.restPerMs(), pace.rangeBudget()]).toEqual([19, WHOLE]);
  });

  test("beside changes its ranges are small too, until none has come for a second", () => {
    const { now, pace } = paced();
    const small = { rows: 500, bytes: 100_000 };
    now.ms = 5_000;
    now.seq = 7;
    expect([pace.restPerMs(), pace.rangeBudget()]).toEqual([19, small]);
    now.ms = 5_999;
    expect([pace.restPerMs(), pace.rangeBudget()]).toEqual([19, small]);
    now.ms = 6_000;
    expect([pace.restPerMs(), pace.rangeBudget()]).toEqual([0, WHOLE]);
    now.seq = 8;
    expect(pace.rangeBudget()).toEqual(small);
  });

  test("the operator says how much it takes", () => {
    const quarter = paced(25);
    quarter.now.isCopied = false;
    expect(quarter.pace.restPerMs()).toBe(7);
    quarter.now.isCopied = true;
    quarter.now.seq = 1;
    expect(quarter.pace.rangeBudget()).toEqual({ rows: 1_250, bytes: 250_000 });
    const all = paced(100);
    all.now.seq = 1;
    all.now.isCopied = false;
    expect([all.pace.restPerMs(), all.pace.rangeBudget()]).toEqual([0, WHOLE]);
  });

  test("a stream that is behind goes first, and behind a fence the cutover", () => {
    const { now, pace } = paced();
    now.lagSeconds = 2.5;
    expect(pace.yieldsTo()).toContain("2.5 s behind");
    now.lagSeconds = null;
    expect(pace.yieldsTo()).toBeNull();
    pace.isFenced = true;
    expect(pace.yieldsTo()).toContain("fenced");
  });
});
