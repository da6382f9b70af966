import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KyselyControlStore } from "../../cutover/control/kysely-control-store.ts";
import type { ControlStore, NewMove } from "../../cutover/control-store.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LogCheckpoint } from "../../pipeline/log/log.ts";

let folder: string;
let nowMs: number;
const open: ControlStore[] = [];
const clock = { ...systemClock, wallMs: () => nowMs };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dray-control-"));
  nowMs = 1_000;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
  rmSync(folder, { recursive: true });
});

async function openStore(): Promise<ControlStore> {
  const store = await KyselyControlStore.open({ file: join(folder, "control.db"), clock });
  open.push(store);
  return store;
}

const newMove: NewMove = {
  name: "shop-acme",
  manifest: {
    name: "shop",
    stores: [],
    fence: { steps: [], graceMs: 100 },
    routing: [],
    throttle: [],
    consents: [],
    cutover: { maxLagSeconds: 1, maxPauseMs: null, onSlip: "drain-again", heartbeats: 4, retentionHours: 168 },
  },
  tenant: "acme",
  from: "eu1",
  to: "eu2",
  phase: "planned",
  details: { note: "æ" },
  by: "ann@desk",
};
const step = (from: string, to: string) => ({ from, event: "go", to, facts: { n: 1 }, by: "ann@desk" });
const checkpoint: LogCheckpoint = { offset: "12", epoch: 1, nonce: "00".repeat(16), seq: 7 };

test("K2: a move, its journal and lanes are there after the store is opened again", async () => {
  const first = await openStore();
  await first.createMove(newMove);
  await first.appendJournal("shop-acme", 1, step("planned", "preflight"));
  await first.createLanes("shop-acme", [{ lane: "shop-acme.main.f1", spec: { tables: ["shop.users"] } }]);
  expect(await first.raiseLaneEpoch("shop-acme.main.f1", 0)).toBe(1);
  await first.saveCheckpoint("shop-acme.main.f1", 1, checkpoint);
  const again = await openStore();
  const { by: _, ...kept } = newMove;
  const move = await again.getMove("shop-acme");
  expect(move).toEqual({ ...kept, phase: "preflight", generation: 0, journalSeq: 2, createdAtMs: 1_000 });
  expect(await again.journal("shop-acme", 0)).toEqual([
    { move: "shop-acme", seq: 1, atMs: 1_000, from: "", event: "create", to: "planned", facts: {}, by: "ann@desk" },
    { ...step("planned", "preflight"), move: "shop-acme", seq: 2, atMs: 1_000 },
  ]);
  expect(await again.journal("shop-acme", 1)).toHaveLength(1);
  expect(await again.lanes("shop-acme")).toEqual([
    { lane: "shop-acme.main.f1", move: "shop-acme", epoch: 1, checkpoint, spec: { tables: ["shop.users"] } },
  ]);
  expect((await again.listMoves()).map((listed) => listed.name)).toEqual(["shop-acme"]);
});

test("K1: of two who append after the same seq one wins and the other learns what happened", async () => {
  const store = await openStore();
  await store.createMove(newMove);
  const results = await Promise.allSettled([
    store.appendJournal("shop-acme", 1, step("planned", "preflight")),
    store.appendJournal("shop-acme", 1, step("planned", "failed")),
  ]);
  expect(results.map((result) => result.status).toSorted()).toEqual(["fulfilled", "rejected"]);
  const lost = results.find((result) => result.status === "rejected");
  expect(lost?.reason).toMatchObject({ code: "JOURNAL_CONFLICT", facts: { expectedSeq: 1, seq: 2 } });
  const other = await openStore();
  expect(await other.journal("shop-acme", 0)).toHaveLength(2);
  const late = other.appendJournal("shop-acme", 1, step("planned", "preflight"));
  await expect(late).rejects.toMatchObject({ code: "JOURNAL_CONFLICT" });
});

test("K1: an entry from a phase that the move is not in is refused and changes nothing", async () => {
  const store = await openStore();
  await store.createMove(newMove);
  const wrong = store.appendJournal("shop-acme", 1, step("streaming", "cutting-over"), { attempt: 9 });
  await expect(wrong).rejects.toMatchObject({ code: "JOURNAL_CONFLICT" });
  expect(await store.getMove("shop-acme")).toMatchObject({ phase: "planned", journalSeq: 1 });
});

test("K1: notes that were decided on an older journal are refused", async () => {
  const store = await openStore();
  await store.createMove(newMove);
  await store.updateMove("shop-acme", 1, { note: "new" });
  await store.appendJournal("shop-acme", 1, step("planned", "preflight"));
  await expect(store.updateMove("shop-acme", 1, { note: "late" })).rejects.toMatchObject({ code: "JOURNAL_CONFLICT" });
  expect((await store.getMove("shop-acme")).details).toEqual({ note: "new" });
});

test("C2: generations and L2: lane epochs rise strictly, above what the caller has seen, for two openers too", async () => {
  const [one, other] = [await openStore(), await openStore()];
  await one.createMove(newMove);
  await one.createLanes("shop-acme", [{ lane: "l", spec: null }]);
  const taken = await Promise.all([1, 2, 3, 4].map((n) => (n % 2 ? one : other).raiseLaneEpoch("l", 0)));
  expect(taken.toSorted()).toEqual([1, 2, 3, 4]);
  expect(await one.raiseLaneEpoch("l", 9)).toBe(10);
  expect(await other.raiseLaneEpoch("l", 9)).toBe(11);
  expect(await one.raiseGeneration("shop-acme", 0)).toBe(1);
  expect(await other.raiseGeneration("shop-acme", 41)).toBe(42);
  expect(await one.raiseGeneration("shop-acme", 3)).toBe(43);
});

