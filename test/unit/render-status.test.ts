import { expect, test } from "vitest";
import { duration, moveLine, statusLines } from "../../cli/render-status.ts";
import type { LaneStatus, MoveStatus, TableStatus } from "../../cutover/move-service.ts";

const blank: MoveStatus = {
  move: "shop-acme",
  manifest: "shop",
  tenant: "acme",
  from: "a",
  to: "b",
  phase: "copying",
  generation: 1,
  alarms: [],
  problem: null,
  lanes: [],
  attempt: null,
  finish: null,
  verification: "none",
  accepted: null,
  rollback: "none",
  next: [],
};

function laneWith(changed: Partial<LaneStatus>): LaneStatus {
  return {
    lane: "shop-acme.db.1.forward",
    store: "db",
    role: "active",
    capture: "shared",
    apply: "running",
    position: null,
    tailSeq: null,
    watermark: null,
    lagSeconds: null,
    headroomSeconds: null,
    tables: [],
    rowsPerSecond: 0,
    bytesPerSecond: 0,
    etaSeconds: null,
    waiting: [],
    verification: {
      ...{ covered: false, coverage: 0, rowsVerified: 0, rowsCompared: 0, dirtyKeys: 0, differences: 0 },
      ...{ moreDiffer: false, passUnderWay: true, tables: [] },
    },
    problem: null,
    ...changed,
  };
}

function shown(table: Omit<TableStatus, "table">): string | undefined {
  const lane = laneWith({ tables: [{ table: "shop.users", ...table }] });
  return statusLines({ ...blank, lanes: [lane] })
    .find((line) => line.includes("shop.users"))
    ?.trim();
}

test("K4: an estimate of rows is shown until more than it were copied", () => {
  const bar = (full: number) => `[${"#".repeat(full)}${".".repeat(20 - full)}]`;
  const copying = (rowsCopied: number, rowsEstimated: number | null) =>
    shown({ state: "copying", rowsCopied, rowsEstimated });
  expect(copying(1000, 2000)).toBe(`${bar(10)} shop.users: copying, 1,000 of about 2,000 rows`);
  expect(copying(2500, 2000)).toBe(`${bar(20)} shop.users: copying, 2,500 rows`);
  expect(copying(2500, null)).toBe(`${bar(0)} shop.users: copying, 2,500 rows`);
  expect(shown({ state: "copied", rowsCopied: 5, rowsEstimated: 9 })).toBe(`${bar(20)} shop.users: copied, 5 rows`);
});

test("K4: a target beyond the newest mark is not behind by less than nothing", () => {
  const [line] = statusLines({ ...blank, lanes: [laneWith({ tailSeq: 90, watermark: 98 })] }).filter((each) =>
    each.includes("behind"),
  );
  expect(line).toContain(" 0 entries behind");
});

test.each([
  [59.4, "59 s"],
  [59.6, "1 min 0 s"],
  [3_599.7, "1 h 0 min"],
  [2_591_996.8, "720 h 0 min"],
  [5_400, "1 h 30 min"],
])("K4: %d seconds are told as people tell time", (seconds, words) => {
  expect(duration(seconds)).toBe(words);
});

test("C1: an attempt that was decided in the target says so", () => {
  const attempt = {
    generation: 3,
    direction: "forward",
    outcome: "aborted",
    step: "unfence",
    reason: "PIN_FAILED",
    steps: [],
    predicted: [],
    decidedIn: "target",
  } as const;
  const lines = statusLines({ ...blank, attempt });
  expect(lines).toContain(
    "  attempt 3: aborted at unfence, decided in the target: the source is another server now: PIN_FAILED",
  );
  expect(statusLines({ ...blank, attempt: { ...attempt, decidedIn: "home", reason: null } })).toContain(
    "  attempt 3: aborted at unfence",
  );
});

test("a move of which a person answers for what is not verified says so in every list", () => {
  const accepted = { by: "ana", what: "it.db.f1 verification: s.t id=1 missing" };
  expect(moveLine({ ...blank, phase: "watching", accepted })).toBe(
    "shop-acme  watching  a -> b  UNVERIFIED, accepted by ana",
  );
  expect(moveLine(blank)).toBe("shop-acme  copying  a -> b");
});
