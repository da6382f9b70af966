import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { changesEntry, chunkEntry, Lane, markEntry, range, rangeEntry, transient, until } from "./applier-harness.ts";

const soon = () => AbortSignal.timeout(20_000);

let lane: Lane;
beforeEach(() => {
  lane = new Lane();
});
afterEach(() => lane.close());

const hold = (name: string) => lane.hold(name);

describe("order and batches", () => {
  test("A3: what waits becomes one transaction, never across chunk, range or mark", async () => {
    await lane.append(
      changesEntry("free:1"),
      changesEntry("free:2", "free:1"),
      markEntry("low"),
      changesEntry("free:3"),
      rangeEntry(range("free", null, 10)),
      changesEntry("free:4"),
      chunkEntry(range("free", 100, 200)),
      changesEntry("free:5"),
    );
    lane.sink.sessions = 1;
    const applier = lane.applier();
    lane.run(applier);
    await applier.whenWatermark(8, soon());
    const applied = lane.sink.events.filter((event) => /^(changes|chunk)/.test(event));
    expect(applied).toEqual(["changes 1-2", "changes 4-4", "changes 6-6", "chunk 7", "changes 8-8"]);
    expect(applier.state()).toMatchObject({ watermark: 8, appliedSeq: 8, inFlight: 0, reason: null });
    expect(applier.state().applied).toMatchObject({ update: 6, chunkRows: 1 });
  });

  test("A3: the limits of a batch hold, a larger entry goes alone", async () => {
    await lane.append(
      changesEntry("free:1", "free:2", "free:3"),
      changesEntry("free:4"),
      changesEntry("free:5"),
      changesEntry("free:6"),
    );
    lane.sink.sessions = 1;
    const applier = lane.applier({ limits: { changes: 2 } });
    lane.run(applier);
    await applier.whenWatermark(4, soon());
    expect(lane.sink.applied.map(({ first, last }) => [first, last])).toEqual([
      [1, 1],
      [2, 3],
      [4, 4],
    ]);
  });

  test("A2: entries that share no key go beside each other, one that shares a key waits", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("free:1"));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => lane.sink.events.includes("begin changes 1-1"));
    await lane.append(changesEntry("free:2"), changesEntry("free:1"), changesEntry("free:3"));
    await until(() => lane.sink.events.includes("changes 2-2"));
    expect(lane.sink.events.some((event) => event.startsWith("begin changes 3"))).toBe(false);
    expect(applier.state()).toMatchObject({ watermark: 0, appliedSeq: 0 });
    open();
    await applier.whenWatermark(4, soon());
    expect(lane.sink.events.indexOf("changes 1-1")).toBeLessThan(lane.sink.events.indexOf("begin changes 3-4"));
  });

  test("A2: changes of a table with another unique index never overtake each other", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("uniq:1"));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => lane.sink.events.includes("begin changes 1-1"));
    await lane.append(changesEntry("uniq:2"), changesEntry("uniq:3"));
    await until(() => applier.state().headSeqSeen === 3);
    expect(lane.sink.events).not.toContain("begin changes 2-3");
    open();
    await applier.whenWatermark(3, soon());
    expect(lane.sink.maxActive).toBe(1);
  });

  test("A4: chunks of disjoint ranges go together; a change waits only for the chunk that may hold its key", async () => {
    const openFirst = hold("chunk 1");
    const openSecond = hold("chunk 2");
    await lane.append(chunkEntry(range("free", null, 10)), chunkEntry(range("free", 10, 20)));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => lane.sink.events.includes("begin chunk 2"));
    await lane.append(changesEntry("free:21"), changesEntry("free:10"));
    await until(() => lane.sink.events.includes("changes 3-3"));
    openSecond();
    await until(() => lane.sink.events.includes("chunk 2"));
    expect(lane.sink.events).not.toContain("begin changes 4-4");
    openFirst();
    await applier.whenWatermark(4, soon());
  });

  test("A4: with another unique index chunks and changes go in log order", async () => {
    const open = hold("chunk 1");
    await lane.append(chunkEntry(range("uniq", null, 10)), chunkEntry(range("uniq", 10, 20)), changesEntry("uniq:99"));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => applier.state().headSeqSeen === 3);
    open();
    await applier.whenWatermark(3, soon());
    expect(lane.sink.maxActive).toBe(1);
    expect(lane.sink.applied.map(({ first }) => first)).toEqual([1, 2, 3]);
  });

  test("A4: a chunk waits for an earlier change of its range that is under way", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("free:5"), chunkEntry(range("free", 5, 9)), chunkEntry(range("free", null, 5)));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => lane.sink.events.includes("chunk 2"));
    expect(lane.sink.events).not.toContain("begin chunk 3");
    open();
    await applier.whenWatermark(3, soon());
  });
});

