import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isDrayError } from "../../pipeline/errors.ts";
import { type EntryFacts, Validity, type Verdict } from "../../pipeline/log/validity.ts";

const RUNS = Number(process.env["RUNS"] ?? 1_000);
const SEED = process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) };
const settings = { numRuns: RUNS, ...SEED };

type Outcome = Verdict | "LOG_CORRUPT" | "LOG_TRUNCATED";

/** L3 as it is written, with the whole history at hand and no thought of speed: the outcome of each entry, up to an error. */
function model(history: readonly EntryFacts[]): Outcome[] {
  const outcomes: Outcome[] = [];
  for (let i = 0; i < history.length; i++) {
    const outcome = modelOne(history.slice(0, i), outcomes, history[i] as EntryFacts);
    outcomes.push(outcome);
    if (outcome === "LOG_CORRUPT" || outcome === "LOG_TRUNCATED") break;
  }
  return outcomes;
}

function modelOne(before: readonly EntryFacts[], outcomes: readonly Outcome[], entry: EntryFacts): Outcome {
  const ownerAt = outcomes.lastIndexOf("owner");
  const owner = before[ownerAt];
  const counted = before.filter((_, i) => outcomes[i] === "counts");
  const last = counted.at(-1)?.seq ?? 0;
  if (entry.kind === "epoch") {
    if (entry.epoch > (owner?.epoch ?? 0)) return "owner";
    return entry.epoch === owner?.epoch && entry.nonce === owner.nonce ? "repeat" : "superseded";
  }
  if (entry.epoch > (owner?.epoch ?? 0)) return "LOG_TRUNCATED";
  if (entry.epoch < (owner?.epoch ?? 0) || entry.nonce !== owner?.nonce) return "superseded";
  if (entry.seq === last + 1) return "counts";
  if (entry.seq > last) return "LOG_TRUNCATED";
  const sinceOwner = before.filter((_, i) => i > ownerAt && outcomes[i] === "counts");
  const same = sinceOwner.find((seen) => seen.seq === entry.seq);
  return same?.digest === entry.digest ? "repeat" : "LOG_CORRUPT";
}

function judged(validity: Validity, history: readonly EntryFacts[]): Outcome[] {
  const outcomes: Outcome[] = [];
  for (const entry of history) {
    try {
      outcomes.push(validity.judge(entry));
    } catch (error) {
      if (!isDrayError(error) || (error.code !== "LOG_CORRUPT" && error.code !== "LOG_TRUNCATED")) throw error;
      outcomes.push(error.code);
      break;
    }
  }
  return outcomes;
}

/** Anything at all, from few values, so that everything meets everything. */
const anyEntry = fc.record({
  kind: fc.constantFrom("epoch", "changes", "changes", "changes"),
  seq: fc.integer({ min: 1, max: 5 }),
  epoch: fc.integer({ min: 1, max: 3 }),
  nonce: fc.constantFrom("a", "b"),
  digest: fc.constantFrom("x", "y"),
}) as fc.Arbitrary<EntryFacts>;

/**
 * Writers that keep to L2 and L4, in any interleaving: they open (two may take the same epoch), read back, append, send
 * their last send once more; one that has lost the lane goes on as if it had not until its next look.
 */
type Step =
  | { readonly act: "open"; readonly writer: number; readonly above: number }
  | { readonly act: "read back"; readonly writer: number }
  | { readonly act: "append"; readonly writer: number; readonly count: number }
  | { readonly act: "repeat"; readonly writer: number };
const writerIndex = fc.integer({ min: 0, max: 2 });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({
        act: fc.constant("open" as const),
        writer: writerIndex,
        above: fc.constantFrom(0, 1, 2, 2, 2, 2),
      }),
    },
    { weight: 6, arbitrary: fc.record({ act: fc.constant("read back" as const), writer: writerIndex }) },
    {
      weight: 5,
      arbitrary: fc.record({
        act: fc.constant("append" as const),
        writer: writerIndex,
        count: fc.integer({ min: 1, max: 3 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ act: fc.constant("repeat" as const), writer: writerIndex }) },
  ),
  { maxLength: 60, size: "max" },
);

type Writer = { epoch: number; nonce: string; nextSeq: number | null; lastSend: EntryFacts[] };

