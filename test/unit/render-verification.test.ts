import { expect, test } from "vitest";
import { isUnderWay, verificationExit, verificationLines } from "../../cli/render-verification.ts";
import type { VerificationReport } from "../../cutover/move-service.ts";

test("more differences than are named: the comparing has ended, and failed", () => {
  const table = { covered: true, rowsVerified: 9, dirtyKeys: 0, differences: 0, moreDiffer: true, passUnderWay: false };
  const lane = { lane: "m.db.f1", ...table, coverage: 1, rowsCompared: 9, tables: [] };
  const report: VerificationReport = { lanes: [lane], differences: [] };
  expect([isUnderWay(report), verificationExit(report)]).toEqual([false, 1]);
  expect(verificationLines(report)).toEqual(["  lane m.db.f1: 100% verified, 0 dirty keys, more than 0 differences"]);
  const equal = { ...report, lanes: [{ ...lane, moreDiffer: false }] };
  expect([isUnderWay(equal), verificationExit(equal)]).toEqual([false, 0]);
});
