import { beforeEach, describe, expect, test } from "vitest";
import { Attempt, type AttemptOptions, type AttemptResult } from "../../cutover/attempt.ts";
import type { AttemptLane, Drained, Slipped, Unverified } from "../../cutover/attempt-lane.ts";
import { CommitPoint } from "../../cutover/commit-point.ts";
import type { JournalEntry } from "../../cutover/control-store.ts";
import { attemptsOf, proofOf } from "../../cutover/evidence-cutovers.ts";
import { Fencing } from "../../cutover/fencing.ts";
import type { Reopened } from "../../cutover/proof.ts";
import { systemClock } from "../../pipeline/clock.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { Outcome, OutcomeDraft, OutcomeResult, OutcomeRow, OutcomeStore } from "../../pipeline/outcome.ts";
import { noProbe } from "../../pipeline/probe.ts";

/*
 * What an attempt makes of what its lanes say: a lane here says exactly what the test has it say, behind a real commit
 * point over outcomes in memory.
 */
class Outcomes implements OutcomeStore {
  readonly rows: OutcomeRow[] = [];

  readOutcomes = async (): Promise<readonly OutcomeRow[]> => this.rows;
  serverIdentity = async () => ({ uuid: "home", version: "9", readOnly: false });

  async insertOutcome(draft: OutcomeDraft): Promise<OutcomeResult> {
    const row = this.rows.find(({ generation }) => generation === draft.generation);
    if (row === undefined) {
      this.rows.push(draft);
      return { result: "won" };
    }
    return { result: row.outcome === draft.outcome ? "already-same" : "lost", row };
  }
}

const CLEAN: Unverified = { uncovered: [], differing: [] };
const ROW: Slipped = {
  lane: "it.db.f1",
  table: "s.t",
  key: "id=1",
  transaction: "t1",
  committedAtMs: 1,
  session: 7,
};

class FakeLane implements AttemptLane {
  readonly lane: string;
  epoch = 1;
  seq = 0;
  lastChangeSeq = 0;
  fenced: Unverified = CLEAN;
  known: Unverified = CLEAN;
  rows: readonly Slipped[] = [];
  compared = 0;
  drains = 0;
  /** What happens behind S1 of each round. */
  meanwhile: (() => void)[] = [];
  heldNow: () => number = () => 0;
  /** What it was asked for, in order. */
  readonly told: string[] = [];

  constructor(lane = "it.db.f1") {
    this.lane = lane;
  }

  async compareUntil(over: AbortSignal): Promise<void> {
    while (!over.aborted) await systemClock.sleep(1, over).catch(() => {});
    this.told.push("compared until here");
  }
  rest(): void {
    this.told.push("rest");
  }
  async drain(): Promise<Drained> {
    this.drains++;
    const drained = this.#place();
    this.meanwhile.shift()?.();
    return drained;
  }
  async seal(_signal?: AbortSignal): Promise<Drained> {
    this.told.push("seal");
    await systemClock.sleep(5);
    return this.#place();
  }
  async verify(): Promise<Unverified> {
    this.told.push("verify");
    this.compared++;
    return this.fenced;
  }
  unverified = (): Unverified => this.known;
  held = (): number => this.heldNow();
  slipped = (): readonly Slipped[] => this.rows;
  release(): void {
    this.rows = [];
  }
  close = async (): Promise<void> => {};

  #place(): Drained {
    const place = { header: { seq: ++this.seq, epoch: this.epoch } } as Drained["place"];
    return { place, lastChangeSeq: this.lastChangeSeq };
  }
}

async function run(lane: FakeLane, change: Partial<AttemptOptions> = {}): Promise<AttemptResult> {
  const clock = systemClock;
  const sides = { home: new Outcomes(), target: new Outcomes() };
  const from = { move: "it", tenant: "acme", from: "a", to: "b" };
  const attempt = new Attempt({
    generation: 3,
    direction: "forward",
    lanes: [lane],
    fencing: new Fencing({ ...from, fences: [], routes: [], graceMs: 0, clock }),
    commitPoint: new CommitPoint({ ...sides, move: "it", clock, probe: noProbe, earlier: 0, onHeld: () => {} }),
    quiesce: async () => {},
    accepted: new Set(),
    prepare: async () => ({}),
    confirmTargets: async () => [],
    homeUuid: "home",
    maxPauseMs: 20_000,
    routePatienceMs: 1_000,
    clock,
    probe: noProbe,
    onStep: () => {},
    onHeld: () => {},
    onSlipped: async () => {},
    onUnproven: async () => {},
    slipPolicy: "drain-again",
    onCommitted: async () => {},
    ...change,
  });
  const result = await attempt.run(new AbortController().signal);
  const outcomes: readonly (Outcome | undefined)[] = [sides.home.rows[0]?.outcome, sides.target.rows[0]?.outcome];
  if (result.outcome === "committed") expect(outcomes).toEqual(["COMMITTED", "COMMITTED"]);
  else expect(outcomes[0]).toBe("ABORTED");
  return result;
}

