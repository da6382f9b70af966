import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CheckResult } from "../../demo/check.ts";
import { type LedgerEntry, LedgerWriter, readLedger } from "../../demo/ledger.ts";
import { demoOptions, UsageError } from "../../demo/options.ts";
import { appPauseMs, exitCode, type MoveTimes, weaknesses } from "../../demo/report.ts";

let serial = 0;
const write = (side: "source" | "target", acknowledgedAtMs: number | null, change: Partial<LedgerEntry> = {}) =>
  ({
    serial: ++serial,
    tenant: "acme",
    side,
    stray: false,
    writes: [],
    outcome: acknowledgedAtMs === null ? "unknown" : "acknowledged",
    acknowledgedAtMs,
    ...change,
  }) satisfies LedgerEntry;
const many = (count: number, side: "source" | "target", atMs: number, change: Partial<LedgerEntry> = {}) =>
  Array.from({ length: count }, () => write(side, atMs, change));

const clean: CheckResult = {
  acknowledgedWrites: 1,
  unknownWrites: 0,
  lostWrites: 0,
  differences: 0,
  neighboursChanged: 0,
  strays: 0,
  rowsCompared: 1,
  movedRows: { expected: 1, found: 1 },
  findings: [],
};
const move: MoveTimes = {
  tenant: "acme",
  startMarkAtMs: 1000,
  lastChunkAtMs: 2000,
  streamingAtMs: 2100,
  cutoverAtMs: 3000,
  switches: [{ to: "target", askedAtMs: 3000 }],
  finishAtMs: null,
};
const journey: MoveTimes = {
  ...move,
  switches: [...move.switches, { to: "source", askedAtMs: 4000 }, { to: "target", askedAtMs: 5000 }],
  finishAtMs: 6000,
};

describe("the exit code", () => {
  test.each([
    ["nothing wrong", {}, [], 0],
    ["too few writes", {}, ["few"], 3],
    ["unknown outcomes alone are no fault", { unknownWrites: 3 }, [], 0],
    ["a lost write", { lostWrites: 1 }, [], 1],
    ["a difference", { differences: 1 }, [], 1],
    ["a neighbour changed", { neighboursChanged: 1 }, [], 1],
    ["a stray", { strays: 1 }, [], 1],
    ["wrong data weighs more than too few writes", { lostWrites: 1 }, ["few"], 1],
  ] as const)("%s", (_, change, weak, expected) => {
    expect(exitCode({ ...clean, ...change }, weak)).toBe(expected);
  });
});

describe("what makes a run too weak to prove anything", () => {
  const enough = [...many(20, "source", 1500), ...many(100, "source", 2500), ...many(100, "target", 3500)];
  const found = (ledger: LedgerEntry[], change: Partial<{ tps: number; seconds: number }> = {}) =>
    weaknesses({ ledger, moves: [move], tps: 100, seconds: 2.75, ...change });

  test("just enough of everything", () => expect(found(enough)).toEqual([]));
  test("under 80% of the pace", () => expect(found(enough, { seconds: 2.76 })).toHaveLength(1));
  test.each([
    [0, "between start mark and last chunk"],
    [20, "while streaming"],
    [120, "after the cutover"],
  ] as const)("one less from the %i-th on: %s", (index, words) => {
    const weak = found(enough.toSpliced(index, 1), { seconds: 1 });
    expect(weak).toHaveLength(1);
    expect(weak[0]).toContain(words);
  });
  test("of a whole journey each stay counts for itself", () => {
    const all = [...enough, ...many(100, "source", 4500), ...many(100, "target", 5500), ...many(20, "target", 6500)];
    const weak = (ledger: LedgerEntry[]) => weaknesses({ ledger, moves: [journey], tps: 100, seconds: 1 });
    expect(weak(all)).toEqual([]);
    expect(weak(all.toSpliced(-1, 1))).toEqual([expect.stringContaining("from the finish on")]);
    expect(weak(all.toSpliced(220, 1))).toEqual([expect.stringContaining("after the rollback")]);
    expect(weak(all.toSpliced(320, 21))).toEqual([expect.stringContaining("after the second cutover")]);
  });
  test("strays, unknown outcomes and other tenants' writes count for nothing", () => {
    const padding = [
      ...many(5, "source", 2500, { stray: true }),
      ...many(5, "source", 2500, { tenant: "birch" }),
      write("source", null),
    ];
    expect(found([...enough.toSpliced(20, 1), ...padding], { seconds: 1 })).toHaveLength(1);
  });
});

