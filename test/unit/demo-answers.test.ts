import { expect, test } from "vitest";
import {
  failureText,
  readFinish,
  readLog,
  readStatus,
  readSwitch,
  readTimes,
  readVerification,
} from "../../demo/product-answers.ts";

const mark = (seq: number, kind: string) => ({ seq, kind: "mark", tables: { lane: kind }, committedAtMs: seq * 10 });
const chunk = (seq: number) => ({ seq, kind: "chunk", tables: { "shop.users": "9 rows" }, committedAtMs: seq * 10 });

test("the start mark and the last chunk, as the log has them", () => {
  const lines = [mark(1, "start"), mark(2, "low"), chunk(3), chunk(5), mark(6, "heartbeat")];
  expect(readLog(lines)).toEqual({ entries: 5, lastSeq: 6, startMarkAtMs: 10, lastChunkAtMs: 50 });
  expect(readLog([])).toEqual({ entries: 0, lastSeq: 0, startMarkAtMs: null, lastChunkAtMs: null });
});

test("the last attempt counts, and the worst lag at its gate", () => {
  const status = {
    lanes: [
      { role: "active", tables: [{ rowsCopied: 400 }, { rowsCopied: 600 }] },
      { role: "standby", tables: [{ rowsCopied: 7 }] },
    ],
  };
  const journal = [
    { event: "copied", atMs: 2000 },
    { event: "attempt", atMs: 3000 },
    { event: "attempt-aborted", atMs: 3500 },
    { event: "attempt", atMs: 4000 },
  ];
  const times = { streamingAtMs: 2000, attemptAtMs: 4000, copyRowsPerSecond: 1000 };
  expect(readTimes({ tenant: "acme", startMarkAtMs: 1000, status, journal })).toEqual(times);
  const refused = readTimes({ tenant: "acme", startMarkAtMs: 1000, status, journal: journal.slice(0, 1) });
  expect(refused).toEqual({ ...times, attemptAtMs: null });
  const cutover = {
    outcome: "committed",
    reason: null,
    gate: [
      { name: "shop-acme.db.2.forward streaming", value: "shared" },
      { name: "shop-acme.db.2.forward lag", value: "0.143 s, 9 heartbeats below" },
    ],
    steps: [{ step: "fence", tookMs: 7 }],
    pauseMs: 20,
  };
  expect(readSwitch(cutover, { tenant: "acme", to: "target", askedAtMs: 3900 })).toEqual({
    to: "target",
    askedAtMs: 3900,
    lagAtGateSeconds: 0.143,
    pauseMs: 20,
    steps: { fence: 7 },
  });
});

test("rows that differ are named by table, key and columns, and what a finish removed is counted", () => {
  const difference = { table: "shop.orders", key: "id=7", kind: "differing", columns: ["items"] };
  const report = {
    lanes: [{ rowsVerified: 40 }, { rowsVerified: 2 }],
    differences: [difference, { ...difference, kind: "missing", columns: [] }],
  };
  const found = ["shop.orders id=7: differing in items", "shop.orders id=7: missing"];
  expect(readVerification(report)).toEqual({ rows: 42, found });
  const finish = { rowsRemoved: { "shop.users": 3, "shop.orders": 4 }, left: ["shop.users id=9"] };
  expect(readFinish({ finish })).toEqual({ removed: 7, left: ["shop.users id=9"] });
});

test("complete is what every lane that carries has compared, and no pass is under way", () => {
  const verification = { covered: true, passUnderWay: false, rowsVerified: 9, dirtyKeys: 1, differences: 0 };
  const lane = { role: "active", tables: [], rowsPerSecond: 0, waiting: [], verification };
  const of = (lanes: unknown[]) => readStatus({ phase: "watching", alarms: [], problem: null, lanes }).verification;
  expect(of([lane])).toEqual({ isComplete: true, words: "9 rows verified, 0 differences" });
  expect(of([])).toMatchObject({ isComplete: false });
  expect(of([lane, { ...lane, verification: { ...verification, passUnderWay: true } }]).isComplete).toBe(false);
  expect(of([lane, { ...lane, role: "watched", verification: { ...verification, covered: false } }]).isComplete).toBe(
    true,
  );
});

test("an alarm that came again counts as often as it came", () => {
  const alarm = { code: "STRAY_WRITE", message: "users 7", times: 2 };
  const status = readStatus({ phase: "watching", alarms: [alarm], problem: null, lanes: [] });
  expect(status).toMatchObject({ alarms: ["STRAY_WRITE users 7 (2 times)"], alarmsRaised: 2 });
});

test("a refusal is shown with its findings and remedies, not as JSON", () => {
  const finding = { severity: "error", subject: "shop.users", finding: "no primary key", remedy: "ALTER TABLE" };
  const warning = { ...finding, severity: "warning", finding: "harmless" };
  const expected = "shop.users: no primary key\n  ALTER TABLE";
  expect(failureText({ code: 3, json: { findings: [warning, finding] }, text: "" })).toBe(expected);
  const error = { message: "PREFLIGHT_REFUSED", remedy: "look", facts: { findings: [finding] } };
  expect(failureText({ code: 3, json: { error }, text: "" })).toBe(expected);
  expect(failureText({ code: 1, json: { error: { message: "gone", remedy: "wait" } }, text: "" })).toBe("gone\nwait");
  expect(failureText({ code: 1, json: { reason: "late" }, text: "{}" })).toBe("late");
  expect(failureText({ code: 7, json: null, text: "" })).toBe("exit code 7");
});
