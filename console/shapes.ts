import { z } from "zod";
import type { AdapterReport } from "../cutover/adapters/test-kit.ts";
import type { Alarm, JournalEntry } from "../cutover/control-store.ts";
import type {
  ActionResult,
  AttemptStatus,
  CutoverResult,
  FinishResult,
  GateCondition,
  LaneStatus,
  LogLine,
  MoveEvent,
  MoveStatus,
  PreflightReport,
  VerificationReport,
} from "../cutover/move-service.ts";
import type { FileFinding } from "../pipeline/file-finding.ts";
import type { Finding } from "../pipeline/preflight.ts";
import { alarm, difference, facts, finding, gate, journalEntry, verification } from "./shape-parts.ts";

/** The API's answers as OpenAPI tells them; `SHAPES_FIT` compiles only while each is the type the service answers with. */

const problem = z.object({ code: z.string(), message: z.string(), facts, remedy: z.string() });

const tableStatus = z.object({
  table: z.string(),
  state: z.enum(["waiting", "copying", "copied"]),
  rowsCopied: z.number(),
  rowsEstimated: z.number().nullable(),
});

const verificationReport = z.object({
  lanes: z.array(verification.extend({ lane: z.string() })),
  differences: z.array(difference),
});

const laneStatus = z.object({
  lane: z.string(),
  store: z.string(),
  role: z.enum(["active", "standby", "watched", "closed"]),
  capture: z.enum(["connecting", "shared", "detached", "stopped"]),
  apply: z.enum(["running", "paused", "stopped"]),
  position: z.string().nullable(),
  tailSeq: z.int().nullable(),
  watermark: z.int().nullable(),
  lagSeconds: z.number().nullable(),
  headroomSeconds: z.number().nullable(),
  tables: z.array(tableStatus),
  rowsPerSecond: z.number(),
  bytesPerSecond: z.number(),
  etaSeconds: z.number().nullable(),
  waiting: z.array(z.string()),
  verification,
  problem: problem.nullable(),
});

const stepTime = z.object({ step: z.string(), startedMs: z.number(), tookMs: z.number() });
const predicted = z.array(z.object({ step: z.string(), ms: z.number(), how: z.string() }));
const attempt = z.object({
  generation: z.int(),
  direction: z.enum(["forward", "reverse"]),
  outcome: z.enum(["running", "committed", "aborted", "unknown"]),
  step: z.string(),
  reason: z.string().nullable(),
  steps: z.array(stepTime),
  predicted,
  decidedIn: z.enum(["home", "target"]),
});

const finishStatus = z.object({
  stage: z.enum(["comparing", "removing", "dropping", "done", "refused"]),
  rowsRemoved: z.record(z.string(), z.int()),
  left: z.array(z.string()),
  rowsLeft: z.record(z.string(), z.int()),
  reason: z.string().nullable(),
});

const status = z.object({
  move: z.string(),
  manifest: z.string(),
  tenant: z.string(),
  from: z.string(),
  to: z.string(),
  phase: z.string(),
  generation: z.int(),
  alarms: z.array(alarm),
  problem: problem.nullable(),
  lanes: z.array(laneStatus),
  attempt: attempt.nullable(),
  finish: finishStatus.nullable(),
  verification: z.string(),
  accepted: z
    .object({ by: z.string(), what: z.string() })
    .nullable()
    .describe("Who answers for what was not verified, and what that was"),
  rollback: z.string(),
  next: z.array(z.string()).describe("Commands that make sense now, most useful first"),
});

const fileFinding = z.object({
  severity: z.enum(["error", "warning"]),
  place: z.string(),
  message: z.string(),
  remedy: z.string(),
});

const cutoverResult = z.object({
  outcome: z.enum(["committed", "aborted", "refused", "would-run", "needs-person"]),
  generation: z.int().nullable(),
  gate: z.array(gate),
  steps: z.array(stepTime),
  predicted,
  pauseMs: z.number().nullable(),
  reason: z.string().nullable(),
  status,
});

const finishResult = z.object({
  outcome: z.enum(["begun", "refused", "would-run"]),
  gate: z.array(gate),
  rows: z.record(z.string(), z.int()).nullable(),
  status,
});

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("status"), status }),
  z.object({ type: z.literal("gate"), gate: z.array(gate) }),
  z.object({
    type: z.literal("step"),
    step: z.string(),
    state: z.enum(["started", "done", "failed"]),
    atMs: z.number(),
    facts,
  }),
]);

const logLine = z.object({
  lane: z.string(),
  seq: z.int(),
  kind: z.string(),
  tables: z.record(z.string(), z.string()),
  position: z.string(),
  committedAtMs: z.number(),
  storedBytes: z.number(),
  body: z.unknown(),
});

const adapterReport = z.object({
  passed: z.boolean(),
  checks: z.array(
    z.object({
      id: z.string(),
      rule: z.string(),
      verdict: z.enum(["passed", "failed"]),
      finding: z.string(),
      remedy: z.string().nullable(),
    }),
  ),
});

export const shapes = {
  status,
  statuses: z.array(status),
  action: z.object({ done: z.string(), status }),
  closed: z.object({ done: z.string(), status, sql: z.array(z.string()) }),
  preflight: z.object({ passed: z.boolean(), findings: z.array(finding), next: z.array(z.string()) }),
  cutover: cutoverResult,
  finish: finishResult,
  event,
  cutoverEvent: z.union([event, z.object({ type: z.literal("result"), result: cutoverResult })]),
  journal: z.array(journalEntry),
  logLine,
  fileFindings: z.object({ findings: z.array(fileFinding) }),
  manifest: z.object({ manifest: z.string(), findings: z.array(fileFinding) }),
  adapterReport,
  verificationReport,
  version: z.object({ version: z.string() }),
};

/** A type fits its shape where it may stand for it and has no field that the shape lacks. */
export type Fits<Type, Shape extends z.ZodType> = [Type] extends [Loose<z.output<Shape>>]
  ? [keyof Type] extends [keyof z.output<Shape>]
    ? true
    : never
  : never;
/** Arrays that the service promises not to change are readonly; zod's are not. */
type Loose<Value> = Value extends readonly (infer Item)[]
  ? readonly Loose<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: Loose<Value[Key]> }
    : Value;
type Checked = [
  Fits<MoveStatus, typeof status>,
  Fits<LaneStatus, typeof laneStatus>,
  Fits<AttemptStatus, typeof attempt>,
  Fits<ActionResult, typeof shapes.action>,
  Fits<PreflightReport, typeof shapes.preflight>,
  Fits<Finding, typeof finding>,
  Fits<FileFinding, typeof fileFinding>,
  Fits<GateCondition, typeof gate>,
  Fits<CutoverResult, typeof cutoverResult>,
  Fits<FinishResult, typeof finishResult>,
  Fits<JournalEntry, typeof journalEntry>,
  Fits<LogLine, typeof logLine>,
  Fits<Alarm, typeof alarm>,
  Fits<VerificationReport, typeof verificationReport>,
  Fits<AdapterReport, typeof adapterReport>,
  Fits<MoveEvent, typeof event>,
];
export const SHAPES_FIT: Checked = [
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
];
