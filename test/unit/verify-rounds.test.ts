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
  const table = state.table(TABLE);
  table.reset(0);
  const readAt: number[] = [];
  /** Sizes of the lots in which single keys were read, and when. */
  const lots: { readonly keys: number; readonly at: number }[] = [];
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
    readKeys: async (_source: unknown, _table: unknown, keys: readonly Uint8Array[]) => {
      lots.push({ keys: keys.length, at: clock.now });
      clock.now += READ_MS;
      for (const key of keys) table.comparedKey(key, 7, null);
      return { rows: 0, bytes: 0 };
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
  const work = new VerifyRounds(options);
  const run = () => work.run(capture, over.signal).catch(() => {});
  /** The whole table has been compared, and then so many of its keys have changed. */
  const changed = (keys: number) => {
    const span = { after: null, upTo: null };
    table.began(span, 1, []);
    const digest = { source: "same", target: "same" };
    table.comparedRange(span, { seq: 1, rows: 0, digest, keys: [], found: [], asked: table.asked, nowMs: 0 });
    for (let key = 0; key < keys; key++) table.changed(String(key), 2);
  };
  return { clock, readAt, lots, changed, work, over, run };
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

describe("V1: single keys beside changes", () => {
  test("come in small lots, with a rest in proportion behind each", async () => {
    const { lots, changed, over, run } = rounds({
      onKeysRead: () => void (lots.length === 4 && over.abort(new Error())),
    });
    changed(180);
    await run();
    expect(lots.map(({ keys }) => keys)).toEqual([50, 50, 50, 30]);
    const gaps = lots.slice(1).map(({ at }, i) => at - (lots[i]?.at ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(4 * READ_MS);
  });

  test("the more there are, the larger the lots, so that a round ends", async () => {
    const { lots, changed, over, run } = rounds({
      onKeysRead: () => void (lots.length === 2 && over.abort(new Error())),
    });
    changed(4_000);
    await run();
    expect(lots.map(({ keys }) => keys)).toEqual([200, 200]);
  });

  test("what holds all of verification up holds them up between two lots too", async () => {
    let isBehind = false;
    const { clock, lots, changed, over, run } = rounds({
      yieldsTo: () => (isBehind && clock.now < HOUR_MS ? "the stream goes first" : null),
      onKeysRead: () => {
        isBehind = true;
        if (lots.length === 2) over.abort(new Error());
      },
    });
    changed(180);
    await run();
    expect(lots[1]?.at).toBeGreaterThanOrEqual(HOUR_MS);
  });

  test("a target that keeps their comparing waiting is no reason to rest", async () => {
    const { clock, lots, changed, over, run } = rounds({
      outcome: async () => {
        clock.now += 5_000;
        return "compared";
      },
      onKeysRead: () => void (lots.length === 2 && over.abort(new Error())),
    });
    changed(100);
    await run();
    // Others sleep on the same clock.
    expect((lots[1]?.at ?? 0) - (lots[0]?.at ?? 0)).toBeLessThan(12_000);
  });

  test("whoever waits for them has them all at once, also in the middle of a round", async () => {
    const { lots, changed, work, over, run } = rounds({
      onKeysRead: () => {
        if (lots.length === 1) void work.compareDirtyNow(over.signal).then(() => over.abort(new Error()));
      },
    });
    changed(3_000);
    await run();
    expect(lots.map(({ keys }) => keys)).toEqual([150, 1_000, 1_000, 850]);
    const gaps = lots.slice(1).map(({ at }, i) => at - (lots[i]?.at ?? 0));
    expect(gaps, "without a rest").toEqual([READ_MS, READ_MS, READ_MS]);
  });
});
