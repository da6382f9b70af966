import { DrayError } from "../pipeline/errors.ts";
import { MOST_DIFFERENCES } from "../pipeline/verify/verified-table.ts";
import { Conditions, closedConditions, connected, type Judged } from "./conditions.ts";
import type { Direction } from "./direction.ts";
import type { Move } from "./move.ts";
import type { LaneRole, OpenLane } from "./move-lanes.ts";
import type { FinishRequest, FinishResult, GateCondition } from "./move-service.ts";
import { MOST_READY_MS } from "./source-watch.ts";
import { MOST_STRAYS } from "./strays.ts";
import { storesWithoutLane } from "./switch-parts.ts";
import { differing, overflowing } from "./verification.ts";

const HOUR_MS = 3_600_000;
/** A source that cannot be counted in this time is not counted. */
const COUNT_TIMEOUT_MS = 60_000;

/** The fastest of some: a busy moment is no reason not to begin. */
const ECHOES = 5;
const ECHO_TIMEOUT_MS = 10_000;
const ECHO_LIMIT = `${MOST_READY_MS} ms`;

const MOVED: ReadonlySet<string> = new Set(["routed", "resolved-to"]);

/**
 * `dray finish`: asked before anything is removed. Everything is asked, so that an operator sees all that is in the way at
 * once; what cannot be told counts as no.
 */
export async function beginFinish(
  move: Move,
  request: FinishRequest,
  by: string,
  signal: AbortSignal,
): Promise<Omit<FinishResult, "status">> {
  move.require("finish");
  const { tenant } = move.context.journal.move;
  if (request.now && request.tenant !== tenant)
    throw new DrayError("REQUEST_INVALID", { wrong: ["body.tenant: it is not the move's tenant"] });
  const gate = await conditions(move, request, by, signal);
  const rows = await countSource(move, signal);
  if (closedConditions(gate).length > 0) return { outcome: "refused", gate, rows };
  if (request.dryRun) return { outcome: "would-run", gate, rows };
  const accepted = gate.filter(({ verdict }) => verdict === "accepted").map(({ name, value }) => `${name}: ${value}`);
  const note = { by, stage: "comparing", removed: {}, extra: [], left: [], rowsLeft: {}, reason: null } as const;
  await move.advance("finish", { accepted, rows }, by, { finish: { ...note, accepted: request.acceptUnverified } });
  await move.context.probe("finish.begun");
  return { outcome: "begun", gate, rows };
}

async function conditions(
  move: Move,
  { now, acceptUnverified }: FinishRequest,
  by: string,
  signal: AbortSignal,
): Promise<readonly GateCondition[]> {
  const gate = new Conditions(signal);
  const judge: Conditions["judge"] = (name, limit, work) => gate.judge(name, limit, work);
  const orAccepted = (judged: Judged): Judged =>
    acceptUnverified && judged.verdict === "no" ? { ...judged, verdict: "accepted" } : judged;
  await judge("retention", null, () => retention(move, now ? by : null));
  await judge("routing", null, () => routing(move, signal));
  await judge("source watch", null, () => forEachStore(move, "forward", "watched"));
  for (const lane of move.lanes.with("watched"))
    await judge(`${lane.source.lane} watched`, ECHO_LIMIT, () => watched(lane, signal));
  await judge("lanes back", null, () => lanesBack(move));
  for (const lane of move.lanes.active) {
    await judge(`${lane.source.lane} streaming`, null, () => orAccepted(connected(lane.runtime)));
    await judge(`${lane.source.lane} verification`, "0", () => orAccepted(known(lane)));
    await judge(`${lane.source.lane} named differences`, String(MOST_DIFFERENCES), () => named(lane));
  }
  await judge("alarms", "0", () => alarms(move, acceptUnverified));
  await judge("stray writes", String(MOST_STRAYS - 1), () => strays(move));
  return gate.asked;
}

async function retention(move: Move, hurriedBy: string | null): Promise<Judged> {
  const { journal, clock } = move.context;
  const moved = (await journal.entries(0)).findLast(({ event }) => MOVED.has(event));
  if (moved === undefined) throw new Error("the journal does not say when the tenant was routed");
  const { retentionHours } = journal.move.manifest.cutover;
  const hours = (clock.wallMs() - moved.atMs) / HOUR_MS;
  const isOver = hours >= retentionHours;
  const value = `${hours.toFixed(1)} h since the cutover`;
  if (isOver) return { verdict: "yes", value, limit: `${retentionHours} h` };
  if (hurriedBy === null) return { verdict: "no", value, limit: `${retentionHours} h` };
  return { verdict: "accepted", value: `${value}; now, by ${hurriedBy}`, limit: `${retentionHours} h` };
}

