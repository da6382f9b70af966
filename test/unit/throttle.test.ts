import { describe, expect, test } from "vitest";
import { systemClock } from "../../pipeline/clock.ts";
import { MarkBook } from "../../pipeline/mark-book.ts";
import { Throttle, type ThrottleProbe } from "../../pipeline/throttle.ts";

const never = new AbortController().signal;

describe("W8: the throttle", () => {
  test("holds while anybody holds, and names each reason", async () => {
    const throttle = new Throttle({ clock: systemClock, probes: [] });
    throttle.hold("a", "a: 7 > 5");
    throttle.hold("b", "by an operator");
    expect(throttle.reasons).toEqual(["a: 7 > 5", "by an operator"]);
    let passed = false;
    const clear = throttle.clear(never).then(() => {
      passed = true;
    });
    throttle.release("a");
    await Promise.resolve();
    expect(passed).toBe(false);
    throttle.release("b");
    await clear;
    expect(throttle.reasons).toEqual([]);
  });

  test("a probe that was never read, or does not answer, counts as over the limit", async () => {
    let answer: () => Promise<{ value: number; limit: number }> = () => Promise.reject(new Error("refused"));
    const probe: ThrottleProbe = { name: "cpu", everyMs: 5, measure: () => answer() };
    const throttle = new Throttle({ clock: systemClock, probes: [probe] });
    expect(throttle.reasons).toEqual(["cpu: not measured yet"]);
    const life = new AbortController();
    const running = throttle.run(life.signal);
    await expect.poll(() => throttle.reasons).toEqual(["cpu: no answer (refused)"]);
    answer = async () => ({ value: 0.9, limit: 0.8 });
    await expect.poll(() => throttle.reasons).toEqual(["cpu: 0.9 > 0.8"]);
    answer = async () => ({ value: 0.1, limit: 0.8 });
    await throttle.clear(never);
    life.abort(new Error("done"));
    await running;
  });

  test("waiting ends with its signal", async () => {
    const throttle = new Throttle({ clock: systemClock, probes: [] });
    throttle.hold("a", "a");
    const life = new AbortController();
    const waiting = throttle.clear(life.signal);
    life.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("M1: a mark and whoever committed it", () => {
  test("meet whichever comes first, once", async () => {
    const book = new MarkBook<number>();
    book.arrived("early", 1);
    expect(await book.expect("early", never)).toBe(1);
    const late = book.expect("late", never);
    book.arrived("late", 2);
    expect(await late).toBe(2);
  });

  test("a failure of the stream reaches everybody who waits", async () => {
    const book = new MarkBook<number>();
    const waiting = book.expect("a", never);
    book.fail(new Error("gone"));
    await expect(waiting).rejects.toThrow("gone");
  });

  test("a mark that was on its way when the stream ended is not waited for", async () => {
    const book = new MarkBook<number>();
    book.arrived("early", 1);
    book.fail(new Error("gone"));
    await expect(book.expect("late", never)).rejects.toThrow("gone");
    expect(await book.expect("early", never)).toBe(1);
  });
});
