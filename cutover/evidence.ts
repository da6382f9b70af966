import { reasonOf } from "../pipeline/backoff.ts";
import { isDrayError } from "../pipeline/errors.ts";
import type { Finding } from "../pipeline/preflight.ts";
import type { JournalEntry } from "./control-store.ts";
import {
  attemptsOf,
  cutoverEvidence,
  directionOf,
  generationOf,
  type JournalledAttempt,
  listOf,
  proofOf,
} from "./evidence-cutovers.ts";
import type { Evidence, Known, PreflightPart, TablesPart, VerificationPart, VersionsPart } from "./evidence-parts.ts";
import type { CountedLane } from "./gate.ts";
import type { TableVerdict } from "./gate-count.ts";
import type { Move } from "./move.ts";
import type { GateCondition, VerificationReport } from "./move-service.ts";
import type { About } from "./service-parts.ts";
import { homeOf } from "./switch-parts.ts";
import { verificationReport } from "./verification.ts";
import { type ComparedTable, comparedTables } from "./verified-tables.ts";
import { rollbackWords } from "./way-back.ts";

/** Of the form of the parts; raised where a field changes its meaning or goes. */
const EVIDENCE_VERSION = 1;
const ANSWER_MS = 5_000;

const HOW = [
  "counted: rows of the tenant on both sides at the gate, the source between two marks and the target at the first of",
  "them; source minus target must lie between least and most, which are the tenant's own changes in between.",
  "compared: every range of a table was read on both sides at one exact place of its lane's log (fromSeq to toSeq), and",
  "row by row held against each other by 128-bit digests. A key that changed later, or while its range was read, is dirty",
  "until it has been compared by itself. digests: those of all rows of all ranges in one, by exclusive or, as of each",
  "range's own place. Each range has a random key of its own: equal digests say that the two sides were equal there; they",
  "cannot be held against those of another folder, nor be made again from the rows.",
].join(" ");

/**
 * All that can be told of a move afterwards, from what is durable and what runs now. It holds names, keys, positions and
 * counts: never a row's value, never a secret (K5). What cannot be known says why, and fails nothing.
 */
export async function gatherEvidence(move: Move, about: About, signal: AbortSignal): Promise<Evidence> {
  const { context, details } = move;
  const { name, tenant, from, to, generation, createdAtMs, manifest } = context.journal.move;
  const journal = await context.journal.entries(0);
  // What the journal tells of earlier moves of the name stands in the journal alone.
  const own = journal.slice(
    Math.max(
      0,
      journal.findLastIndex(({ event }) => event === "start-again"),
    ),
  );
  const attempts = attemptsOf(own);
  const nowMs = context.clock.wallMs();
  const { lives } = details;
  const rollback = rollbackWords(move);
  const openAlarms = await context.alarms.of(name);
  return {
    move: name,
    madeAtMs: nowMs,
    parts: {
      manifest: { move: name, tenant, from, to, phase: move.phase, generation, createdAtMs, lives, rollback, manifest },
      preflight: preflightPart(own),
      journal,
      cutovers: attempts.map(cutoverEvidence),
      verification: await verificationPart(move, own, signal),
      fenceProof: {
        cutovers: attempts.map(proofOf),
        strays: own.filter(({ event }) => event === "stray-write").map(({ atMs, facts }) => ({ atMs, facts })),
        openAlarms,
      },
      tables: tablesPart(move, own, attempts, nowMs),
      people: {
        consents: manifest.consents,
        did: own
          .filter(({ by }) => by !== "server")
          .map(({ seq, atMs, by, event, facts }) => ({ seq, atMs, by, event, facts: personal(event, facts) })),
      },
      versions: await versionsPart(move, about, signal),
    },
  };
}

/** What has a part of its own is not repeated. */
function personal(event: string, facts: JournalEntry["facts"]): JournalEntry["facts"] {
  return ["preflight", "gate", "compared"].includes(event) ? {} : facts;
}

function preflightPart(own: readonly JournalEntry[]): PreflightPart {
  const noted = own.findLast(({ event }) => event === "preflight");
  return {
    found:
      noted === undefined
        ? unknown("the move was started by a version that did not keep what preflight found")
        : known({
            seq: noted.seq,
            atMs: noted.atMs,
            by: noted.by,
            findings: listOf<Finding>(noted.facts["findings"]),
          }),
    gates: own
      .filter(({ event }) => event === "gate")
      .map(({ seq, atMs, by, facts }) => ({
        seq,
        atMs,
        by,
        direction: String(facts["direction"]),
        conditions: listOf<GateCondition>(facts["conditions"]),
      })),
  };
}

