import type { Finding } from "../pipeline/preflight.ts";
import type { Alarm, JournalEntry } from "./control-store.ts";
import type { TableVerdict } from "./gate-count.ts";
import type { DifferenceReport, GateCondition, VerificationStatus } from "./move-service.ts";
import type { ComparedTable } from "./verified-tables.ts";

/** What is not known says why: evidence is made for a move that has gone wrong too. */
export type Known<T> = { readonly known: T; readonly why: null } | { readonly known: null; readonly why: string };

/** Who the move is of, and what it was asked to do. A manifest holds names of adapters and no secret (K5). */
export type ManifestPart = {
  readonly move: string;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  readonly phase: string;
  readonly generation: number;
  readonly createdAtMs: number;
  /** By the last outcome that is COMMITTED; generation 0 before the first. */
  readonly lives: { readonly side: "from" | "to"; readonly generation: number };
  readonly rollback: string;
  readonly manifest: Readonly<Record<string, unknown>>;
};

export type PreflightPart = {
  readonly found: Known<{
    readonly seq: number;
    readonly atMs: number;
    readonly by: string;
    readonly findings: readonly Finding[];
  }>;
  /** Those that were open, and led to an attempt. */
  readonly gates: readonly {
    readonly seq: number;
    readonly atMs: number;
    readonly by: string;
    readonly direction: string;
    readonly conditions: readonly GateCondition[];
  }[];
};

/** C10: a step that came more than once is summed up; null where it was not predicted, or not taken. */
export type StepEvidence = {
  readonly step: string;
  readonly predictedMs: number | null;
  readonly actualMs: number | null;
  readonly how: string | null;
};

export type CutoverEvidence = {
  readonly generation: number;
  readonly direction: "forward" | "reverse";
  readonly askedBy: string;
  readonly askedAtMs: number;
  readonly outcome: "running" | "committed" | "aborted" | "needs-person";
  readonly committedAtMs: number | null;
  readonly endedAtMs: number | null;
  readonly reason: string | null;
  readonly maxPauseMs: number | null;
  /** First fence call sent to last routing answer, adapters and grace included; null where a crash cut it short. */
  readonly pauseMs: number | null;
  readonly adapterMs: number | null;
  readonly repeats: number | null;
  readonly decidedIn: string | null;
  /** What a person answered for though it was not verified. */
  readonly acceptedUnverified: readonly string[];
  readonly steps: readonly StepEvidence[];
};

export type VerificationPart = {
  readonly lanes: Known<
    readonly (VerificationStatus & {
      readonly lane: string;
      /** The place of the lane's log up to which this holds, and the source's position that is captured. */
      readonly seq: number | null;
      readonly position: string | null;
    })[]
  >;
  readonly differences: Known<readonly DifferenceReport[]>;
  /** Passes and repairs that were asked for. */
  readonly asked: readonly { readonly event: string; readonly atMs: number; readonly by: string }[];
  readonly accepted: { readonly by: string; readonly what: string } | null;
};

/** Nothing of the tenant between S1 and S2, in one writer epoch of the lane's log. */
export type LaneProof = {
  readonly lane: string;
  readonly epoch: number;
  readonly s1: number;
  readonly s2: number;
  readonly lastChange: number;
};

export type FenceProofPart = {
  readonly cutovers: readonly {
    readonly generation: number;
    readonly direction: string;
    readonly proof: Known<readonly LaneProof[]>;
    /** Writes that came through the fence behind S1, each time before it was drained again: names and keys. */
    readonly leaks: readonly Readonly<Record<string, unknown>>[];
    /** Lanes whose capture was opened anew between S1 and S2: nothing was proven, and it was drained again. */
    readonly unproven: readonly Readonly<Record<string, unknown>>[];
  }[];
  /** Writes of the tenant behind S2, where it had left: transaction, table and key, time. */
  readonly strays: readonly { readonly atMs: number; readonly facts: Readonly<Record<string, unknown>> }[];
  readonly openAlarms: readonly Alarm[];
};

export type TablesPart = {
  /** What the figures mean, and what they do not. */
  readonly how: string;
  readonly counted: readonly {
    readonly when: string;
    readonly atMs: number;
    readonly tables: readonly (TableVerdict & { readonly lane: string })[];
  }[];
  readonly compared: readonly {
    readonly when: string;
    readonly atMs: number;
    readonly tables: readonly ComparedTable[];
  }[];
  /** What `dray finish` did at the source; null where it has not ended. */
  readonly finished: {
    readonly atMs: number;
    readonly by: string;
    /** Each table of which rows were removed, or appeared behind the fence and were left. */
    readonly tables: readonly { readonly table: string; readonly removed: number; readonly left: number }[];
    /** The first of those that were left, by table and key. */
    readonly leftRows: readonly string[];
  } | null;
};

export type PeoplePart = {
  readonly consents: readonly string[];
  readonly did: readonly {
    readonly seq: number;
    readonly atMs: number;
    readonly by: string;
    readonly event: string;
    readonly facts: Readonly<Record<string, unknown>>;
  }[];
};

export type VersionsPart = {
  /** Of the form that these parts have. */
  readonly evidence: number;
  readonly dray: Known<string>;
  readonly node: string;
  readonly log: string;
  readonly servers: readonly {
    readonly cluster: string;
    readonly side: "from" | "to";
    readonly server: Known<{ readonly version: string; readonly uuid: string }>;
  }[];
};

export type EvidenceParts = {
  readonly manifest: ManifestPart;
  readonly preflight: PreflightPart;
  readonly journal: readonly JournalEntry[];
  readonly cutovers: readonly CutoverEvidence[];
  readonly verification: VerificationPart;
  readonly fenceProof: FenceProofPart;
  readonly tables: TablesPart;
  readonly people: PeoplePart;
  readonly versions: VersionsPart;
};

export type Evidence = { readonly move: string; readonly madeAtMs: number; readonly parts: EvidenceParts };
