import type { Schedule } from "./explore.ts";
import type { Plan } from "./world.ts";

/** Next: what is labelled so is done, as soon as what `before` names could be; until then everything goes its usual way. */
export type Cue = { readonly next: RegExp; readonly before?: RegExp };

const PLAN: Plan = {
  direction: "forward",
  layout: "one",
  expiry: "supervised",
  faults: 0,
  disasters: 5,
  failovers: 1,
  lateWrites: 1,
  hangs: 0,
  often: [],
};
const told = (story: readonly Cue[]): Schedule => ({ plan: PLAN, choices: [], story });
const taken: Cue = { next: /node-1 asks/, before: /P1 is told to cut over/ };

/* Meetings of three, each of which broke the protocol once: too rare to leave them to chance. */
export const STORIES = {
  /** ABORTED let the tenant write, and is lost with its server; the one who was about to commit comes back. */
  abortedIsLost: told([
    { next: /P1 is told to cut over/ },
    { next: /P1 stalls/, before: /P1: COMMITTED\(1\) in from/ },
    { next: /another process takes/ },
    { next: /P2: endpoint unfence\(1\)/ },
    { next: /from fails over and loses outcome 1/ },
  ]),
  /** COMMITTED is lost with its server before it stands in the target; the next process reads nothing. */
  committedIsLost: told([
    { next: /P1 is told to cut over/ },
    { next: /P1 stalls/, before: /P1: COMMITTED\(1\) in to/ },
    { next: /from fails over and loses outcome 1/ },
    { next: /another process takes/ },
    { next: /P2: endpoint unfence\(1\)/ },
  ]),
  /** The same, and the next process works on an old copy of the control store: it finds a fence, and no note. */
  committedIsLostAndForgotten: told([
    { next: /P1 is told to cut over/ },
    { next: /P1 stalls/, before: /P1: COMMITTED\(1\) in to/ },
    { next: /from fails over and loses outcome 1/ },
    { next: /control store is copy 0/ },
    { next: /P2: endpoint unfence\(1\)/ },
  ]),
  /** An abort stands still before it removes what was copied, and a copy of the control store cuts over meanwhile. */
  abortMeetsCutover: told([
    { next: /node-1 asks/ },
    { next: /node-1 writes to from/ },
    { next: /P1 is told to abort/ },
    { next: /P1 stalls/, before: /P1: endpoint unfence/ },
    { next: /control store is copy 0/ },
    { next: /P2 is told to cut over/ },
    { next: /P2: COMMITTED\(\d\) in to/ },
  ]),
  /** A process dies with its fence up, and the control store is one that knows nothing of it. */
  fenceIsForgotten: told([
    { next: /P1 is told to cut over/ },
    { next: /P1 is killed/, before: /P1: writers of from/ },
    { next: /control store is copy 0/ },
  ]),
  /** The target's candidate lags behind, and takes it over right behind the commit. */
  candidateLags: told([
    taken,
    { next: /node-1 writes to from/, before: /P1 is told to cut over/ },
    { next: /P1 is told to cut over/ },
    { next: /to fails over to its candidate/, before: /P1: endpoint route\(1\)/ },
  ]),
  /** A write that breaks the application's promise comes behind the seal, and the process dies behind the commit. */
  lateBehindTheSeal: told([
    taken,
    { next: /P1 is told to cut over/ },
    { next: /node-1 writes to from, late/, before: /P1: COMMITTED\(1\) in to/ },
    { next: /lane from.0 captures/ },
    { next: /node-2 asks/, before: /P1: endpoint retire\(1\)/ },
    { next: /node-2 writes to to/ },
    { next: /node-2 writes to to/ },
    { next: /another process takes/ },
  ]),
} as const;
