import { beforeEach, describe, expect, test } from "vitest";
import { judgeVerification, type VerifiedLane } from "../../cutover/gate-verification.ts";
import { keyText } from "../../pipeline/key-text.ts";
import { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import type { VerifiedTable } from "../../pipeline/verify/verified-table.ts";

const WHOLE = { after: null, upTo: null };
const MS_PER_KEY = 0.5;
const signal = AbortSignal.timeout(60_000);

describe("V2: what the gate says of verification", () => {
  let state: VerifiedState;
  let table: VerifiedTable;
  let lane: VerifiedLane;
  let known: "measured" | "assumed";
  /** While the dirty keys are compared. */
  let meanwhile: () => void;

  beforeEach(() => {
    state = new VerifiedState({ tables: [{ id: "s.t", root: false, ordered: true, definition: null }] });
    table = state.table("s.t");
    table.began(WHOLE, 1, []);
    const digest = { source: "", target: "" };
    table.comparedRange(WHOLE, { seq: 1, rows: 9, digest, keys: [], found: [], asked: 0, nowMs: 1 });
    meanwhile = () => {};
    known = "measured";
    lane = {
      describeKey: (_, key) => `id=${keyText(key)}`,
      verification: {
        state,
        compareDirtyNow: async () => meanwhile(),
        predictFenced: (keys) => ({ ms: keys * MS_PER_KEY, msPerKey: MS_PER_KEY, known }),
      },
    };
  });

  const judge = () => judgeVerification(lane, { budgetMs: 50 }, signal);
  const makeDirty = (keys: number) => {
    for (let i = 0; i < keys; i++) table.changed(`k${i}`, 2 + i);
  };

  test("as many dirty keys as can be read within the budget: open; one more: closed, with the figure", async () => {
    makeDirty(100);
    expect(await judge()).toMatchObject({ verdict: "yes", value: expect.stringContaining("100 dirty keys") });
    makeDirty(101);
    expect(await judge()).toMatchObject({
      verdict: "no",
      value: expect.stringContaining("101 dirty keys: about 51 ms"),
      limit: expect.stringContaining("dirty keys within 50 ms"),
    });
  });

  test("a figure that rests on nothing measured says so", async () => {
    makeDirty(10);
    expect((await judge()).value).toMatch(/about 5 ms under the fence$/);
    known = "assumed";
    expect((await judge()).value).toMatch(/about 5 ms under the fence, by an assumed pace$/);
  });

  test("a table that was never compared closes it, and nobody waits for its dirty keys", async () => {
    table.reset(0);
    meanwhile = () => expect.unreachable("nothing is compared");
    expect(await judge()).toMatchObject({ verdict: "no", value: "not yet compared: s.t" });
  });

  test("what is lost while dirty keys are compared counts as not compared", async () => {
    meanwhile = () => state.startAt(null);
    expect(await judge()).toMatchObject({ verdict: "no", value: "not yet compared: s.t" });
  });

  test("a difference that is found while dirty keys are compared closes it, by name", async () => {
    meanwhile = () => table.comparedKey(Buffer.from("k1"), 9, { kind: "extra", columns: [], foundAtMs: 1 });
    expect(await judge()).toMatchObject({ verdict: "no", value: "s.t id=k1 extra" });
  });
});
