import { DrayError } from "../pipeline/errors.ts";
import { Conditions, closedConditions, connected, type Judged } from "./conditions.ts";
import type { Move } from "./move.ts";
import type { OpenLane } from "./move-lanes.ts";
import type { FinishRequest, FinishResult, GateCondition } from "./move-service.ts";
import { MOST_STRAYS } from "./strays.ts";
import { differing } from "./verification.ts";

const HOUR_MS = 3_600_000;
/** A source that cannot be counted in this time is not counted. */
const COUNT_TIMEOUT_MS = 60_000;

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
  const note = { by, stage: "comparing", removed: {}, extra: [], left: [], reason: null } as const;
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
  for (const lane of move.lanes.with("watched"))
    await judge(`${lane.source.lane} watched`, null, () => connected(lane.runtime));
  if (move.details.rollback.kind === "unavailable") {
    const value = `unavailable (${move.details.rollback.why.join("; ")}): the source's rows cannot be removed safely`;
    await judge("lanes back", null, () => ({ verdict: "no", value, limit: null }));
  }
  for (const lane of move.lanes.active) {
    await judge(`${lane.source.lane} streaming`, null, () => orAccepted(connected(lane.runtime)));
    await judge(`${lane.source.lane} verification`, "0", () => orAccepted(known(lane)));
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

async function alarms(move: Move, acceptUnverified: boolean): Promise<Judged> {
  const excused = new Set(["STRAY_WRITE", ...(acceptUnverified ? [move.details.problem?.code ?? ""] : [])]);
  const open = (await move.context.alarms.of(move.name)).filter(({ code }) => !excused.has(code));
  const value = open.length === 0 ? "none" : open.map(({ code }) => code).join(", ");
  return { verdict: open.length === 0 ? "yes" : "no", value, limit: "0" };
}

function strays(move: Move): Judged {
  const rows = move.details.strays.length;
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