/** Where a store has none of them, nobody compares its rows, or sees who writes there meanwhile. */
function forEachStore(move: Move, direction: Direction, role: LaneRole): Judged {
  const without = storesWithoutLane(move, direction, role);
  if (without.length === 0) return { verdict: "yes", value: "one lane for each store", limit: null };
  return { verdict: "no", value: `no lane for ${without.join(", ")}`, limit: null };
}

function lanesBack(move: Move): Judged {
  const { rollback } = move.details;
  if (rollback.kind === "stream") return forEachStore(move, "reverse", "active");
  const value = `unavailable (${rollback.why.join("; ")}): the source's rows cannot be removed safely`;
  return { verdict: "no", value, limit: null };
}

/** A source that is too far away is told before anything begins: rows there would be locked too long. */
async function watched({ runtime }: OpenLane, signal: AbortSignal): Promise<Judged> {
  const judged = connected(runtime);
  if (judged.verdict !== "yes") return judged;
  const within = AbortSignal.any([signal, AbortSignal.timeout(ECHO_TIMEOUT_MS)]);
  let fastestMs = Number.POSITIVE_INFINITY;
  for (let echo = 0; echo < ECHOES; echo++) fastestMs = Math.min(fastestMs, await runtime.echo(within));
  const value = `${judged.value}: a mark came back in ${fastestMs.toFixed(1)} ms`;
  return { verdict: fastestMs <= MOST_READY_MS ? "yes" : "no", value, limit: ECHO_LIMIT };
}

/** Read back from where the application reads it. */
async function routing(move: Move, signal: AbortSignal): Promise<Judged> {
  const { generation } = move.details.lives;
  const elsewhere = await move.context.fencing("forward").notRouted(generation, signal);
  if (elsewhere.length === 0) return { verdict: "yes", value: `generation ${generation}, read back`, limit: null };
  return { verdict: "no", value: elsewhere.join("; "), limit: `generation ${generation}` };
}

function known(lane: OpenLane): Judged {
  const differences = differing(lane);
  const value = `${differences} differences; compared again before anything is removed`;
  return { verdict: differences === 0 ? "yes" : "no", value, limit: "0" };
}

/** Nobody can answer for this: rows that only the source has are left, and must be known for it. */
function named(lane: OpenLane): Judged {
  const beyond = overflowing(lane);
  const limit = String(MOST_DIFFERENCES);
  if (beyond.length === 0) return { verdict: "yes", value: "all", limit };
  return { verdict: "no", value: `more than ${limit} rows differ: ${beyond.join(", ")}`, limit };
}

async function alarms(move: Move, acceptUnverified: boolean): Promise<Judged> {
  const excused = new Set(["STRAY_WRITE", ...(acceptUnverified ? [move.details.problem?.code ?? ""] : [])]);
  const open = (await move.context.alarms.of(move.name)).filter(({ code }) => !excused.has(code));
  const value = open.length === 0 ? "none" : open.map(({ code }) => code).join(", ");
  return { verdict: open.length === 0 ? "yes" : "no", value, limit: "0" };
}

function strays(move: Move): Judged {
  const { strays, straysMissed } = move.details;
  const rows = strays.length;
  if (straysMissed.length > 0) {
    const value = `more than ${rows} rows, which are not all kept by name`;
    return { verdict: "no", value, limit: String(MOST_STRAYS - 1) };
  }
  const value = rows === 0 ? "none" : `${rows} rows, which stay where they are and are named`;
  return { verdict: rows < MOST_STRAYS ? "yes" : "no", value, limit: String(MOST_STRAYS - 1) };
}

/** Through the lanes back, whose target the source is; null where one cannot say. */
async function countSource(move: Move, signal: AbortSignal): Promise<Readonly<Record<string, number>> | null> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(COUNT_TIMEOUT_MS)]);
  const rows: Record<string, number> = {};
  for (const { runtime, source, store } of move.lanes.active) {
    const { stopped } = runtime.state();
    if (stopped.capture !== undefined || stopped.apply !== undefined) return null;
    const counted = await runtime.count(within).catch(() => null);
    if (counted === null) return null;
    for (const table of source.tables) rows[store.pair.idAtTarget(table)] = counted.atTarget[table.id] ?? 0;
  }
  return rows;
}