test("L2: a zombie's checkpoint never replaces that of a newer epoch", async () => {
  const store = await openStore();
  await store.createMove(newMove);
  await store.createLanes("shop-acme", [{ lane: "l", spec: null }]);
  const old = await store.raiseLaneEpoch("l", 0);
  const current = await store.raiseLaneEpoch("l", 0);
  await store.saveCheckpoint("l", current, checkpoint);
  const late = store.saveCheckpoint("l", old, { ...checkpoint, seq: 2 });
  await expect(late).rejects.toMatchObject({ code: "FENCED", facts: { newerEpoch: current } });
  expect((await store.getLane("l"))?.checkpoint).toEqual(checkpoint);
});

test("K2: a lease is one holder's until it runs out, and its epoch tells a former holder apart", async () => {
  const store = await openStore();
  const first = await store.acquireLease("move:shop-acme", "ann", 30_000);
  if (!first.held) throw new Error("a free lease was refused");
  expect(first.lease.expiresAtMs).toBe(31_000);
  const second = await store.acquireLease("move:shop-acme", "bob", 30_000);
  expect(second).toEqual({ held: false, by: first.lease });
  nowMs = 20_000;
  const renewed = await store.renewLease(first.lease, 30_000);
  expect(renewed).toEqual({ ...first.lease, expiresAtMs: 50_000 });
  nowMs = 50_000;
  await expect(store.renewLease(renewed, 30_000)).rejects.toMatchObject({ code: "LEASE_LOST" });
  const third = await store.acquireLease("move:shop-acme", "bob", 30_000);
  expect(third).toMatchObject({ held: true, lease: { holder: "bob", epoch: 2 } });
  await store.releaseLease(renewed); // the former holder's: nothing happens
  expect(await store.acquireLease("move:shop-acme", "ann", 30_000)).toMatchObject({ held: false });
  if (third.held) await store.releaseLease(third.lease);
  expect(await store.acquireLease("move:shop-acme", "ann", 1)).toMatchObject({ held: true, lease: { epoch: 3 } });
});

test("an alarm that repeats is one alarm, and after clearing it is a new one", async () => {
  const store = await openStore();
  const alarm = { move: "shop-acme", code: "STRAY_WRITE", message: "a write", facts: { gtid: "u:5" } };
  const raised = await store.raiseAlarm(alarm);
  nowMs = 2_000;
  const repeated = await store.raiseAlarm({ ...alarm, message: "another write" });
  expect(repeated).toEqual({ ...raised, message: "another write", times: 2 });
  await store.raiseAlarm({ ...alarm, move: "shop-other" });
  expect(await store.alarms("shop-acme")).toEqual([repeated]);
  expect(await store.alarms(null)).toHaveLength(2);
  expect(await store.clearAlarm("shop-acme", "STRAY_WRITE", "ann")).toBe(true);
  expect(await store.clearAlarm("shop-acme", "STRAY_WRITE", "ann")).toBe(false);
  expect(await store.alarms("shop-acme")).toEqual([]);
  expect((await store.raiseAlarm(alarm)).id).not.toBe(raised.id);
});

test("K1, C2: the next move of a name goes on with journal and generation, and only from where the last one ended", async () => {
  const store = await openStore();
  await store.createMove(newMove);
  await store.appendJournal("shop-acme", 1, step("planned", "aborted"));
  expect(await store.raiseGeneration("shop-acme", 6)).toBe(7);
  const back: NewMove = { ...newMove, from: "eu2", to: "eu1", details: { earlier: 7 } };
  const entry = { from: "aborted", event: "start-again", to: "planned", facts: {}, by: "bob" };
  for (const [expected, from] of [
    [1, "aborted"],
    [2, "streaming"],
  ] as const) {
    const refused = store.startAgain(back, expected, { ...entry, from });
    await expect(refused).rejects.toMatchObject({ code: "JOURNAL_CONFLICT" });
  }
  expect(await store.getMove("shop-acme")).toMatchObject({ from: "eu1", journalSeq: 2, phase: "aborted" });
  const { by: _, ...kept } = back;
  const again = await store.startAgain(back, 2, entry);
  expect(again).toEqual({ ...kept, generation: 7, journalSeq: 3, createdAtMs: 1_000 });
  expect(await store.getMove("shop-acme")).toEqual(again);
  expect((await store.journal("shop-acme", 0)).map(({ event }) => event)).toEqual(["create", "go", "start-again"]);
  expect(await store.raiseGeneration("shop-acme", 0)).toBe(8);
});

test("what is not there is named: MOVE_UNKNOWN, MOVE_EXISTS, LANE_UNKNOWN", async () => {
  const store = await openStore();
  await expect(store.getMove("gone")).rejects.toMatchObject({ code: "MOVE_UNKNOWN", facts: { move: "gone" } });
  await expect(store.journal("gone", 0)).rejects.toMatchObject({ code: "MOVE_UNKNOWN" });
  await expect(store.raiseGeneration("gone", 0)).rejects.toMatchObject({ code: "MOVE_UNKNOWN" });
  await expect(store.raiseLaneEpoch("gone", 0)).rejects.toMatchObject({ code: "LANE_UNKNOWN" });
  await store.createMove(newMove);
  await expect(store.createMove(newMove)).rejects.toMatchObject({ code: "MOVE_EXISTS" });
});

test("a control store that a later version has written is refused", async () => {
  await (await openStore()).close();
  open.length = 0;
  const database = new DatabaseSync(join(folder, "control.db"));
  database.exec("INSERT INTO kysely_migration (name, timestamp) VALUES ('0099-later', '2030')");
  database.close();
  const refusal = { code: "CONTROL_STORE_NEWER", facts: { migrations: ["0099-later"] } };
  await expect(openStore()).rejects.toMatchObject(refusal);
});
