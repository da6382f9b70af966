import { afterEach, beforeEach, expect, test } from "vitest";
import { DrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import { change, changesEntry, Lane, markEntry, until } from "./applier-harness.ts";

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
