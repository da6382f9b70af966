import { describe, expect, test } from "vitest";
import type { Clock } from "../../pipeline/clock.ts";
import type { LaneCapture } from "../../pipeline/lane-capture.ts";
import { noProbe } from "../../pipeline/probe.ts";
import { Throttle } from "../../pipeline/throttle.ts";
import { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import { VerifyRounds, type VerifyRoundsOptions } from "../../pipeline/verify/verify-rounds.ts";

const TABLE = "s.t";
const READ_MS = 20;
const HOUR_MS = 3_600_000;

/*
 * How much the rounds take of the time, on a clock that stands still unless somebody sleeps or reads. The capture is one
 * that takes whatever it is given; reading and comparing against real servers is `test/whole/verify.test.ts`'s.
 */
class StillClock implements Clock {
  now = 0;
  readonly slept: number[] = [];

  monotonicMs = () => this.now;
  wallMs = () => this.now;

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    this.now += ms;
    this.slept.push(ms);
  }
}

function rounds(change: Partial<VerifyRoundsOptions>) {
  const clock = new StillClock();
  const over = new AbortController();
  const state = new VerifiedState({ tables: [{ id: TABLE, root: false, ordered: true, definition: null }] });
  state.table(TABLE).reset(0);
  const readAt: number[] = [];
  const capture = {
    coverage: { tables: [{ table: TABLE, pass: 0 }] },
    isFollowed: () => true,
    state: () => ({ epoch: 1, feed: { connects: 1 } }),
    open: () => ({ table: TABLE }),
    finish: async () => 7,
    discard: () => {},
  } as unknown as LaneCapture;
  const stream = {
    fingerprint: async () => "same",
    mark: async () => ({ nonce: "n" }),
    nextBound: async () => null,
    readRange: async () => {
      readAt.push(clock.now);
      clock.now += READ_MS;
      if (readAt.length === 3) over.abort(new Error("enough"));
      return { rows: 0, bytes: 0, digest: async () => ({ rows: 0 }) };
    },
  };
  const options = {
    source: { lane: "l", move: "m", tenant: "7", tables: [] },
    ...{ stream, state, clock, probe: noProbe, throttle: new Throttle({ clock, probes: [] }) },
    budget: () => ({ rows: 10, bytes: 1_000 }),
    outcome: async () => "compared",
    yieldsTo: () => null,
    restPerMs: () => 9,
    onKeysRead: () => {},
    onRetry: () => {},
    onProgress: () => {},
    ...change,
  } as unknown as VerifyRoundsOptions;
  const run = () => new VerifyRounds(options).run(capture, over.signal).catch(() => {});
  return { clock, readAt, run };
}

describe("V1: the rounds rest for what they have read", () => {
  test("so long for each millisecond of reading", async () => {
    const { readAt, run } = rounds({});
    await run();
    expect((readAt[2] as number) - (readAt[0] as number)).toBeGreaterThanOrEqual(9 * READ_MS);
  });

  test("a target that was away for an hour is no reason to rest for nine", async () => {
    const { clock, readAt, run } = rounds({});
    const late = rounds({
      outcome: async () => {
        late.clock.now += HOUR_MS;
        return "compared";
      },
    });
    await Promise.all([run(), late.run()]);
    expect((late.readAt[2] as number) - (late.readAt[0] as number)).toBeLessThan(3 * HOUR_MS);
    expect(Math.max(...clock.slept)).toBeLessThanOrEqual(1_000);
    expect(readAt).toHaveLength(3);
  });

  test("a rest ends where what it was for has ended", async () => {
    let asked = 0;
    const { readAt, run } = rounds({ restPerMs: () => (++asked > 3 ? 0 : 10_000) });
    await run();
    expect((readAt[2] as number) - (readAt[0] as number)).toBeLessThan(9_000);
  });
});