function errorOf({ error }: AttemptResult): { readonly code: string; readonly facts: object } {
  if (!isDrayError(error)) throw new Error(`not one of ours: ${String(error)}`);
  return { code: error.code, facts: error.facts };
}

describe("V2: what is not verified is not committed over", () => {
  test("a table that is not covered under the fence ends the attempt, by its name", async () => {
    const lane = new FakeLane();
    lane.fenced = { uncovered: ["s.t"], differing: [] };
    const result = await run(lane);
    expect(result.outcome).toBe("aborted");
    expect(errorOf(result)).toMatchObject({ code: "VERIFICATION_LOST", facts: { generation: 3, tables: ["s.t"] } });
  });

  test("what was verified is lost behind the fenced comparison: the attempt ends", async () => {
    const lane = new FakeLane();
    const confirmTargets = async () => {
      lane.known = { uncovered: ["s.t"], differing: [] };
      return [];
    };
    expect(errorOf(await run(lane, { confirmTargets })).code).toBe("VERIFICATION_LOST");
  });

  test("a pass that began before the fence finds a row once the keys were compared: the attempt ends, by its name", async () => {
    const lane = new FakeLane();
    const confirmTargets = async () => {
      lane.known = { uncovered: [], differing: ["s.t id=1: extra"] };
      return [];
    };
    const result = await run(lane, { confirmTargets });
    expect(errorOf(result)).toMatchObject({ code: "VERIFY_DIFFERS", facts: { rows: ["s.t id=1: extra"], count: 1 } });
  });

  test("what a person answers for is not compared; another lane is as always", async () => {
    const [accepted, other] = [new FakeLane("it.db.f1"), new FakeLane("it.other.f1")];
    accepted.fenced = accepted.known = { uncovered: ["s.t"], differing: ["s.t id=1: extra"] };
    const change = { lanes: [accepted, other], accepted: new Set([accepted.lane]) };
    expect((await run(accepted, change)).outcome).toBe("committed");
    expect([accepted.compared, other.compared]).toEqual([0, 1]);
    other.fenced = { uncovered: [], differing: ["s.u id=2: missing"] };
    expect(errorOf(await run(accepted, change)).facts).toMatchObject({ rows: ["s.u id=2: missing"] });
  });

  test("everything covered, and nothing differs: it commits", async () => {
    expect((await run(new FakeLane())).outcome).toBe("committed");
  });
});

describe("C10: what the tenant does not wait for", () => {
  test("V2: rows are compared as they change until the fences hold, but of what a person answers for", async () => {
    const [accepted, other] = [new FakeLane("it.db.f1"), new FakeLane("it.other.f1")];
    const change = { lanes: [accepted, other], accepted: new Set([accepted.lane]) };
    expect((await run(other, change)).outcome).toBe("committed");
    expect(other.told).toEqual(["compared until here", "rest", "verify", "seal"]);
    expect(accepted.told).toEqual(["rest", "seal"]);
  });

  test("C7: what leads back comes to its marks beside S2, and nothing is confirmed before", async () => {
    const lane = new FakeLane();
    const prepare = async () => {
      lane.told.push("prepare");
      while (!lane.told.includes("seal")) await systemClock.sleep(1);
      await systemClock.sleep(20);
      lane.told.push("prepared");
      return { back: "n" };
    };
    const confirmTargets = async () => {
      lane.told.push("confirm");
      return [];
    };
    const marks: unknown[] = [];
    const onCommitted: AttemptOptions["onCommitted"] = async (_, at) => void marks.push(at);
    expect(await run(lane, { prepare, confirmTargets, onCommitted })).toMatchObject({ outcome: "committed" });
    expect(lane.told.slice(2)).toEqual(["verify", "prepare", "seal", "prepared", "confirm"]);
    expect(marks).toEqual([{ back: "n" }]);
  });

  test("C7: what cannot come to its mark ends the attempt; nobody prepares for rows that differ", async () => {
    const lane = new FakeLane();
    let prepared = 0;
    const prepare = async () => {
      prepared++;
      throw new DrayError("WAY_BACK_LOST", { generation: 3 });
    };
    const result = await run(lane, { prepare });
    expect(errorOf(result).code).toBe("WAY_BACK_LOST");
    expect([prepared, result.isMarked]).toEqual([1, true]);
    lane.fenced = { uncovered: [], differing: ["s.t id=1: extra"] };
    const differing = await run(lane, { prepare });
    expect(errorOf(differing).code).toBe("VERIFY_DIFFERS");
    expect([prepared, differing.isMarked]).toEqual([1, false]);
  });

  test("C7: where the way back is lost, nobody waits for S2 until the deadline", async () => {
    const lane = new FakeLane();
    lane.seal = (signal?: AbortSignal) =>
      new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    const prepare = async () => {
      await systemClock.sleep(5);
      throw new DrayError("WAY_BACK_LOST", { generation: 3 });
    };
    expect(errorOf(await run(lane, { prepare, maxPauseMs: 600_000 })).code).toBe("WAY_BACK_LOST");
  });

  test("an S2 that is old by the time the way back has come to its marks is taken once more", async () => {
    const lane = new FakeLane();
    const prepare = async () => {
      await systemClock.sleep(200);
      return {};
    };
    expect(await run(lane, { prepare })).toMatchObject({ outcome: "committed", repeats: 0, proof: [{ s1: 1, s2: 3 }] });
  });

  test("S2 that fails gives up what is prepared beside it", async () => {
    const lane = new FakeLane();
    lane.seal = async () => {
      throw new DrayError("DIVERGED", {});
    };
    let given: unknown = null;
    const prepare = (signal: AbortSignal) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener("abort", () => {
          given = signal.reason;
          reject(signal.reason);
        });
      });
    expect(errorOf(await run(lane, { prepare })).code).toBe("DIVERGED");
    expect(isDrayError(given, "DIVERGED")).toBe(true);
  });
});

