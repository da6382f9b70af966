import { DrayError } from "../pipeline/errors.ts";

/** K1. What the operator sees of a move. */
export const PHASES = [
  "planned",
  "preflight",
  "copying",
  "streaming",
  "cutting-over",
  "watching",
  "rolling-back",
  "rolled-back",
  "finishing",
  "finished",
  "paused",
  "failed",
  "aborting",
  "aborted",
  "closed",
] as const;
export type Phase = (typeof PHASES)[number];

/** What happened, or what was asked; guards are settled before an event is named, so that each has one meaning. */
export const EVENTS = [
  "check", // preflight begins
  "refused", // preflight found errors
  "passed", // preflight is clean: lanes open
  "copied", // every table's last chunk is applied
  "attempt", // the gate is open: a generation is taken
  "attempt-back", // the gate of the way back is open: a generation is taken
  "found-back", // as found, of an attempt back
  "found", // the databases or adapters know an attempt that the journal does not (C2)
  "attempt-aborted", // ABORTED(generation) stands and everything is unfenced
  "committed", // COMMITTED(generation) stands on both sides: forward only
  "routed", // every routing adapter has answered
  "ambiguous", // a routing call's outcome needs a person
  "retry-routing-back", // as retry-routing, of an attempt back
  "retry-routing", // COMMITTED stands: the routing calls are made again
  "resolved-to", // a person read the routing: the target serves
  "resolved-from", // a person read the routing, and ABORTED won: the source serves
  "pause",
  "resume",
  "fail", // a final error stopped a lane
  "retry",
  "recopy",
  "skip",
  "abort", // the operator ends the move before its commit point
  "aborted", // its copied rows are gone
  "finish", // the source's copy is to be compared and removed
  "finish-refused", // the sides differ, or cannot be compared: nothing was removed
  "finished", // the source's copy is gone, and all that Drayage kept of the move
  "close", // reader, lanes and log are released
  "start-again", // a move that has ended, or never began, gives its name to the next one of its tenant
] as const;
export type PhaseEvent = (typeof EVENTS)[number];

const no = "refuse" as const;
type Row = Record<PhaseEvent, Phase | typeof no>;

const REFUSE_ALL = Object.fromEntries(EVENTS.map((event) => [event, no])) as Row;

/**
 * Total: what is not named here is refused. `committed` keeps the phase, for the attempt's outcome is its row in
 * `dray.cutover` (C1) and the journal only follows it; a resume and a retry go through `copying`, which `copied` leaves
 * at once where coverage is complete.
 */
export const TABLE: Readonly<Record<Phase, Row>> = {
  planned: { ...REFUSE_ALL, check: "preflight", abort: "aborting", "start-again": "planned" },
  preflight: { ...REFUSE_ALL, check: "preflight", refused: "planned", passed: "copying", abort: "aborting" },
  copying: {
    ...REFUSE_ALL,
    copied: "streaming",
    found: "cutting-over",
    "found-back": "rolling-back",
    pause: "paused",
    fail: "failed",
    recopy: "copying",
    abort: "aborting",
  },
  streaming: {
    ...REFUSE_ALL,
    attempt: "cutting-over",
    found: "cutting-over",
    "found-back": "rolling-back",
    pause: "paused",
    fail: "failed",
    recopy: "copying",
    abort: "aborting",
  },
  "cutting-over": {
    ...REFUSE_ALL,
    "attempt-aborted": "streaming",
    committed: "cutting-over",
    routed: "watching",
    ambiguous: "failed",
    "resolved-from": "streaming",
    "resolved-to": "watching",
    found: "cutting-over",
    "found-back": "rolling-back",
    abort: "aborting",
  },
  watching: {
    ...REFUSE_ALL,
    "attempt-back": "rolling-back",
    "found-back": "rolling-back",
    found: "cutting-over",
    copied: "watching",
    recopy: "watching",
    skip: "watching",
    retry: "watching",
    finish: "finishing",
    close: "closed",
  },
  "rolling-back": {
    ...REFUSE_ALL,
    "attempt-aborted": "watching",
    committed: "rolling-back",
    "found-back": "rolling-back",
    found: "cutting-over",
    routed: "rolled-back",
    ambiguous: "failed",
    "resolved-to": "watching",
    "resolved-from": "rolled-back",
  },
  // The tenant lives where it came from, and its changes stream to the target again: as streaming, and nothing is copied.
  "rolled-back": {
    ...REFUSE_ALL,
    attempt: "cutting-over",
    found: "cutting-over",
    "found-back": "rolling-back",
    pause: "paused",
    fail: "failed",
    recopy: "copying",
    abort: "aborting",
  },
  finishing: { ...REFUSE_ALL, "finish-refused": "watching", finished: "finished", close: "closed" },
  finished: { ...REFUSE_ALL, "start-again": "planned" },
  paused: {
    ...REFUSE_ALL,
    resume: "copying",
    found: "cutting-over",
    "found-back": "rolling-back",
    fail: "failed",
    recopy: "paused",
    abort: "aborting",
  },
  failed: {
    ...REFUSE_ALL,
    found: "cutting-over",
    "found-back": "rolling-back",
    retry: "copying",
    "retry-routing": "cutting-over",
    "retry-routing-back": "rolling-back",
    recopy: "copying",
    skip: "failed",
    "resolved-to": "watching",
    "resolved-from": "streaming",
    abort: "aborting",
  },
  aborting: {
    ...REFUSE_ALL,
    found: "cutting-over",
    "found-back": "rolling-back",
    abort: "aborting",
    aborted: "aborted",
  },
  aborted: { ...REFUSE_ALL, close: "closed", "start-again": "planned" },
  closed: { ...REFUSE_ALL, "start-again": "planned" },
};

/** The phase behind `event`. ILLEGAL_STEP with the events that are allowed now. */
export function next(phase: Phase, event: PhaseEvent): Phase {
  const to = TABLE[phase][event];
  if (to === no) throw new DrayError("ILLEGAL_STEP", { phase, event, allowed: allowed(phase) });
  return to;
}

export function allowed(phase: Phase): readonly PhaseEvent[] {
  return EVENTS.filter((event) => TABLE[phase][event] !== no);
}

/** The lanes of a move in these phases run. */
export const RUNNING: ReadonlySet<Phase> = new Set<Phase>([
  "copying",
  "streaming",
  "cutting-over",
  "watching",
  "rolling-back",
  "rolled-back",
  "finishing",
  "paused",
  "failed",
]);

/** An attempt is under way, or was cut short. */
export const SWITCHING: ReadonlySet<Phase> = new Set<Phase>(["cutting-over", "rolling-back"]);

export function isPhase(word: string): word is Phase {
  return (PHASES as readonly string[]).includes(word);
}