describe("the watermark", () => {
  test("A2: it moves over completed seqs only, in whatever order they end", async () => {
    const open = hold("changes 1-1");
    const seen: number[] = [];
    await lane.append(changesEntry("free:1"));
    const applier = lane.applier({ onApplied: ({ seq }) => seen.push(seq) });
    lane.run(applier);
    await until(() => lane.sink.events.includes("begin changes 1-1"));
    await lane.append(changesEntry("free:2"), markEntry("sentinel"));
    await until(() => lane.sink.events.includes("changes 2-2"));
    expect(applier.state().appliedSeq).toBe(0);
    open();
    await applier.whenWatermark(3, soon());
    expect(seen).toEqual([1, 2, 3]);
    expect(lane.sink.anchor?.seq).toBe(3);
  });

  test("C10: whoever waits is woken by the event, and not before it is durable", async () => {
    const open = hold("advance");
    const applier = lane.applier();
    lane.run(applier);
    let woken = false;
    const waiting = applier.whenWatermark(1, soon()).then(() => {
      woken = true;
    });
    await lane.append(changesEntry("free:1"));
    await until(() => applier.state().appliedSeq === 1);
    expect(woken).toBe(false);
    open();
    await waiting;
    expect(applier.watermark).toBe(1);
  });

  test("A2: many entries share a watermark transaction", async () => {
    const applier = lane.applier();
    lane.run(applier);
    for (let i = 1; i <= 40; i++) await lane.append(changesEntry(`free:${i}`));
    await applier.whenWatermark(40, soon());
    expect(lane.sink.events.filter((event) => event.startsWith("advance")).length).toBeLessThan(20);
  });

  test("a waiter learns why the applier stopped", async () => {
    const applier = lane.applier();
    const running = lane.run(applier);
    const waiting = applier.whenWatermark(1, soon());
    const seen = expect(waiting).rejects.toMatchObject({ code: "APPLIER_STOPPED" });
    await running.stop();
    await seen;
    const stopped = { code: "APPLIER_STOPPED" };
    await expect(applier.whenWatermark(1, soon())).rejects.toMatchObject(stopped);
    await expect(applier.atBarrier(1, async () => "late")).rejects.toMatchObject(stopped);
  });
});

describe("restart", () => {
  test("A2: begins behind the watermark and skips the holes that are applied already", async () => {
    const first = lane.applier();
    await lane.append(changesEntry("free:1"));
    const run = lane.run(first);
    await first.whenWatermark(1, soon());
    await run.stop();
    await lane.append(changesEntry("free:2"), changesEntry("free:3"), changesEntry("free:4"));
    const nonce = lane.sink.anchor?.nonce ?? "";
    lane.sink.applied.push({ first: 3, last: 3, nonce });
    lane.sink.events.length = 0;
    const second = lane.applier();
    lane.run(second);
    await second.whenWatermark(4, soon());
    const begun = lane.sink.events.filter((event) => event.startsWith("begin"));
    expect(begun).toEqual(["begin changes 2-2", "begin changes 4-4"]);
  });

  test("L7: a seq that another writer has used again after the log lost its tail is LOG_TRUNCATED", async () => {
    await lane.append(changesEntry("free:1"), changesEntry("free:2"));
    lane.sink.applied.push({ first: 2, last: 2, nonce: "f".repeat(32) });
    const error = await lane.run(lane.applier()).ended;
    expect(error).toMatchObject({ code: "LOG_TRUNCATED", facts: { seq: 2 } });
  });

  test("a batch never holds two writers' entries", async () => {
    await lane.append(changesEntry("free:1"), changesEntry("free:2"));
    await lane.reopen();
    await lane.append(changesEntry("free:3"));
    lane.sink.sessions = 1;
    const applier = lane.applier();
    lane.run(applier);
    await applier.whenWatermark(3, soon());
    expect(lane.sink.applied.map(({ first, last }) => [first, last])).toEqual([
      [1, 2],
      [3, 3],
    ]);
  });
});

