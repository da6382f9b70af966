import { expect, test } from "vitest";
import { failureText, readLog, readResult, readStatus } from "../../demo/product-answers.ts";

const mark = (seq: number, kind: string) => ({ seq, kind: "mark", tables: { lane: kind }, committedAtMs: seq * 10 });
const chunk = (seq: number) => ({ seq, kind: "chunk", tables: { "shop.users": "9 rows" }, committedAtMs: seq * 10 });

test("the start mark and the last chunk, as the log has them", () => {
  const lines = [mark(1, "start"), mark(2, "low"), chunk(3), chunk(5), mark(6, "heartbeat")];
  expect(readLog(lines)).toEqual({ entries: 5, lastSeq: 6, startMarkAtMs: 10, lastChunkAtMs: 50 });
  expect(readLog([])).toEqual({ entries: 0, lastSeq: 0, startMarkAtMs: null, lastChunkAtMs: null });
});

test("the last attempt counts, and the worst lag at its gate", () => {
  const result = readResult({
    tenant: "acme",
    startMarkAtMs: 1000,
    lastChunkAtMs: 1800,
    status: { lanes: [{ tables: [{ rowsCopied: 400 }, { rowsCopied: 600 }] }] },
    cutover: {
      outcome: "committed",
      reason: null,
      gate: [
        { name: "shop-acme.db.2.forward streaming", value: "shared" },
        { name: "shop-acme.db.2.forward lag", value: "0.143 s, 9 heartbeats below" },
      ],
      steps: [{ step: "fence", tookMs: 7 }],
      pauseMs: 20,
    },
    journal: [
      { event: "copied", atMs: 2000 },
      { event: "attempt", atMs: 3000 },
      { event: "attempt-aborted", atMs: 3500 },
      { event: "attempt", atMs: 4000 },
    ],
  });
  expect(result).toEqual({
    tenant: "acme",
    startMarkAtMs: 1000,
    lastChunkAtMs: 1800,
    streamingAtMs: 2000,
    cutoverAtMs: 4000,
    copyRowsPerSecond: 1000,
    lagAtGateSeconds: 0.143,
    pauseMs: 20,
    steps: { fence: 7 },
  });
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
