import { z } from "zod";
import type { Evidence } from "../cutover/move-service.ts";
import { alarm, difference, facts, finding, gate, journalEntry, verification } from "./shape-parts.ts";
import type { Fits } from "./shapes.ts";

const either = <Shape extends z.ZodType>(shape: Shape) =>
  z
    .union([z.object({ known: shape, why: z.null() }), z.object({ known: z.null(), why: z.string() })])
    .describe("What is not known says why");
const noted = { seq: z.int(), atMs: z.number(), by: z.string() };
const side = z.enum(["from", "to"]);

const manifest = z.object({
  move: z.string(),
  tenant: z.string(),
  from: z.string(),
  to: z.string(),
  phase: z.string(),
  generation: z.int(),
  createdAtMs: z.number(),
  lives: z.object({ side, generation: z.int() }),
  rollback: z.string(),
  manifest: z.record(z.string(), z.unknown()),
});

const preflight = z.object({
  found: either(z.object({ ...noted, findings: z.array(finding) })),
  gates: z.array(z.object({ ...noted, direction: z.string(), conditions: z.array(gate) })),
});

const cutover = z.object({
  generation: z.int(),
  direction: z.enum(["forward", "reverse"]),
  askedBy: z.string(),
  askedAtMs: z.number(),
  outcome: z.enum(["running", "committed", "aborted", "needs-person"]),
  committedAtMs: z.number().nullable(),
  endedAtMs: z.number().nullable(),
  reason: z.string().nullable(),
  maxPauseMs: z.number().nullable(),
  pauseMs: z.number().nullable(),
  adapterMs: z.number().nullable(),
  repeats: z.int().nullable(),
  decidedIn: z.string().nullable(),
  acceptedUnverified: z.array(z.string()),
  steps: z.array(
    z.object({
      step: z.string(),
      predictedMs: z.number().nullable(),
      actualMs: z.number().nullable(),
      how: z.string().nullable(),
    }),
  ),
});

const verified = z.object({
  lanes: either(
    z.array(verification.extend({ lane: z.string(), seq: z.int().nullable(), position: z.string().nullable() })),
  ),
  differences: either(z.array(difference)),
  asked: z.array(z.object({ event: z.string(), atMs: z.number(), by: z.string() })),
  accepted: z.object({ by: z.string(), what: z.string() }).nullable(),
});

const proof = z.object({
  lane: z.string(),
  epoch: z.int(),
  s1: z.int(),
  s2: z.int(),
  lastChange: z.int().describe("The newest entry of the lane's log with a change of the tenant; below s1"),
});
const fenceProof = z.object({
  cutovers: z.array(
    z.object({
      generation: z.int(),
      direction: z.string(),
      proof: either(z.array(proof)),
      leaks: z.array(facts),
      unproven: z.array(facts),
    }),
  ),
  strays: z.array(z.object({ atMs: z.number(), facts })),
  openAlarms: z.array(alarm),
});

const moment = { when: z.string(), atMs: z.number() };
const tables = z.object({
  how: z.string(),
  counted: z.array(
    z.object({
      ...moment,
      tables: z.array(
        z.object({
          lane: z.string(),
          table: z.string(),
          source: z.number(),
          target: z.number(),
          least: z.number(),
          most: z.number(),
          fits: z.enum(["yes", "no"]),
        }),
      ),
    }),
  ),
  compared: z.array(
    z.object({
      ...moment,
      tables: z.array(
        z.object({
          lane: z.string(),
          table: z.string(),
          covered: z.boolean(),
          rowsCopied: z.number(),
          rowsCompared: z.number(),
          ranges: z.int(),
          fromSeq: z.int().nullable(),
          toSeq: z.int().nullable(),
          digests: z.object({ source: z.string(), target: z.string() }).nullable(),
          dirtyKeys: z.int(),
          differences: z.int(),
          moreDiffer: z.boolean().optional().describe("Absent where the gate of an earlier version kept it"),
        }),
      ),
    }),
  ),
  finished: z
    .object({
      atMs: z.number(),
      by: z.string(),
      tables: z.array(z.object({ table: z.string(), removed: z.int(), left: z.int() })),
      leftRows: z.array(z.string()),
    })
    .nullable(),
});

const versions = z.object({
  evidence: z.int().describe("Of the form of these parts"),
  dray: either(z.string()),
  node: z.string(),
  log: z.string(),
  servers: z.array(
    z.object({ cluster: z.string(), side, server: either(z.object({ version: z.string(), uuid: z.string() })) }),
  ),
});

/** The parts that `dray evidence` writes, each a file. */
export const evidence = z.object({
  move: z.string(),
  madeAtMs: z.number(),
  parts: z.object({
    manifest,
    preflight,
    journal: z.array(journalEntry),
    cutovers: z.array(cutover),
    verification: verified,
    fenceProof,
    tables,
    people: z.object({
      consents: z.array(z.string()),
      did: z.array(z.object({ ...noted, event: z.string(), facts })),
    }),
    versions,
  }),
});

export const EVIDENCE_FITS: Fits<Evidence, typeof evidence> = true;
