import { afterEach, beforeEach, expect, test } from "vitest";
import type { EntryDraft } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { ChangeBatch, ChunkUnit } from "../../sinks/sink.ts";
import {
  changesEntry,
  chunkEntry,
  inPass,
  keyOf,
  Lane,
  range,
  transient,
  verifyKeysEntry,
  wantsAll,
} from "./applier-harness.ts";

const soon = () => AbortSignal.timeout(20_000);
const KEY = keyText(keyOf(7));
const OTHER = keyText(keyOf(8));

/** Per verify entry: what a comparison there must not count; null where it had no view to compare in. */
type Told = Record<number, readonly string[] | null>;

let lane: Lane;
/** Keys that another move's row stands in the way of, as long as they are in here. */
let contended: Set<string>;

beforeEach(() => {
  lane = new Lane();
  contended = new Set([KEY]);
  const { sink } = lane;
  const meets = (keys: readonly string[], changedLater: ChangeBatch["changedLater"]) => {
    for (const key of keys.filter((each) => contended.has(each))) if (!changedLater?.("free", key)) throw transient();
  };
  const applyChanges = sink.applyChanges.bind(sink);
  sink.applyChanges = async (batch, signal) => {
    const keys = batch.changes.flat().map(({ key }) => keyText(key));
    meets(keys, batch.changedLater);
    await applyChanges(batch, signal);
  };
  const applyChunk = sink.applyChunk.bind(sink);
  sink.applyChunk = async (chunk: ChunkUnit, signal) => {
    meets([KEY], chunk.changedLater);
    await applyChunk(chunk, signal);
  };
  sink.sessions = 1;
});
afterEach(() => lane.close());

function verifyEntry(): EntryDraft {
  return verifyKeysEntry("free", 7, 8);
}

async function runTo(seq: number): Promise<Told> {
  const told: Told = {};
  const tellings: Promise<void>[] = [];
  const applier = lane.applier({
    limits: { changes: 1 },
    follower: wantsAll(({ header }, opening) => {
      const tell = async () => {
        const opened = await opening;
        told[header.seq] = opened === null ? null : [...opened.passedOver];
      };
      tellings.push(tell());
    }),
  });
  const running = lane.run(applier);
  await applier.whenWatermark(seq, soon());
  await Promise.all(tellings);
  await running.stop();
  return told;
}

test("V1, A8: a row that is passed over is no difference until the change that brings it is applied", async () => {
  await lane.append(verifyEntry(), changesEntry("free:7"), verifyEntry(), changesEntry("free:8"), verifyEntry());
  await lane.append(changesEntry("free:7"), verifyEntry());
  const { sink } = lane;
  const applyChanges = sink.applyChanges.bind(sink);
  sink.applyChanges = async (batch, signal) => {
    if (batch.seqs.first === 6) contended.clear();
    await applyChanges(batch, signal);
  };
  expect(await runTo(7)).toEqual({ 1: [], 3: [KEY], 5: [KEY], 7: [] });
});

test("V1, A8: one that is passed over again is so until the last change of it", async () => {
  await lane.append(changesEntry("free:7"), changesEntry("free:7"), verifyEntry(), changesEntry("free:7"));
  await lane.append(verifyEntry());
  const { sink } = lane;
  const applyChanges = sink.applyChanges.bind(sink);
  sink.applyChanges = async (batch, signal) => {
    if (batch.seqs.first === 4) contended.clear();
    await applyChanges(batch, signal);
  };
  expect(await runTo(5)).toEqual({ 3: [KEY], 5: [] });
});

test("V1, A8: a unit that is sent again and then writes the row has not passed it over", async () => {
  await lane.append(changesEntry("free:7"), verifyEntry(), changesEntry("free:7"));
  const { sink } = lane;
  sink.faults.set("changes 1-1", [{ error: transient(), when: "before" }]);
  const progress = sink.progress.bind(sink);
  sink.progress = async () => {
    if (sink.events.includes("begin changes 1-1")) contended.clear();
    return await progress();
  };
  expect(await runTo(3)).toEqual({ 2: [] });
});

test("V1, W4: a new pass of the table brings every row, and a chunk's row may be passed over too", async () => {
  const at = (pass: number) => ({ ...range("free", null, 100), pass });
  await lane.append(
    inPass(chunkEntry(at(0)), "free", 0),
    inPass(verifyEntry(), "free", 0),
    inPass(changesEntry("free:7"), "free", 1),
    inPass(verifyEntry(), "free", 1),
  );
  const { sink } = lane;
  const applyChanges = sink.applyChanges.bind(sink);
  sink.applyChanges = async (batch, signal) => {
    contended.clear();
    await applyChanges(batch, signal);
  };
  expect(await runTo(4)).toEqual({ 2: [KEY], 4: [] });
});

test("V1, A8: where another applier began, nothing that the log held by then is compared", async () => {
  contended = new Set([OTHER]);
  await lane.append(changesEntry("free:8"), changesEntry("free:1"), verifyEntry(), changesEntry("free:8"));
  const first = lane.applier({ limits: { changes: 1 } });
  const running = lane.run(first);
  await first.whenWatermark(2, soon()).catch(() => {});
  await running.stop();
  lane.sink.anchor = null;
  lane.sink.applied.splice(1);
  contended.clear();
  const told = runTo(6);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await lane.append(changesEntry("free:2"), verifyEntry());
  expect(await told).toEqual({ 3: null, 6: [] });
});
