import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DrayError } from "../../pipeline/errors.ts";
import type { Applier } from "../../sinks/applier.ts";
import {
  changesEntry,
  chunkEntry,
  inPass,
  Lane,
  markEntry,
  range,
  rangeEntry,
  transient,
  until,
  verifyKeysEntry,
  verifyRangeEntry,
  wantsAll,
} from "./applier-harness.ts";

const soon = () => AbortSignal.timeout(20_000);

let lane: Lane;
/** By seq of the verify entry: whether there was a view to compare in, or why none could be had. */
let views: Record<number, boolean | string>;

beforeEach(() => {
  lane = new Lane();
  views = {};
});
afterEach(() => lane.close());

const hold = (name: string) => lane.hold(name);

/** One entry a transaction. */
function run(): { readonly applier: Applier; stop(): Promise<unknown> } {
  const applier = lane.applier({
    limits: { changes: 1 },
    follower: wantsAll(({ header }, opening) => {
      const tell = async () => {
        views[header.seq] = await Promise.resolve(opening).then((opened) => opened !== null, String);
      };
      void tell();
    }),
  });
  return { applier, stop: lane.run(applier).stop };
}

const begun = (name: string) => lane.sink.events.includes(`begin ${name}`);
const done = (name: string) => lane.sink.events.includes(name);