async function verificationPart(
  move: Move,
  own: readonly JournalEntry[],
  signal: AbortSignal,
): Promise<VerificationPart> {
  const report = await reportOf(move, signal);
  const places = new Map<string, { readonly seq: number | null; readonly position: string | null }>();
  for (const { source, runtime } of move.lanes.all) {
    const seq = runtime.verification.state.anchor?.seq ?? null;
    places.set(source.lane, { seq, position: runtime.state().feed?.position ?? null });
  }
  const nowhere = { seq: null, position: null };
  return {
    lanes:
      report.known === null
        ? report
        : known(report.known.lanes.map((lane) => ({ ...lane, ...(places.get(lane.lane) ?? nowhere) }))),
    differences: report.known === null ? report : known(report.known.differences),
    asked: own
      .filter(({ event }) => event === "verify" || event === "verify-repair")
      .map(({ event, atMs, by }) => ({ event, atMs, by })),
    accepted: move.details.accepted,
  };
}

async function reportOf(move: Move, signal: AbortSignal): Promise<Known<VerificationReport>> {
  try {
    return known(await verificationReport(move, { showValues: false }, signal));
  } catch (error) {
    signal.throwIfAborted();
    const nothing = isDrayError(error, "VERIFY_NOTHING");
    return unknown(nothing ? `no lane runs in the phase ${move.phase}; see tables for what was kept` : reasonOf(error));
  }
}

function tablesPart(
  move: Move,
  own: readonly JournalEntry[],
  attempts: readonly JournalledAttempt[],
  nowMs: number,
): TablesPart {
  const gates = attempts.flatMap((attempt) =>
    attempt.gate === null ? [] : [{ when: gateName(attempt), atMs: attempt.gate.atMs, facts: attempt.gate.facts }],
  );
  const kept = own
    .filter(({ event }) => event === "compared")
    .map(({ atMs, to, facts }) => ({ when: `before the lanes went (${to})`, atMs, facts }));
  const live = comparedTables(move.lanes.active.filter(({ runtime }) => runtime.state().coverage !== null));
  return {
    how: HOW,
    counted: gates.map(({ when, atMs, facts }) => ({
      when,
      atMs,
      tables: listOf<CountedLane>(facts["counts"]).flatMap(({ lane, tables }) =>
        tables.map((table: TableVerdict) => ({ lane, ...table })),
      ),
    })),
    compared: [
      ...[...gates, ...kept].map(({ when, atMs, facts }) => ({
        when,
        atMs,
        tables: listOf<ComparedTable>(facts["compared"]),
      })),
      ...(live.length === 0 ? [] : [{ when: "now", atMs: nowMs, tables: live }]),
    ],
    finished: finishedPart(own),
  };
}

function finishedPart(own: readonly JournalEntry[]): TablesPart["finished"] {
  const noted = own.findLast(({ event }) => event === "finished");
  if (noted === undefined) return null;
  const removed = countsOf(noted.facts["removed"]);
  const left = countsOf(noted.facts["rowsLeft"]);
  const tables = [...new Set([...Object.keys(removed), ...Object.keys(left)])].sort();
  return {
    atMs: noted.atMs,
    by: noted.by,
    tables: tables.map((table) => ({ table, removed: removed[table] ?? 0, left: left[table] ?? 0 })),
    leftRows: listOf<string>(noted.facts["left"]),
  };
}

function countsOf(value: unknown): Readonly<Record<string, number>> {
  return (value ?? {}) as Readonly<Record<string, number>>;
}

function gateName(attempt: JournalledAttempt): string {
  return `gate of cutover ${generationOf(attempt)} (${directionOf(attempt)})`;
}

async function versionsPart(move: Move, about: About, signal: AbortSignal): Promise<VersionsPart> {
  const { from, to } = move.context.journal.move;
  const { sourceControl, targetControl } = homeOf(move, "forward").pair;
  const sides = [
    { side: "from", cluster: from, control: sourceControl },
    { side: "to", cluster: to, control: targetControl },
  ] as const;
  const servers = sides.map(async ({ side, cluster, control }) => {
    const within = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    try {
      const { version, uuid } = await control.outcomes.serverIdentity(within);
      return { side, cluster, server: known({ version, uuid }) };
    } catch (error) {
      signal.throwIfAborted();
      return { side, cluster, server: unknown<{ version: string; uuid: string }>(reasonOf(error)) };
    }
  });
  return {
    evidence: EVIDENCE_VERSION,
    dray: about.version === null ? unknown("the server was not told its version") : known(about.version),
    node: process.version,
    log: about.log,
    servers: await Promise.all(servers),
  };
}

function known<T>(value: T): Known<T> {
  return { known: value, why: null };
}

function unknown<T>(why: string): Known<T> {
  return { known: null, why };
}