function play(plan: readonly Step[]): EntryFacts[] {
  const log: EntryFacts[] = [];
  const writers = new Map<number, Writer>();
  plan.forEach((step, i) => {
    const writer = writers.get(step.writer);
    switch (step.act) {
      case "open": {
        const highest = Math.max(0, ...log.map((entry) => entry.epoch));
        const epoch = Math.max(1, highest - 1 + step.above);
        writers.set(step.writer, { epoch, nonce: `n${i}`, nextSeq: null, lastSend: [] });
        log.push({ kind: "epoch", seq: 0, epoch, nonce: `n${i}`, digest: `epoch${i}` });
        return;
      }
      case "read back": {
        if (!writer || writer.nextSeq !== null) return;
        const outcomes = model(log);
        const own = log.findIndex((entry) => entry.kind === "epoch" && entry.nonce === writer.nonce);
        const tail = log.filter((_, at) => at < own && outcomes[at] === "counts").length;
        // Another epoch as high was there before: this opening is given up.
        if (outcomes[own] === "owner") writer.nextSeq = tail + 1;
        else writers.delete(step.writer);
        return;
      }
      case "append": {
        if (!writer || writer.nextSeq === null) return;
        const { epoch, nonce, nextSeq } = writer;
        writer.lastSend = Array.from({ length: step.count }, (_, n) => {
          return { kind: "changes", seq: nextSeq + n, epoch, nonce, digest: `${i}.${n}` } as const;
        });
        writer.nextSeq += step.count;
        log.push(...writer.lastSend);
        return;
      }
      case "repeat":
        log.push(...(writer?.lastSend ?? []));
    }
  });
  return log;
}

describe("L3 validity", () => {
  test("says of any history what the model says", () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 25 }), (history) => {
        expect(judged(new Validity("lane"), history)).toEqual(model(history));
      }),
      settings,
    );
  });

  test("writers that keep to the rules never make an error, and what counts has no gap and no repeat", () => {
    let counts = 0;
    let superseded = 0;
    let repeats = 0;
    fc.assert(
      fc.property(steps, (plan) => {
        const log = play(plan);
        const outcomes = judged(new Validity("lane"), log);
        expect(outcomes).toEqual(model(log));
        expect(outcomes.length).toBe(log.length);
        expect(outcomes).not.toContain("LOG_CORRUPT");
        expect(outcomes).not.toContain("LOG_TRUNCATED");
        const seqs = log.filter((_, i) => outcomes[i] === "counts").map((entry) => entry.seq);
        expect(seqs).toEqual(seqs.map((_, i) => i + 1));
        counts += seqs.length;
        superseded += outcomes.filter((outcome) => outcome === "superseded").length;
        repeats += outcomes.filter((outcome) => outcome === "repeat").length;
      }),
      settings,
    );
    // The property would hold of empty logs too: the interleavings must have reached each case.
    expect(Math.min(counts, superseded, repeats)).toBeGreaterThan(RUNS / 10);
  });

  test("what counts does not depend on where reading began", () => {
    fc.assert(
      fc.property(steps, fc.nat(), (plan, pick) => {
        const log = play(plan);
        const whole = judged(new Validity("lane"), log);
        const places = log.flatMap((_, i) => (whole[i] === "counts" ? [i] : []));
        const place = places[pick % Math.max(1, places.length)];
        if (place === undefined) return;
        const rest = judged(Validity.behind("lane", log[place] as EntryFacts), log.slice(place + 1));
        const isNew = (outcome: Outcome) => outcome === "counts" || outcome === "owner";
        expect(rest.map(isNew)).toEqual(whole.slice(place + 1).map(isNew));
      }),
      settings,
    );
  });

  test("an entry that is lost or changed is found at the next one, or is the last", () => {
    fc.assert(
      fc.property(steps, fc.nat(), fc.boolean(), (plan, pick, isLost) => {
        const log = play(plan);
        const whole = model(log);
        const places = log.flatMap((_, i) => (whole[i] === "counts" || whole[i] === "owner" ? [i] : []));
        const place = places[pick % Math.max(1, places.length)];
        if (place === undefined) return;
        const damaged = isLost
          ? log.filter((_, i) => i !== place)
          : log.map((entry, i) => (i === place ? { ...entry, digest: "changed" } : entry));
        expect(judged(new Validity("lane"), damaged)).toEqual(model(damaged));
      }),
      settings,
    );
  });

  test("remembers the last send however long the lane is, and no more", () => {
    const entry = (seq: number, digest = `d${seq}`): EntryFacts => ({
      kind: "changes",
      seq,
      epoch: 1,
      nonce: "a",
      digest,
    });
    const validity = new Validity("lane");
    validity.judge({ kind: "epoch", seq: 0, epoch: 1, nonce: "a", digest: "" });
    for (let seq = 1; seq <= 100_000; seq++) expect(validity.judge(entry(seq))).toBe("counts");
    expect(validity.judge(entry(99_500))).toBe("repeat");
    expect(() => validity.judge(entry(99_500, "other"))).toThrow(expect.objectContaining({ code: "LOG_CORRUPT" }));
    expect(validity.judge(entry(5))).toBe("repeat");
    expect(() => validity.judge(entry(100_002))).toThrow(expect.objectContaining({ code: "LOG_TRUNCATED" }));
  });
});
