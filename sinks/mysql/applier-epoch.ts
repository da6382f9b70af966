import { classifyMysqlError, type MysqlSession, quoteTable } from "../../connectors/mysql/client.ts";
import { withBackoff } from "../../pipeline/backoff.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";

/** Which server, and since when: what one life of it had committed, the next may have lost. */
export type ServerLife = { readonly uuid: string; readonly startedAtS: number };
/** How a session of an applier is told from any other after restarts and reused ids (A7). */
type StoredConnection = ServerLife & { readonly id: number };
/** From the raising of an epoch until its first session is there: who raised it. */
type Claim = { readonly claim: string };
export type Taker = { readonly lastEpoch: number | null; readonly claim: string | null };

/** The server gives its uptime in whole seconds. */
const START_TOLERANCE_S = 2;

export type AppliersOptions = { readonly schema: string; readonly lane: LaneId };

/** A lane's row in `dray.applier`: who may write for it (A7), and whether anybody may (C5). */
export class AppliersRow {
  readonly #lane: LaneId;
  readonly #table: string;

  constructor(options: AppliersOptions) {
    this.#lane = options.lane;
    this.#table = quoteTable(options.schema, "applier");
  }

  /**
   * Takes a higher epoch: ends the connections of the applier before, where all that is stored of one still matches,
   * and waits for the locks of what it had under way. Throws LANE_CLOSED, and FENCED where another took one above
   * `lastEpoch` meanwhile: two that each believe the lane is theirs would else take it from each other for ever. One that
   * stands under the taker's own claim is one whose taking it has not heard of.
   * Transient errors are tried again as long as the session lives.
   */
  async raise(
    session: MysqlSession,
    taker: Taker,
    signal: AbortSignal,
    onRetry: (error: Error) => void,
  ): Promise<number> {
    return await whileItLives(session, () => this.#raiseOnce(session, taker, signal), { signal, onRetry });
  }

  async register(session: MysqlSession, epoch: number, sessions: readonly MysqlSession[], signal: AbortSignal) {
    const startedAtS = await serverStart(session, signal);
    const stored: StoredConnection[] = sessions.map(({ serverUuid: uuid, connectionId: id }) => ({
      uuid,
      startedAtS,
      id,
    }));
    const sql = `UPDATE ${this.#table} SET connections = ? WHERE lane = ? AND epoch = ?`;
    await session.execute(sql, [JSON.stringify(stored), this.#lane, epoch], signal);
  }

  /** C5: for good. Waits for a transaction under way; may be repeated, and works on a lane that was never opened. */
  async close(session: MysqlSession, signal: AbortSignal, onRetry: (error: Error) => void): Promise<void> {
    const sql =
      `INSERT INTO ${this.#table} (lane, epoch, closed, connections) VALUES (?, 1, 1, '[]') ` +
      "ON DUPLICATE KEY UPDATE closed = 1";
    await whileItLives(session, () => session.execute(sql, [this.#lane], signal), { signal, onRetry });
  }

  /** Why a transaction of this epoch may not write. */
  async refusal(session: MysqlSession, epoch: number, signal: AbortSignal): Promise<DrayError> {
    const row = await this.read(session, signal);
    if (row?.closed === "1") return new DrayError("LANE_CLOSED", { lane: this.#lane, epoch });
    return new DrayError("FENCED", { lane: this.#lane, epoch, currentEpoch: row ? Number(row.epoch) : null });
  }

  async #raiseOnce(session: MysqlSession, taker: Taker, signal: AbortSignal): Promise<number> {
    const { lastEpoch, claim } = taker;
    const row = await this.read(session, signal);
    const claimed = JSON.stringify(claim === null ? [] : [{ claim } satisfies Claim]);
    if (!row) {
      const insert = `INSERT INTO ${this.#table} (lane, epoch, closed, connections) VALUES (?, 1, 0, ?)`;
      return session.execute(insert, [this.#lane, claimed], signal).then(
        () => 1,
        (error: unknown) => {
          if (isDrayError(error, "MYSQL_GUARD")) return this.#raiseOnce(session, taker, signal);
          throw error;
        },
      );
    }
    if (row.closed === "1") throw new DrayError("LANE_CLOSED", { lane: this.#lane });
    const epoch = Number(row.epoch);
    const stored = JSON.parse(row.connections ?? "[]") as readonly (StoredConnection | Claim)[];
    const isOwn = claim !== null && stored.some((each) => "claim" in each && each.claim === claim);
    if (lastEpoch !== null && epoch > lastEpoch && !isOwn) {
      throw new DrayError("FENCED", { lane: this.#lane, epoch: lastEpoch, currentEpoch: epoch });
    }
    const connections = stored.filter((each) => "id" in each);
    await this.#endOld(session, epoch, connections, signal);
    // The shared lock that each transaction holds on this row (A2) makes the update wait for it.
    const update = `UPDATE ${this.#table} SET epoch = ?, connections = ? WHERE lane = ? AND epoch = ? AND closed = 0`;
    const { affectedRows } = await session.execute(update, [epoch + 1, claimed, this.#lane, epoch], signal);
    return affectedRows === 1 ? epoch + 1 : this.#raiseOnce(session, taker, signal);
  }

  async #endOld(
    session: MysqlSession,
    epoch: number,
    stored: readonly StoredConnection[],
    signal: AbortSignal,
  ): Promise<void> {
    if (stored.length === 0) return;
    const life = await serverLife(session, signal);
    const attributes = "performance_schema.session_account_connect_attrs";
    const living = await session.executeQuery(
      `SELECT l.PROCESSLIST_ID AS id FROM ${attributes} l JOIN ${attributes} e USING (PROCESSLIST_ID)
       WHERE l.ATTR_NAME = 'dray_lane' AND l.ATTR_VALUE = ? AND e.ATTR_NAME = 'dray_epoch' AND e.ATTR_VALUE = ?`,
      [this.#lane, String(epoch)],
      signal,
    );
    for (const { id, ...its } of stored) {
      if (!isSameLife(its, life) || !living.some((row) => Number(row["id"]) === id)) continue;
      // It may have gone between the look and the KILL; what it holds is waited for below either way.
      await session.run(`KILL CONNECTION ${Math.trunc(id)}`, signal).catch((error: unknown) => {
        if (!isDrayError(error, "MYSQL_REFUSED")) throw error;
      });
    }
  }

  /** Null where the lane was never opened here. */
  async read(session: MysqlSession, signal: AbortSignal) {
    const sql = `SELECT epoch, closed, CAST(connections AS CHAR) AS connections FROM ${this.#table} WHERE lane = ?`;
    const [row] = await session.executeQuery<{
      epoch: string;
      closed: string;
      connections: string | null;
    }>(sql, [this.#lane], signal);
    return row;
  }
}

/** What the work met on a session that is gone: nothing on it will ever succeed. */
class SessionLost extends Error {}

/** Whoever lent the session lends another one, or begins anew. */
async function whileItLives<T>(
  session: MysqlSession,
  work: () => Promise<T>,
  options: { readonly signal: AbortSignal; readonly onRetry: (error: Error) => void },
): Promise<T> {
  const attempt = async () => {
    try {
      return await work();
    } catch (error) {
      if (session.isLost || classifyMysqlError(error).connectionLost) throw new SessionLost("lost", { cause: error });
      throw error;
    }
  };
  try {
    return await withBackoff(attempt, { ...options, maxMs: 1_000 });
  } catch (error) {
    throw error instanceof SessionLost ? error.cause : error;
  }
}

export async function serverLife(session: MysqlSession, signal: AbortSignal): Promise<ServerLife> {
  return { uuid: session.serverUuid, startedAtS: await serverStart(session, signal) };
}

export function isSameLife(one: ServerLife, other: ServerLife): boolean {
  return one.uuid === other.uuid && Math.abs(one.startedAtS - other.startedAtS) <= START_TOLERANCE_S;
}

async function serverStart(session: MysqlSession, signal: AbortSignal): Promise<number> {
  const [row] = await session.query(
    `SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE AS started FROM performance_schema.global_status
     WHERE VARIABLE_NAME = 'Uptime'`,
    signal,
  );
  return Math.round(Number(row?.["started"]));
}
