import { afterEach, beforeEach, expect, test } from "vitest";
import { ApplyHalf } from "../../cutover/lane/apply-half.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { Sink } from "../../sinks/sink.ts";
import { changesEntry, Lane, transient, until } from "./applier-harness.ts";

/** Minutes pass in milliseconds. */
const hasty: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 1_000, signal) };

let lane: Lane;
let half: ApplyHalf;
const stopped: unknown[] = [];

beforeEach(() => {
  lane = new Lane();
  stopped.length = 0;
  half = new ApplyHalf({
    source: { lane: lane.lane, move: "m", tenant: "7", tables: [] },
    sink: { kind: "fake", open: async () => lane.sink } as unknown as Sink,
    log: lane.log,
    chunkStore: {} as never,
    clock: hasty,
    probe: noProbe,
    keepAppliedMs: 0,
    onApplied: () => {},
    onStopped: (error) => stopped.push(error),
  });
});

afterEach(async () => {
  await half.stop("the test ends");
  await lane.close();
});

test("A8: a target that is gone while the log is trimmed ends neither the lane nor the process", async () => {
  await lane.append(changesEntry("free:1"));
  half.start();
  const { applier } = await half.wait(AbortSignal.timeout(20_000));
  await applier.whenWatermark(1, AbortSignal.timeout(20_000));
  let failures = 3;
  const progress = lane.sink.progress.bind(lane.sink);
  lane.sink.progress = async () => {
    if (failures-- > 0) throw transient();
    return await progress();
  };
  await until(() => failures < 0);
  await until(() => half.anchor?.seq === 1);
  await lane.append(changesEntry("free:2"));
  await applier.whenWatermark(2, AbortSignal.timeout(20_000));
  expect(stopped).toEqual([]);
});
