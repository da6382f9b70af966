import type { JournalEntry, Json, JsonObject } from "./control-store.ts";
import type { CutoverEvidence, FenceProofPart, LaneProof, StepEvidence } from "./evidence-parts.ts";
import type { StepTime } from "./move-service.ts";

type Beside = { readonly step: string; readonly predictedMs: number; readonly how: string };

/** One attempt as the journal has it, from its gate to its end. */
export type JournalledAttempt = {
  readonly began: JournalEntry;
  readonly gate: JournalEntry | null;
  readonly accepted: JournalEntry | null;
  readonly leaks: readonly JournalEntry[];
  readonly unproven: readonly JournalEntry[];
  readonly committed: JournalEntry | null;
  /** The first that says how it went. */
  readonly ended: JournalEntry | null;
  /** The last, which settles what the first may have left to a person, or to another process. */
  readonly settled: JournalEntry | null;
};

const BEGINS: ReadonlySet<string> = new Set(["attempt", "attempt-back", "found", "found-back"]);
const BACK: ReadonlySet<string> = new Set(["attempt-back", "found-back"]);
const ENDS: ReadonlySet<string> = new Set(["routed", "attempt-aborted", "ambiguous", "resolved-to", "resolved-from"]);

const OPEN = { committed: null, ended: null, settled: null };

/** Gate, attempt and end belong together as they follow each other: a move has one command at a time. */
export function attemptsOf(entries: readonly JournalEntry[]): readonly JournalledAttempt[] {
  const attempts: JournalledAttempt[] = [];
  let gate: JournalEntry | null = null;
  let accepted: JournalEntry | null = null;
  const change = (part: Partial<JournalledAttempt>) => {
    const last = attempts.pop();
    if (last !== undefined) attempts.push({ ...last, ...part });
  };
  for (const entry of entries) {
    if (entry.event === "gate") [gate, accepted] = [entry, null];
    else if (entry.event === "accept-unverified") accepted = entry;
    else if (BEGINS.has(entry.event)) {
      attempts.push({ began: entry, gate, accepted, leaks: [], unproven: [], ...OPEN });
      [gate, accepted] = [null, null];
    } else if (entry.event === "fence-leak") change({ leaks: [...(attempts.at(-1)?.leaks ?? []), entry] });
    else if (entry.event === "interval-unproven") change({ unproven: [...(attempts.at(-1)?.unproven ?? []), entry] });
    else if (entry.event === "committed") change({ committed: entry });
    else if (ENDS.has(entry.event)) change({ ended: attempts.at(-1)?.ended ?? entry, settled: entry });
  }
  return attempts;
}

export function cutoverEvidence(attempt: JournalledAttempt): CutoverEvidence {
  const { began, gate, accepted, committed, ended, settled } = attempt;
  const facts = ended?.facts ?? {};
  const steps = stepsOf(gate, facts);
  // Whoever took it over has measured its own part alone.
  const isWhole = steps.some(({ step, actualMs }) => step === "fence" && actualMs !== null);
  return {
    generation: generationOf(attempt),
    direction: directionOf(attempt),
    askedBy: began.by,
    askedAtMs: began.atMs,
    outcome: outcomeOf(attempt),
    committedAtMs: committed?.atMs ?? null,
    endedAtMs: settled?.atMs ?? null,
    reason: textOf(facts["reason"]),
    maxPauseMs: numberOf(gate?.facts["maxPauseMs"]),
    pauseMs: isWhole ? numberOf(facts["pauseMs"]) : null,
    adapterMs: isWhole ? numberOf(facts["adapterMs"]) : null,
    repeats: numberOf(facts["repeats"]),
    decidedIn: textOf(facts["decidedIn"]),
    acceptedUnverified: listOf<string>(accepted?.facts["what"]),
    steps,
  };
}

export function proofOf(attempt: JournalledAttempt): FenceProofPart["cutovers"][number] {
  const proof = listOf<LaneProof>(attempt.ended?.facts["proof"]);
  const why =
    attempt.committed === null
      ? "the attempt was not committed: it needs no proof"
      : "the process that had it ended before it was written down; COMMITTED is written only where it holds";
  return {
    generation: generationOf(attempt),
    direction: directionOf(attempt),
    proof: proof.length > 0 ? { known: proof, why: null } : { known: null, why },
    leaks: attempt.leaks.flatMap(({ facts }) => listOf<JsonObject>(facts["rows"])),
    unproven: attempt.unproven.flatMap(({ facts }) => listOf<JsonObject>(facts["lanes"])),
  };
}

export function directionOf({ began }: JournalledAttempt): "forward" | "reverse" {
  return BACK.has(began.event) ? "reverse" : "forward";
}

export function generationOf({ began }: JournalledAttempt): number {
  return numberOf(began.facts["generation"]) ?? 0;
}

export function listOf<T>(value: Json | undefined): readonly T[] {
  return Array.isArray(value) ? (value as readonly unknown[] as readonly T[]) : [];
}

function outcomeOf({ began, settled, committed }: JournalledAttempt): CutoverEvidence["outcome"] {
  switch (settled?.event) {
    case "routed":
      return "committed";
    case "attempt-aborted":
      return "aborted";
    case "ambiguous":
      return "needs-person";
    case "resolved-to":
    case "resolved-from":
      // A person's word for where the tenant lives: the side that this attempt led to, or the one it left.
      return (settled.event === "resolved-to") === !BACK.has(began.event) ? "committed" : "aborted";
    default:
      // Forward only: what is still to come is routing.
      return committed === null ? "running" : "committed";
  }
}

/** C10: side by side, in the order in which they were taken; what was predicted and never came stands last. */
function stepsOf(gate: JournalEntry | null, facts: JsonObject): readonly StepEvidence[] {
  const taken = listOf<StepTime>(facts["steps"]);
  const told = listOf<Beside>(facts["predicted"]);
  const early = listOf<{ step: string; ms: number; how: string }>(gate?.facts["predicted"]);
  const predicted = told.length > 0 ? told : early.map(({ step, ms, how }) => ({ step, predictedMs: ms, how }));
  const names = new Set([...taken.map(({ step }) => step), ...predicted.map(({ step }) => step)]);
  return [...names].map((step) => {
    const before = predicted.find((each) => each.step === step);
    const times = taken.filter((each) => each.step === step);
    return {
      step,
      predictedMs: before?.predictedMs ?? null,
      actualMs: times.length === 0 ? null : times.reduce((sum, { tookMs }) => sum + tookMs, 0),
      how: before?.how ?? null,
    };
  });
}

function textOf(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}

function numberOf(value: Json | undefined): number | null {
  return typeof value === "number" ? value : null;
}