describe("V1: a view stands exactly at its entry's place, for what is compared there", () => {
  test("it waits for an earlier change of a key that it compares, and nothing else waits for it", async () => {
    const open = hold("changes 1-1");
    await lane.append(
      changesEntry("free:1"),
      verifyKeysEntry("free", 1),
      changesEntry("free:2"),
      changesEntry("uniq:1"),
    );
    const { applier } = run();
    await until(() => done("changes 3-3") && done("changes 4-4"));
    expect(views).toEqual({});
    open();
    await applier.whenWatermark(4, soon());
    await until(() => views[2] === true);
    expect(lane.sink.events.indexOf("view")).toBeGreaterThan(lane.sink.events.indexOf("changes 1-1"));
  });

  test("an earlier change of another key, under way, does not keep it", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("free:1", "uniq:1"), verifyKeysEntry("free", 2, 3), verifyRangeEntry("free", 1, 9));
    const { applier } = run();
    await until(() => views[2] === true && views[3] === true);
    expect(done("changes 1-1")).toBe(false);
    open();
    await applier.whenWatermark(3, soon());
  });

  test("a later change of a key that it compares waits until it stands", async () => {
    const open = hold("view");
    await lane.append(verifyKeysEntry("free", 1), changesEntry("free:2"), changesEntry("free:1"));
    const { applier } = run();
    await until(() => done("changes 2-2"));
    expect(begun("changes 3-3")).toBe(false);
    open();
    await applier.whenWatermark(3, soon());
    expect(lane.sink.events.indexOf("view")).toBeLessThan(lane.sink.events.indexOf("begin changes 3-3"));
  });

  test("of a range, what lies outside goes on, and what lies inside waits, a chunk too", async () => {
    const open = hold("view");
    await lane.append(verifyRangeEntry("free", 10, 20), changesEntry("free:10"), chunkEntry(range("free", 20, 30)));
    await lane.append(chunkEntry(range("free", 15, 16)), changesEntry("free:20"));
    const { applier } = run();
    await until(() => done("changes 2-2") && done("chunk 3"));
    expect(begun("chunk 4")).toBe(false);
    open();
    await applier.whenWatermark(5, soon());
    expect(lane.sink.events.indexOf("view")).toBeLessThan(lane.sink.events.indexOf("begin chunk 4"));
  });

  test.each([
    ["a range", () => verifyRangeEntry("free", 10, 20)],
    ["single keys", () => verifyKeysEntry("free", 12)],
  ])("an earlier chunk that brings what is compared is waited for: %s", async (_name, verify) => {
    const open = hold("chunk 1");
    await lane.append(chunkEntry(range("free", 0, 15)), verify());
    run();
    await until(() => begun("chunk 1"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(views).toEqual({});
    open();
    await until(() => views[2] === true);
  });

  test.each([
    ["a range", () => verifyRangeEntry("uniq", 10, 20)],
    ["single keys", () => verifyKeysEntry("uniq", 10)],
  ])("A2: where a table has another unique index, any change of it counts: %s", async (_name, verify) => {
    const openFirst = hold("changes 1-1");
    await lane.append(changesEntry("uniq:1"), verify(), changesEntry("uniq:2"));
    const { applier } = run();
    await until(() => begun("changes 1-1"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(views).toEqual({});
    const openView = hold("view");
    openFirst();
    await until(() => done("changes 1-1"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(begun("changes 3-3")).toBe(false);
    openView();
    await applier.whenWatermark(3, soon());
    const order = lane.sink.events.filter((event) => ["changes 1-1", "view", "changes 3-3"].includes(event));
    expect(order).toEqual(["changes 1-1", "view", "changes 3-3"]);
  });

  test("a barrier waits until the views before it stand", async () => {
    const open = hold("view");
    await lane.append(verifyKeysEntry("free", 1), markEntry("low"));
    const { applier } = run();
    let isThere = false;
    const barrier = applier.atBarrier(2, async () => {
      isThere = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isThere).toBe(false);
    open();
    await barrier;
    expect(views[1]).toBe(true);
  });

  test("one that cannot be had now is asked for again; one that never can ends the applier", async () => {
    const { sink } = lane;
    const errors = [transient(), new DrayError("LANE_CLOSED", { lane: lane.lane })];
    sink.openReadView = async () => {
      sink.events.push("no view");
      throw errors.shift();
    };
    await lane.append(verifyKeysEntry("free", 1));
    const applier = lane.applier({ follower: wantsAll((_entry, opening) => void opening?.catch(() => {})) });
    const running = lane.run(applier);
    expect(await running.ended).toMatchObject({ code: "LANE_CLOSED" });
    expect(sink.events.filter((event) => event === "no view")).toHaveLength(2);
  });

  test("none is opened where an earlier change has failed for good, whatever the applier waits for meanwhile", async () => {
    const { sink } = lane;
    const open = hold("changes 1-1");
    const shared = Promise.withResolvers<boolean>();
    sink.isShared = () => shared.promise;
    sink.faults.set("changes 1-1", [{ error: new DrayError("LANE_CLOSED", { lane: lane.lane }), when: "before" }]);
    await lane.append(changesEntry("free:1"), verifyKeysEntry("free", 1), rangeEntry(range("shared", null, null, 1)));
    const { stop } = run();
    await until(() => begun("changes 1-1"));
    open();
    await until(() => views[2] !== undefined);
    expect(views[2]).toContain("LANE_CLOSED");
    expect(done("view")).toBe(false);
    shared.resolve(false);
    await stop();
  });

  test("an applier that is stopped meanwhile ends, and its follower hears of it", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("free:1"), verifyKeysEntry("free", 1));
    const { stop } = run();
    await until(() => begun("changes 1-1"));
    const stopped = stop();
    open();
    await stopped;
    await until(() => typeof views[2] === "string");
  });
});

test("V1, A8: what a unit that gives way has emptied, ahead of the pass that will bring its rows, is not compared", async () => {
  const letGo = lane.contendFirst("free");
  const open = hold("view");
  await lane.append(inPass(changesEntry("free:1"), "free", 0), inPass(verifyKeysEntry("shared", 1), "shared", 0));
  await lane.append(inPass(markEntry("start"), "shared", 1, null), rangeEntry(range("shared", null, null, 1)));
  await lane.append(verifyKeysEntry("shared", 1));
  const { applier } = run();
  await until(() => done("clear shared"));
  open();
  await until(() => views[2] !== undefined);
  letGo();
  await applier.whenWatermark(5, soon());
  await until(() => views[5] !== undefined);
  expect(views).toEqual({ 2: false, 5: true });
});

test("V1, A8: nor is it where the pass has been met while the view was still opening", async () => {
  const letGo = lane.contendFirst("uniq");
  const open = hold("view");
  // The second waits for the first, and everything behind it too.
  await lane.append(inPass(changesEntry("uniq:1"), "shared", 0), inPass(changesEntry("uniq:2"), "shared", 0));
  await lane.append(inPass(verifyKeysEntry("shared", 1), "shared", 0));
  await lane.append(inPass(markEntry("start"), "shared", 1, null), rangeEntry(range("shared", null, null, 1)));
  const { applier } = run();
  await until(() => done("clear shared"));
  letGo();
  await until(() => done("changes 2-2"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  open();
  await applier.whenWatermark(5, soon());
  await until(() => views[3] !== undefined);
  expect(views[3]).toBe(false);
});