describe("C: what came between S1 and S2", () => {
  const told: { leaks: Slipped[][]; unproven: Reopened[][] } = { leaks: [], unproven: [] };
  const policy = (slipPolicy: "abort" | "drain-again"): Partial<AttemptOptions> => ({
    slipPolicy,
    onSlipped: async (rows) => void told.leaks.push([...rows]),
    onUnproven: async (reopened) => void told.unproven.push([...reopened]),
  });

  beforeEach(() => {
    told.leaks = [];
    told.unproven = [];
  });

  function reopening(times: number): FakeLane {
    const lane = new FakeLane();
    const reopen = () => {
      lane.epoch++;
      lane.lastChangeSeq = 0;
    };
    lane.meanwhile = Array.from({ length: times }, () => reopen);
    return lane;
  }

  test.each(["abort", "drain-again"] as const)(
    "a capture that was opened anew is no leak: told as what it is, and drained again where leaks have it %s",
    async (slipPolicy) => {
      const lane = reopening(2);
      const result = await run(lane, policy(slipPolicy));
      expect(result).toMatchObject({ outcome: "committed", repeats: 2, proof: [{ epoch: 3, s1: 5, s2: 6 }] });
      expect(lane.drains).toBe(3);
      expect(told).toEqual({
        leaks: [],
        unproven: [[{ lane: lane.lane, s1Epoch: 1, s2Epoch: 2 }], [{ lane: lane.lane, s1Epoch: 2, s2Epoch: 3 }]],
      });
    },
  );

  test("one that is opened anew every time ends the attempt, and nobody is accused of writing", async () => {
    const result = await run(reopening(9), policy("drain-again"));
    expect(errorOf(result)).toMatchObject({
      code: "INTERVAL_UNPROVEN",
      facts: { repeats: 5, lanes: [{ lane: "it.db.f1" }] },
    });
    expect(told.leaks).toEqual([]);
  });

  test("a change that the new epoch has carried is a leak, whichever epoch it came in", async () => {
    const lane = new FakeLane();
    lane.meanwhile = [
      () => {
        lane.epoch++;
        lane.lastChangeSeq = ++lane.seq;
        lane.rows = [ROW];
      },
    ];
    const result = await run(lane, policy("abort"));
    expect(errorOf(result)).toMatchObject({ code: "FENCE_LEAKS", facts: { repeats: 0, rows: [ROW] } });
    expect(told).toEqual({ leaks: [[ROW]], unproven: [] });
  });
});

describe("C: what is held behind S2 when COMMITTED is to be written", () => {
  /** Comes with this look at it, the first being the proof's. */
  function slippingAt(look: number): FakeLane {
    const lane = new FakeLane();
    let looks = 0;
    lane.heldNow = () => {
      if (++looks !== look) return 0;
      lane.rows = [ROW];
      return 1;
    };
    return lane;
  }

  test("known by then, it is told and drained again", async () => {
    const leaks: Slipped[][] = [];
    const lane = slippingAt(2);
    const result = await run(lane, { onSlipped: async (rows) => void leaks.push([...rows]) });
    expect(result).toMatchObject({ outcome: "committed", repeats: 1 });
    expect(leaks).toEqual([[ROW]]);
    expect(lane.drains).toBe(2);
  });

  test("where the manifest says so, it aborts the attempt by name", async () => {
    const result = await run(slippingAt(2), { slipPolicy: "abort" });
    expect(errorOf(result)).toMatchObject({ code: "FENCE_LEAKS", facts: { rows: [ROW] } });
  });
});

test("evidence tells a capture that was opened anew apart from writes that came through", () => {
  const entry = (event: string, facts: JournalEntry["facts"]): JournalEntry => {
    return { seq: 1, atMs: 1, by: "server", event, from: "cutting-over", to: "cutting-over", facts } as JournalEntry;
  };
  const lanes = [{ lane: "it.db.f1", s1Epoch: 1, s2Epoch: 2 }];
  const [attempt] = attemptsOf([
    entry("attempt", { generation: 3 }),
    entry("interval-unproven", { generation: 3, lanes }),
    entry("committed", { generation: 3 }),
  ]);
  expect(attempt && proofOf(attempt)).toMatchObject({ generation: 3, leaks: [], unproven: lanes });
});
