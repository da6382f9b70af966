import { classifyMysqlError, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { ControlSession, type ControlSql } from "../../connectors/mysql/control-session.ts";
import type { GtidSet } from "../../connectors/mysql/gtid-set.ts";
import { reasonOf } from "../../pipeline/backoff.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { orAborted } from "../../pipeline/wait.ts";
import type { CandidateState, TransactionSet } from "../target-history.ts";
import { executesWithin, missingOf, readServerSet } from "./executed-set.ts";

export type MysqlCandidatesOptions = {
  /** One that asks the target. */
  readonly target: ControlSession;
  readonly addresses: readonly MysqlAddress[];
  readonly clock: Clock;
};

/** The server wakes whoever waits; what is still missing is looked at, for the error, this often. */
const SLICE_MS = 200;
/** For the gate: a candidate that has not answered by then is not one that a fenced tenant should wait for. */
const ANSWER_MS = 5_000;

const NO_NAMES = "the target gives out no GTIDs (gtid_mode, log_bin)";

/** C6: the servers that may take the target over, each with a session that is kept for the time behind the fence. */
export class MysqlCandidates {
  readonly #options: MysqlCandidatesOptions;
  readonly #candidates: readonly Candidate[];

  constructor(options: MysqlCandidatesOptions) {
    this.#options = options;
    this.#candidates = options.addresses.map((address) => new Candidate(address));
  }

  async confirm(set: TransactionSet | null, signal: AbortSignal): Promise<void> {
    const [first] = this.#candidates;
    if (first === undefined) return;
    if (set === null) throw new DrayError("TARGET_CANDIDATE_BEHIND", { candidate: first.name, why: NO_NAMES });
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    try {
      await Promise.all(this.#candidates.map((candidate) => confirmOne(candidate, set, either)));
    } finally {
      ended.abort(new Error("another candidate has decided it"));
    }
  }

  async states(withinMs: number, signal: AbortSignal): Promise<readonly CandidateState[]> {
    return await Promise.all(
      this.#candidates.map(async (candidate): Promise<CandidateState> => {
        const limitMs = withinMs + ANSWER_MS;
        const patience = AbortSignal.timeout(limitMs);
        try {
          const either = AbortSignal.any([signal, patience]);
          return { candidate: candidate.name, ...(await this.#judge(candidate, withinMs, either)) };
        } catch (error) {
          signal.throwIfAborted();
          const value = patience.aborted ? `does not answer in ${limitMs} ms` : reasonOf(error);
          return { candidate: candidate.name, verdict: "unknown", value };
        }
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#candidates.map((candidate) => candidate.session.close()));
  }

  async #judge(
    candidate: Candidate,
    withinMs: number,
    signal: AbortSignal,
  ): Promise<Pick<CandidateState, "verdict" | "value">> {
    const { target, clock } = this.#options;
    const there = await candidate.ask(readServerSet, signal);
    const here = await target.use(readServerSet, signal);
    if (!here.names) return { verdict: "no", value: NO_NAMES };
    if (there.uuid === here.uuid) return { verdict: "no", value: "is the target itself" };
    const foreign = await this.#foreign(there.executed.minus(here.executed), withinMs, signal);
    if (foreign !== null) {
      const value = `has ${foreign.count()} transactions that the target never executed: ${foreign}`;
      return { verdict: "no", value };
    }
    const stopped = await candidate.ask(whyNotReplicating, signal);
    if (stopped !== null) return { verdict: "no", value: stopped };
    const beganMs = clock.monotonicMs();
    if (await candidate.ask((sql) => executesWithin(sql, `${here.executed}`, withinMs), signal)) {
      return { verdict: "yes", value: `has all after ${Math.round(clock.monotonicMs() - beganMs)} ms` };
    }
    const missing = await candidate.ask((sql) => missingOf(sql, `${here.executed}`), signal);
    return { verdict: "no", value: `lacks ${missing.count()} of the target's transactions after ${withinMs} ms` };
  }

  /** A replica may show a transaction before the server that it came from counts it as executed. */
  async #foreign(unknown: GtidSet, withinMs: number, signal: AbortSignal): Promise<GtidSet | null> {
    if (unknown.isEmpty) return null;
    const { target } = this.#options;
    if (await target.use((sql) => executesWithin(sql, `${unknown}`, withinMs), signal)) return null;
    return await target.use((sql) => missingOf(sql, `${unknown}`), signal);
  }
}

class Candidate {
  /** `host:port`. */
  readonly name: string;
  readonly session: ControlSession;

  constructor(address: MysqlAddress) {
    this.name = `${address.host}:${address.port}`;
    this.session = new ControlSession({ address, role: "candidate" });
  }

  /** Ends with the signal, also while it connects. */
  ask<T>(work: (sql: ControlSql) => Promise<T>, signal: AbortSignal): Promise<T> {
    return orAborted(this.session.use(work, signal), signal);
  }
}

async function confirmOne(candidate: Candidate, set: TransactionSet, signal: AbortSignal): Promise<void> {
  let missing: GtidSet | null = null;
  let lost = 0;
  for (;;) {
    try {
      missing = await candidate.ask((sql) => missingOf(sql, set), signal);
      if (missing.isEmpty) return;
      if (await candidate.ask((sql) => executesWithin(sql, set, SLICE_MS), signal)) return;
      lost = 0;
    } catch (error) {
      if (signal.aborted) throw behind(candidate, missing, null);
      // A session may have been ended while nobody used it; a second one tells whether the server answers.
      if (!classifyMysqlError(error).connectionLost || ++lost > 1) throw behind(candidate, null, error);
    }
  }
}

function behind({ name }: Candidate, missing: GtidSet | null, cause: unknown): DrayError {
  const facts =
    missing === null
      ? { why: "it does not answer", ...(cause === null ? {} : { error: reasonOf(cause) }) }
      : { why: "it lacks transactions", missing: missing.count(), set: `${missing}` };
  return new DrayError("TARGET_CANDIDATE_BEHIND", { candidate: name, ...facts }, cause ?? undefined);
}

/** In the operator's words; null where it replicates, or keeps nothing that would tell. */
async function whyNotReplicating(sql: ControlSql): Promise<string | null> {
  const [row] = await sql.rows(
    `SELECT @@performance_schema AS told,
      (SELECT COUNT(*) FROM performance_schema.replication_connection_status) AS channels,
      (SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE SERVICE_STATE = 'ON') AS receiving,
      (SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE SERVICE_STATE = 'CONNECTING') AS lost,
      (SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE SERVICE_STATE = 'ON') AS applying`,
  );
  if (row?.["told"] !== "1") return null;
  if (row["channels"] === "0") return "replicates from nobody";
  if (row["applying"] === "0") return "executes nothing of what it receives: its replication is stopped";
  if (row["receiving"] !== "0") return null;
  return row["lost"] === "0"
    ? "receives nothing: its replication is stopped"
    : "has no connection to the server that it follows";
}
