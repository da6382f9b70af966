import { afterEach, beforeEach, expect, test } from "vitest";
import { DrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import {
  change,
  changesEntry,
  chunkEntry,
  inPass,
  Lane,
  markEntry,
  range,
  rangeEntry,
  until,
} from "./applier-harness.ts";

const soon = () => AbortSignal.timeout(20_000);

let lane: Lane;
beforeEach(() => {
  lane = new Lane();
});
afterEach(() => lane.close());

test("A8: a row that the log changes again, however far behind, is not waited for", async () => {
  const key = keyText(change("uniq:1").key);
  const asked: boolean[] = [];
  const apply = lane.sink.applyChanges.bind(lane.sink);
  lane.sink.applyChanges = async (batch, signal) => {
    if (batch.changes.flat().some((one) => one.op === "update" && keyText(one.key) === key)) {
      asked.push(batch.changedLater?.("uniq", key) ?? false);
      if (!asked.at(-1)) throw new DrayError("GUARD_CONTENDED", { tenant: "other", move: "m2" });
    }
    await apply(batch, signal);
  };
  // More than is read ahead of what waits.
  const between = Array.from({ length: 1_300 }, () => markEntry("low"));
  await lane.append(changesEntry("uniq:1"), markEntry("low"), changesEntry("uniq:2"), ...between);
  const applier = lane.applier({ limits: { prefetchBytes: 300_000 } });
  lane.run(applier);
  await until(() => /tenant other's move m2/.test(applier.state().reason ?? ""));
  expect(asked).not.toContain(true);
  await lane.append(changesEntry("uniq:1:delete"));
  await applier.whenWatermark(1_304, soon());
  expect(asked.at(-1)).toBe(true);
  // What was found is of no use to a later change of the row.
  asked.length = 0;
  await lane.append(changesEntry("uniq:1"));
  await until(() => asked.length > 2);
  expect(asked).not.toContain(true);
  lane.sink.applyChanges = apply;
  await applier.whenWatermark(1_305, soon());
});

/** Another move's row stands under key 1 of `free`, until it is let go. */
function contended(): { readonly asked: boolean[]; letGo(): void } {
  const asked: boolean[] = [];
  let isThere = true;
  const key = keyText(change("free:1").key);
  const apply = lane.sink.applyChanges.bind(lane.sink);
  lane.sink.applyChanges = async (batch, signal) => {
    if (isThere && batch.changes.flat().some((one) => one.op === "update" && keyText(one.key) === key)) {
      asked.push(batch.changedLater?.("free", key) ?? false);
      if (!asked.at(-1)) throw new DrayError("GUARD_CONTENDED", { tenant: "other", move: "m2" });
    }
    await apply(batch, signal);
  };
  return {
    asked,
    letGo: () => {
      isThere = false;
    },
  };
}

test("A8, W4: a row of a table that is copied again further on is not waited for: its change may be left out of the log", async () => {
  const { asked } = contended();
  await lane.append(inPass(changesEntry("free:1"), "free", 0), inPass(markEntry("low"), "free", 0));
  const applier = lane.applier();
  lane.run(applier);
  await until(() => asked.length > 2);
  expect(asked).not.toContain(true);
  await lane.append(inPass(markEntry("start"), "free", 1, null));
  await applier.whenWatermark(3, soon());
  expect(asked.at(-1)).toBe(true);
});

test("A8, W4: while it waits, what a recopy further on removes goes at once, and again before the recopy begins", async () => {
  const { asked, letGo } = contended();
  await lane.append(inPass(changesEntry("free:1"), "free", 0));
  const applier = lane.applier();
  lane.run(applier);
  await until(() => asked.length > 2);
  expect(lane.sink.events).not.toContain("clear shared");
  await lane.append(inPass(markEntry("start"), "shared", 1, null), rangeEntry(range("shared", null, null, 1)));
  await until(() => lane.sink.events.includes("clear shared"));
  expect(applier.watermark).toBe(0);
  letGo();
  await applier.whenWatermark(3, soon());
  const { events } = lane.sink;
  expect(events.lastIndexOf("clear shared")).toBeGreaterThan(events.indexOf("changes 1-1"));
});

test("A8, W4: a recopy begins with an empty table where another move brings rows of it, too", async () => {
  await lane.append(rangeEntry(range("shared", null, null, 1)), rangeEntry(range("free", null, null, 1)));
  const applier = lane.applier();
  lane.run(applier);
  await applier.whenWatermark(2, soon());
  expect(lane.sink.events.filter((event) => event.startsWith("clear"))).toEqual(["clear shared"]);
});

test("A8, W4: a table whose recopy begins while another is emptied is not emptied any more", async () => {
  const tables = ["shared", "free"].map((table) => ({ table, pass: 1, planned: null, open: [], rows: 0 }));
  const covered = (announced: "end" | null) => ({ tables: tables.map((each) => ({ ...each, announced })) });
  const key = keyText(change("uniq:1").key);
  let isContended = true;
  let isEmptying = false;
  const { sink } = lane;
  const apply = sink.applyChanges.bind(sink);
  sink.applyChanges = async (batch, signal) => {
    if (isContended && batch.changedLater?.("uniq", key) === false)
      throw new DrayError("GUARD_CONTENDED", { tenant: "other", move: "m2" });
    await apply(batch, signal);
  };
  const held = Promise.withResolvers<void>();
  sink.gates.set("clear shared", held.promise);
  const clearTable = sink.clearTable.bind(sink);
  sink.clearTable = async (table) => {
    isEmptying = true;
    return await clearTable(table);
  };
  await lane.append(changesEntry("uniq:1"), { ...markEntry("start"), coverage: covered(null) });
  const applier = lane.applier();
  lane.run(applier);
  await until(() => isEmptying);
  const range1 = range("free", null, 10, 1);
  await lane.append(
    { ...rangeEntry(range1), coverage: covered("end") },
    { ...chunkEntry(range1), coverage: covered("end") },
  );
  await until(() => sink.events.includes("chunk 4"));
  held.resolve();
  await until(() => sink.events.includes("clear shared"));
  isContended = false;
  await applier.whenWatermark(4, soon());
  expect(sink.events).not.toContain("clear free");
});