describe("errors (A8)", () => {
  test("a transient one is tried again, its reason shown; the rest goes on meanwhile", async () => {
    const fault = { error: transient(), when: "before" } as const;
    lane.sink.faults.set("changes 1-1", [fault, fault, fault]);
    const reasons = new Set<string | null>();
    await lane.append(changesEntry("free:1"), markEntry("low"), changesEntry("free:2"));
    const applier = lane.applier();
    lane.run(applier);
    await until(() => {
      reasons.add(applier.state().reason);
      return applier.watermark === 3;
    });
    expect([...reasons]).toContain("target 10.0.0.5:3306 answers ER_LOCK_DEADLOCK, retry 2");
    expect(lane.sink.events.indexOf("changes 3-3")).toBeLessThan(lane.sink.events.indexOf("changes 1-1"));
    expect(applier.state().reason).toBeNull();
  });

  test("after an unknown outcome the target says whether it was applied: never twice", async () => {
    const error = new DrayError("TARGET_OUTCOME_UNKNOWN", {});
    lane.sink.faults.set("changes 1-1", [{ error, when: "after" }]);
    await lane.append(changesEntry("free:1"));
    const applier = lane.applier();
    lane.run(applier);
    await applier.whenWatermark(1, soon());
    expect(lane.sink.applied.length).toBe(1);
    expect(lane.sink.events.filter((event) => event === "progress").length).toBe(2);
  });

  test("a final one stops the lane with its entry, what was applied before stays and is durable", async () => {
    const error = new DrayError("GUARD_FOREIGN_ROW", { seq: 3, table: "free", key: "7" });
    lane.sink.faults.set("changes 3-3", [{ error, when: "before" }]);
    await lane.append(changesEntry("free:1"), markEntry("low"), changesEntry("free:7"), markEntry("high"));
    const applier = lane.applier();
    expect(await lane.run(applier).ended).toBe(error);
    expect(lane.sink.anchor?.seq).toBe(2);
  });

  test("a skipped seq counts as applied without being applied", async () => {
    await lane.append(changesEntry("free:1"), changesEntry("free:2"), changesEntry("free:3"));
    const applier = lane.applier();
    applier.skip(2);
    lane.run(applier);
    await applier.whenWatermark(3, soon());
    expect(lane.sink.applied.map(({ first, last }) => [first, last])).toEqual([
      [1, 1],
      [3, 3],
    ]);
  });

  test("stopping waits for what is under way", async () => {
    const open = hold("changes 1-1");
    await lane.append(changesEntry("free:1"));
    const running = lane.run(lane.applier());
    await until(() => lane.sink.events.includes("begin changes 1-1"));
    const ended = running.stop();
    open();
    expect(await ended).toBeNull();
    expect(lane.sink.anchor?.seq).toBe(1);
  });
});

test("A8: a transaction that does not end while stopping is cut off, and that is no error", async () => {
  hold("changes 1-1");
  await lane.append(changesEntry("free:1"));
  const hasty = { ...systemClock, sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms / 100, signal) };
  const running = lane.run(lane.applier({ clock: hasty }));
  await until(() => lane.sink.events.includes("begin changes 1-1"));
  expect(await running.stop()).toBeNull();
  expect(lane.sink.applied).toEqual([]);
});

describe("standing still", () => {
  test("V1: a barrier runs at watermark = seq - 1, before any later entry", async () => {
    const open = hold("changes 1-1");
    const applier = lane.applier();
    const places: (number | undefined)[] = [];
    const barrier = applier.atBarrier(3, async () => {
      places.push(lane.sink.anchor?.seq, lane.sink.applied.length);
      return "counted";
    });
    await lane.append(changesEntry("free:1"), changesEntry("free:2"), changesEntry("free:3"));
    lane.run(applier);
    await until(() => applier.state().headSeqSeen === 3);
    open();
    expect(await barrier).toBe("counted");
    expect(places).toEqual([2, 1]);
    await applier.whenWatermark(3, soon());
    await expect(applier.atBarrier(2, async () => "late")).rejects.toMatchObject({ code: "BARRIER_PASSED" });
  });

  test("a barrier at the head of the log does not wait for the next entry", async () => {
    await lane.append(changesEntry("free:1"));
    const applier = lane.applier();
    lane.run(applier);
    expect(await applier.atBarrier(2, async () => lane.sink.anchor?.seq)).toBe(1);
  });

  test("a barrier's failure is its caller's, and applying goes on", async () => {
    await lane.append(changesEntry("free:1"));
    const applier = lane.applier();
    lane.run(applier);
    const failing = applier.atBarrier(2, async () => {
      throw new Error("no view");
    });
    await expect(failing).rejects.toThrow("no view");
    await lane.append(changesEntry("free:2"));
    await applier.whenWatermark(2, soon());
  });

  test("W4: the first range of a recopy clears a table with another unique index, durably before anything after it", async () => {
    const open = hold("clear uniq");
    await lane.append(
      changesEntry("free:1"),
      rangeEntry(range("uniq", null, 10, 1)),
      chunkEntry(range("uniq", null, 10, 1)),
      rangeEntry(range("free", null, 10, 1)),
    );
    const applier = lane.applier();
    lane.run(applier);
    await until(() => applier.state().reason === "uniq is emptied of stale rows before it is copied again: 7 removed");
    expect(applier.watermark).toBe(1);
    expect(lane.sink.events).not.toContain("begin chunk 3");
    open();
    await applier.whenWatermark(4, soon());
    expect(applier.state().reason).toBeNull();
    const order = ["changes 1-1", "advance 1", "clear uniq", "advance 2", "begin chunk 3"];
    expect(lane.sink.events.filter((event) => order.includes(event))).toEqual(order);
    expect(lane.sink.events).not.toContain("clear free");
  });

  test("pause holds everything and says why, resume goes on", async () => {
    const applier = lane.applier();
    applier.pause("operator");
    lane.run(applier);
    await lane.append(changesEntry("free:1"));
    await until(() => applier.state().headSeqSeen === 1);
    expect(applier.state().reason).toBe("paused: operator");
    expect(lane.sink.events).not.toContain("begin changes 1-1");
    applier.resume();
    await applier.whenWatermark(1, soon());
  });
});
