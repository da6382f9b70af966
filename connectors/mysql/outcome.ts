import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type {
  Outcome,
  OutcomeDraft,
  OutcomeResult,
  OutcomeRow,
  OutcomeStore,
  ServerIdentity,
} from "../../pipeline/outcome.ts";
import { classifyMysqlError, type TextRow } from "./client.ts";
import type { ControlSession } from "./control-session.ts";
import { quoteTable } from "./identifier.ts";

/** Another coordinator's INSERT is under way, or an idle session was ended: nothing of ours stands yet. */
const CONTENDED: ReadonlySet<string> = new Set([
  "ER_LOCK_WAIT_TIMEOUT",
  "ER_LOCK_DEADLOCK",
  "ER_CLIENT_INTERACTION_TIMEOUT",
]);
/** The server's own answer that says nothing of whether the row stands. */
const ANSWERED_UNKNOWN: ReadonlySet<string> = new Set([
  "ER_ERROR_DURING_COMMIT",
  "ER_QUERY_INTERRUPTED",
  "ER_QUERY_TIMEOUT",
]);
const RETRY_MS = 50;
/** Then the caller hears that it is unknown, can say so, and asks again. */
const PATIENCE_MS = 2_000;

/**
 * C1: `dray.cutover` of one server, the same on both sides. The primary key decides who was first; nothing is ever
 * updated or deleted here.
 */
export class MysqlOutcomeStore implements OutcomeStore {
  readonly #session: ControlSession;
  readonly #table: string;
  readonly #clock: Clock;

  constructor(options: { readonly session: ControlSession; readonly draySchema: string; readonly clock?: Clock }) {
    this.#session = options.session;
    this.#table = quoteTable(options.draySchema, "cutover");
    this.#clock = options.clock ?? systemClock;
  }

  async readOutcomes(move: string, signal: AbortSignal): Promise<readonly OutcomeRow[]> {
    const rows = await this.#session.rows(
      `SELECT generation, outcome, home_uuid, CAST(facts AS CHAR) facts FROM ${this.#table} WHERE move = ? ORDER BY generation`,
      [move],
      signal,
    );
    return rows.map(outcomeRow);
  }

  /**
   * After a lost answer the INSERT itself is sent again, not a SELECT: it waits for a first one that is still being
   * committed, where a SELECT would see nothing.
   */
  async insertOutcome(draft: OutcomeDraft, signal: AbortSignal): Promise<OutcomeResult> {
    let unknown: unknown = null;
    const giveUpAtMs = this.#clock.monotonicMs() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.#insertOnce(draft, signal);
      } catch (error) {
        if (isDrayError(error, "HOME_MOVED") || isDrayError(error, "OUTCOME_UNREADABLE")) {
          throw unknown === null
            ? error
            : new DrayError(error.code, { ...error.facts, earlierAnswerLost: true }, unknown);
        }
        const verdict = signal.aborted ? "unknown" : insertVerdict(error);
        if (verdict === "unknown") unknown = error;
        if (verdict === "refused" && unknown === null) throw error;
        if (signal.aborted || this.#clock.monotonicMs() >= giveUpAtMs)
          throw this.#outcomeUnknown(draft, unknown ?? error);
      }
      await this.#clock.sleep(RETRY_MS, signal).catch(() => {
        throw this.#outcomeUnknown(draft, unknown);
      });
    }
  }

  async serverIdentity(signal: AbortSignal): Promise<ServerIdentity> {
    const [row] = await this.#session.rows("SELECT @@server_uuid uuid, VERSION() version, @@read_only ro", [], signal);
    return { uuid: row?.["uuid"] ?? "", version: row?.["version"] ?? "", readOnly: row?.["ro"] !== "0" };
  }

  async #insertOnce(draft: OutcomeDraft, signal: AbortSignal): Promise<OutcomeResult> {
    return this.#session.use(async (sql) => {
      // The check stands in the statement: no failover can come between it and the row.
      const inserted = await sql
        .change(
          `INSERT INTO ${this.#table} (move, generation, outcome, home_uuid, facts)
           SELECT ?, ?, ?, ?, ? FROM DUAL WHERE CAST(? AS CHAR) IS NULL OR @@server_uuid = ?`,
          [
            draft.move,
            String(draft.generation),
            draft.outcome,
            draft.homeUuid,
            JSON.stringify(draft.facts),
            draft.expectServerUuid,
            draft.expectServerUuid,
          ],
        )
        .catch((error) => {
          if (classifyMysqlError(error).kind === "guard") return 0;
          throw error;
        });
      if (inserted === 1) return { result: "won" };
      const [found] = await sql.rows(
        `SELECT generation, outcome, home_uuid, CAST(facts AS CHAR) facts FROM ${this.#table} WHERE move = ? AND generation = ?`,
        [draft.move, String(draft.generation)],
      );
      if (found) {
        const row = outcomeRow(found);
        return row.outcome === draft.outcome ? { result: "already-same", row } : { result: "lost", row };
      }
      const [server] = await sql.rows("SELECT @@server_uuid here");
      throw new DrayError("HOME_MOVED", {
        move: draft.move,
        generation: draft.generation,
        expected: draft.expectServerUuid,
        found: server?.["here"],
      });
    }, signal);
  }

  #outcomeUnknown(draft: OutcomeDraft, cause: unknown): DrayError {
    return new DrayError(
      "OUTCOME_UNKNOWN",
      { move: draft.move, generation: draft.generation, outcome: draft.outcome },
      cause,
    );
  }
}

/** refused: the server says that no row of ours stands. contended: the same, but trying again can help. */
function insertVerdict(error: unknown): "refused" | "contended" | "unknown" {
  const { code, connectionLost } = classifyMysqlError(error);
  if (CONTENDED.has(code)) return "contended";
  return connectionLost || ANSWERED_UNKNOWN.has(code) ? "unknown" : "refused";
}

function outcomeRow(row: TextRow): OutcomeRow {
  const outcome = row["outcome"];
  if (outcome !== "COMMITTED" && outcome !== "ABORTED") throw new DrayError("OUTCOME_UNREADABLE", { outcome });
  return {
    generation: Number(row["generation"]),
    outcome: outcome satisfies Outcome,
    homeUuid: row["home_uuid"] ?? "",
    facts: JSON.parse(row["facts"] ?? "{}") as Record<string, unknown>,
  };
}