test("the application's pause: last at the source to first at the target, strays aside", () => {
  const ledger = [
    write("source", 10),
    write("source", 90.5),
    write("target", 130),
    write("target", 110),
    write("source", 500, { stray: true }),
    write("target", 100, { tenant: "fjord" }),
  ];
  const once = { tenant: "acme", switches: [{ to: "target", askedAtMs: 50 }] } as const;
  expect(appPauseMs(ledger, once, 0)).toBe(19.5);
  expect(appPauseMs(ledger.slice(0, 2), once, 0)).toBeNaN();
});

test("each switch has its own pause, between its request and the next", () => {
  const ledger = [
    ...[write("source", 2990), write("target", 3100), write("target", 4010)],
    ...[write("source", 4070), write("source", 5020), write("target", 5050), write("target", 6100)],
  ];
  expect([0, 1, 2].map((index) => appPauseMs(ledger, journey, index))).toEqual([110, 60, 30]);
});

describe("options", () => {
  test("the issue's defaults", () => {
    expect(demoOptions([])).toMatchObject({ log: "embedded", rows: 500_000, tps: 300, cutovers: 1, sabotage: null });
  });
  test.each([
    ["--rows", "12"],
    ["--rows", "many"],
    ["--cutovers", "6"],
    ["--log", "paper"],
    ["--sabotage", "x"],
    ["-x"],
  ])("%s %s is refused", (...args) => {
    expect(() => demoOptions(args.filter((arg) => arg !== undefined))).toThrow(UsageError);
  });
});

describe("the ledger", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "demo-ledger-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("is read block by block, whatever a block's end cuts through", () => {
    const path = join(folder, "long");
    const ledger = new LedgerWriter({ path });
    const note = "🎁 wrap it, größer".repeat(20_000);
    const count = 6;
    for (let number = 1; number <= count; number++) {
      const values = { note: `${number} ${note}` };
      const writes = [{ op: "update", table: "orders", id: String(number), values } as const];
      ledger.outcome(ledger.intent({ tenant: "acme", side: "source", stray: false, writes }), "acknowledged", number);
    }
    ledger.close();
    const read = readLedger(path);
    expect(read.map(({ acknowledgedAtMs }) => acknowledgedAtMs)).toEqual([1, 2, 3, 4, 5, 6]);
    for (const { serial, writes } of read) {
      expect(writes[0]?.op === "update" && writes[0].values["note"] === `${serial} ${note}`).toBe(true);
    }
  });

  test("an intent without an answer is of unknown outcome, and a line cut off by a crash is none", () => {
    const path = join(folder, "ledger");
    const ledger = new LedgerWriter({ path });
    const about = { tenant: "acme", side: "source", stray: false, writes: [] } as const;
    const [first, second, third] = [ledger.intent(about), ledger.intent(about), ledger.intent(about)];
    ledger.outcome(third, "unknown", 6);
    ledger.outcome(first, "acknowledged", 5.5);
    ledger.close();
    appendFileSync(path, '{"k":"acknowledged","n":2,');
    const read = readLedger(path).map(({ serial, outcome, acknowledgedAtMs }) => ({
      serial,
      outcome,
      acknowledgedAtMs,
    }));
    expect(read).toEqual([
      { serial: first, outcome: "acknowledged", acknowledgedAtMs: 5.5 },
      { serial: second, outcome: "unknown", acknowledgedAtMs: null },
      { serial: third, outcome: "unknown", acknowledgedAtMs: null },
    ]);
  });
});
