import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import type { Blocker, QuiesceOptions } from "../source-control.ts";
import type { TextRow } from "./client.ts";
import type { ControlSession } from "./control-session.ts";
import { tableSpec } from "./table-spec.ts";

/** SHARED_WRITE or stronger: SELECT … FOR UPDATE takes it too, and may be followed by a write. */
const WRITE_LOCKS = [
  "SHARED_WRITE",
  "SHARED_WRITE_LOW_PRIO",
  "SHARED_UPGRADABLE",
  "SHARED_NO_WRITE",
  "SHARED_NO_READ_WRITE",
  "EXCLUSIVE",
];
const FIRST_POLL_MS = 2;
const LONGEST_POLL_MS = 20;

/** What the server's connection attributes say of every session that is Drayage's own. */
export const DRAY_PROGRAM_NAME = "drayage";

type Lock = { readonly id: string; readonly thread: string; readonly table: string; readonly row: TextRow };

/**
 * Who could still write to covered tables: metadata locks, whose readers wait for nobody (data_locks can stall a busy
 * server), and prepared XA transactions, whose locks outlive their session (*measured*: the owner thread is then gone).
 */
export class MysqlQuiesce {
  readonly #session: ControlSession;
  readonly #clock: Clock;

  constructor(options: { readonly session: ControlSession; readonly clock?: Clock }) {
    this.#session = options.session;
    this.#clock = options.clock ?? systemClock;
  }

  async blockers(tables: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Blocker[]> {
    const locks = await this.#locks(tables, signal);
    const prepared = await this.#session.rows("XA RECOVER CONVERT XID", [], signal);
    const blockers = transactionsOf(locks);
    if (prepared.length === 0) return blockers;
    return [...blockers, ...(await this.#unplaced(prepared, signal))];
  }

  async quiesce(tables: readonly CoveredTable[], options: QuiesceOptions): Promise<readonly Blocker[]> {
    const listed = await this.blockers(tables, options.signal);
    let left = listed;
    for (let pollMs = FIRST_POLL_MS; left.length > 0; pollMs = Math.min(pollMs * 2, LONGEST_POLL_MS)) {
      const restMs = options.deadlineMs - this.#clock.monotonicMs();
      if (restMs <= 0) throw new DrayError("QUIESCE_TIMEOUT", { transactions: left.map(describeBlocker) });
      await this.#clock.sleep(Math.min(pollMs, restMs), options.signal);
      const now = new Set((await this.blockers(tables, options.signal)).map((blocker) => blocker.id));
      left = left.filter((blocker) => now.has(blocker.id));
    }
    return listed;
  }

  async #locks(tables: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Lock[]> {
    if (tables.length === 0) return [];
    const specs = tables.map(tableSpec);
    const rows = await this.#session.rows(
      // A granted lock's first event names the transaction: the session's next one asks again, by another event.
      `SELECT m.OBJECT_SCHEMA table_schema_, m.OBJECT_NAME table_name_, m.OWNER_THREAD_ID thread_,
              m.OWNER_EVENT_ID event_, m.OBJECT_INSTANCE_BEGIN instance_, t.PROCESSLIST_ID session_,
              t.PROCESSLIST_USER user_, t.PROCESSLIST_HOST host_,
              COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), t.PROCESSLIST_TIME, 0) age_
         FROM performance_schema.metadata_locks m
         LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
         LEFT JOIN information_schema.INNODB_TRX x ON x.trx_mysql_thread_id = t.PROCESSLIST_ID
        WHERE m.OBJECT_TYPE = 'TABLE'
          AND m.LOCK_TYPE IN (${WRITE_LOCKS.map(() => "?").join(", ")})
          AND (m.OBJECT_SCHEMA, m.OBJECT_NAME) IN (${specs.map(() => "(?, ?)").join(", ")})
          AND NOT EXISTS (SELECT 1 FROM performance_schema.session_connect_attrs a
                           WHERE a.PROCESSLIST_ID = t.PROCESSLIST_ID
                             AND a.ATTR_NAME = 'program_name' AND a.ATTR_VALUE = ?)
        ORDER BY age_ DESC, m.OWNER_THREAD_ID, m.OWNER_EVENT_ID`,
      [...WRITE_LOCKS, ...specs.flatMap((spec) => [spec.schema, spec.name]), DRAY_PROGRAM_NAME],
      signal,
    );
    return rows.map((row) => ({
      id: `${row["thread_"]}:${row["event_"]}:${row["instance_"]}`,
      thread: row["thread_"] ?? "",
      table: `${row["table_schema_"]}.${row["table_name_"]}`,
      row,
    }));
  }

  /**
   * Prepared transactions beyond those whose locks are to be seen hold nobody knows what, so they count. A transaction
   * of which the locks are seen is judged by its tables, so that a neighbour's does not hold anyone up (M7).
   */
  async #unplaced(prepared: readonly TextRow[], signal: AbortSignal): Promise<readonly Blocker[]> {
    const [seen] = await this.#session.rows(
      `SELECT COUNT(DISTINCT m.OWNER_THREAD_ID) owners
         FROM performance_schema.metadata_locks m
         LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
         LEFT JOIN performance_schema.events_transactions_current e ON e.THREAD_ID = m.OWNER_THREAD_ID
        WHERE m.OBJECT_TYPE = 'TABLE' AND m.LOCK_DURATION = 'TRANSACTION'
          AND (t.THREAD_ID IS NULL OR e.XA_STATE = 'PREPARED')`,
      [],
      signal,
    );
    if (Number(seen?.["owners"]) >= prepared.length) return [];
    const [oldest] = await this.#session.rows(
      "SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0) age_ FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = 0",
      [],
      signal,
    );
    return prepared.map((row) => ({
      id: `xa:${row["formatID"]}:${row["gtrid_length"]}:${row["data"]}`,
      sessionId: null,
      account: null,
      host: null,
      tables: [],
      ageSeconds: Number(oldest?.["age_"] ?? 0),
      xid: row["data"] ?? "",
    }));
  }
}

/** As the operator reads it: what to KILL, whose it is, how old, on which tables. */
export function describeBlocker(blocker: Blocker): string {
  const who =
    blocker.sessionId !== null
      ? `session ${blocker.sessionId} of ${blocker.account ?? "?"}@${blocker.host ?? "?"}`
      : `prepared XA transaction${blocker.xid === null ? " (see XA RECOVER)" : ` ${blocker.xid}`}`;
  const where = blocker.tables.length > 0 ? blocker.tables.join(", ") : "tables unknown";
  return `${who}, ${blocker.ageSeconds} s old, on ${where}`;
}

/** One blocker a session: its oldest lock's event names it, as later ones of the same transaction come and go. */
function transactionsOf(locks: readonly Lock[]): readonly Blocker[] {
  const byThread = new Map<string, Lock[]>();
  for (const lock of locks) byThread.set(lock.thread, [...(byThread.get(lock.thread) ?? []), lock]);
  return [...byThread.values()].flatMap((held) => {
    const first = held[0];
    if (!first) return [];
    const session = first.row["session_"] ?? null;
    return [
      {
        id: first.id,
        sessionId: session === null ? null : Number(session),
        account: first.row["user_"] ?? null,
        host: first.row["host_"] ?? null,
        tables: [...new Set(held.map((lock) => lock.table))],
        ageSeconds: Number(first.row["age_"] ?? 0),
        xid: null,
      },
    ];
  });
}
