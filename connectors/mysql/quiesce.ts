import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import type { Blocker, QuiesceOptions } from "../source-control.ts";
import type { TextRow } from "./client.ts";
import type { Parameter } from "./control-session.ts";
import { type TableSpec, tableSpec } from "./table-spec.ts";

/** SHARED_WRITE or stronger: SELECT … FOR UPDATE takes it too, and may be followed by a write. */
export const WRITE_LOCKS = [
  "SHARED_WRITE",
  "SHARED_WRITE_LOW_PRIO",
  "SHARED_UPGRADABLE",
  "SHARED_NO_WRITE",
  "SHARED_NO_READ_WRITE",
  "EXCLUSIVE",
];
/** `connectMysql` gives it to every session; a session of Drayage is never waited for. */
const DRAY_PROGRAM_NAME = "drayage";
const FIRST_POLL_MS = 2;
const LONGEST_POLL_MS = 20;

export type Rows = (sql: string, parameters: readonly Parameter[], signal: AbortSignal) => Promise<readonly TextRow[]>;

/**
 * One session's hold on covered tables. Its locks alone do not name a transaction (ROLLBACK TO SAVEPOINT gives some
 * back), nor does the transaction alone (a prepared XA's locks outlive it): it is over when both are.
 */
type Holder = {
  readonly blocker: Blocker;
  readonly thread: string;
  readonly transaction: string | null;
  readonly locks: ReadonlySet<string>;
};

/**
 * Who could still write to covered tables: metadata locks, for which nobody waits (data_locks can stall a busy server),
 * and prepared XA transactions, whose locks outlive their session (*measured*: the owner thread is then gone). INNODB_TRX
 * is not asked: it fails with ER_CANNOT_CONVERT_STRING while anybody's statement holds a character of four bytes
 * (*measured*), so ages come from performance_schema.
 */
export class MysqlQuiesce {
  readonly #rows: Rows;
  readonly #clock: Clock;

  constructor(options: { readonly rows: Rows; readonly clock?: Clock }) {
    this.#rows = options.rows;
    this.#clock = options.clock ?? systemClock;
  }

  async blockers(tables: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Blocker[]> {
    return (await this.#holders(tables.map(tableSpec), signal)).map((holder) => holder.blocker);
  }

  async quiesce(tables: readonly CoveredTable[], options: QuiesceOptions): Promise<readonly Blocker[]> {
    const specs = tables.map(tableSpec);
    const listed = await this.#holders(specs, options.signal);
    let left = listed;
    for (let pollMs = FIRST_POLL_MS; left.length > 0; pollMs = Math.min(pollMs * 2, LONGEST_POLL_MS)) {
      const restMs = options.deadlineMs - this.#clock.monotonicMs();
      if (restMs <= 0) {
        throw new DrayError("QUIESCE_TIMEOUT", {
          transactions: left.map((holder) => describeBlocker(holder.blocker)),
        });
      }
      await this.#clock.sleep(Math.min(pollMs, restMs), options.signal);
      left = await this.#stillThere(left, specs, options.signal);
    }
    return listed.map((holder) => holder.blocker);
  }

  /** M7: prepared transactions that hold a covered table, or nobody knows what. */
  async prepared(specs: readonly TableSpec[], signal: AbortSignal): Promise<readonly Blocker[]> {
    const holders = await this.#holders(specs, signal);
    return holders.map((holder) => holder.blocker).filter((blocker) => blocker.prepared === "yes");
  }

  async #holders(specs: readonly TableSpec[], signal: AbortSignal): Promise<readonly Holder[]> {
    const held = Map.groupBy(await this.#locks(specs, signal), (row) => row["thread_"] ?? "");
    const unplaced = await this.#unplaced(signal);
    return [...[...held].map(([thread, rows]) => holderOf(thread, rows)), ...unplaced];
  }

  async #stillThere(
    listed: readonly Holder[],
    specs: readonly TableSpec[],
    signal: AbortSignal,
  ): Promise<readonly Holder[]> {
    const locks = new Set((await this.#locks(specs, signal)).map(lockId));
    const xids = new Set((await this.#prepared(signal)).map(xidOf));
    const active = new Set(
      (
        await this.#rows(
          `SELECT THREAD_ID thread_, EVENT_ID transaction_ FROM performance_schema.events_transactions_current
            WHERE STATE = 'ACTIVE' AND THREAD_ID IN (${listed.map(() => "?").join(", ")})`,
          listed.map((holder) => holder.thread),
          signal,
        )
      ).map((row) => `${row["thread_"]}:${row["transaction_"]}`),
    );
    return listed.filter(
      (holder) =>
        [...holder.locks].some((lock) => locks.has(lock)) ||
        (holder.transaction !== null && active.has(`${holder.thread}:${holder.transaction}`)) ||
        (holder.blocker.xid !== null && xids.has(holder.blocker.id)),
    );
  }

  async #locks(specs: readonly TableSpec[], signal: AbortSignal): Promise<readonly TextRow[]> {
    if (specs.length === 0) return [];
    return this.#rows(
      `SELECT m.OBJECT_SCHEMA table_schema_, m.OBJECT_NAME table_name_, m.OWNER_THREAD_ID thread_,
              m.OWNER_EVENT_ID event_, m.OBJECT_INSTANCE_BEGIN instance_, t.PROCESSLIST_ID session_,
              t.PROCESSLIST_USER user_, t.PROCESSLIST_HOST host_, e.XA_STATE xa_,
              IF(e.STATE = 'ACTIVE', e.EVENT_ID, NULL) transaction_,
              IF(e.STATE = 'ACTIVE', FLOOR(e.TIMER_WAIT / 1e12), t.PROCESSLIST_TIME) age_
         FROM performance_schema.metadata_locks m
         LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
         LEFT JOIN performance_schema.events_transactions_current e ON e.THREAD_ID = m.OWNER_THREAD_ID
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
  }

  #prepared(signal: AbortSignal): Promise<readonly TextRow[]> {
    return this.#rows("XA RECOVER CONVERT XID", [], signal);
  }

  /**
   * Prepared transactions beyond those whose locks are to be seen hold nobody knows what, so they count. One of which
   * the locks are seen is judged by its tables, so that a neighbour's does not hold anyone up (M7).
   */
  async #unplaced(signal: AbortSignal): Promise<readonly Holder[]> {
    const prepared = await this.#prepared(signal);
    if (prepared.length === 0) return [];
    const [seen] = await this.#rows(
      `SELECT COUNT(DISTINCT m.OWNER_THREAD_ID) owners_
         FROM performance_schema.metadata_locks m
         LEFT JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
         LEFT JOIN performance_schema.events_transactions_current e ON e.THREAD_ID = m.OWNER_THREAD_ID
        WHERE m.OBJECT_TYPE = 'TABLE' AND m.LOCK_DURATION = 'TRANSACTION'
          AND (t.THREAD_ID IS NULL OR e.XA_STATE = 'PREPARED')`,
      [],
      signal,
    );
    if (Number(seen?.["owners_"]) >= prepared.length) return [];
    return prepared.map((row) => ({
      blocker: {
        id: xidOf(row),
        sessionId: null,
        account: null,
        host: null,
        tables: [],
        ageSeconds: null,
        xid: row["data"] ?? "",
        prepared: "yes",
      },
      thread: "0",
      transaction: null,
      locks: new Set(),
    }));
  }
}

/** As the operator reads it: what to KILL, whose it is, how old, on which tables. */
export function describeBlocker(blocker: Blocker): string {
  const session =
    blocker.sessionId === null
      ? null
      : `session ${blocker.sessionId} of ${blocker.account ?? "?"}@${blocker.host ?? "?"}`;
  const prepared = `prepared XA transaction${blocker.xid === null ? " (see XA RECOVER)" : ` ${blocker.xid}`}`;
  const who = [session, blocker.prepared === "yes" ? prepared : null].filter((part) => part !== null).join(", ");
  const where = blocker.tables.length > 0 ? blocker.tables.join(", ") : "tables unknown";
  const age = blocker.ageSeconds === null ? "of unknown age" : `${blocker.ageSeconds} s old`;
  return `${who}, ${age}, on ${where}`;
}

function holderOf(thread: string, rows: readonly TextRow[]): Holder {
  const [first = {}] = rows;
  const session = first["session_"] ?? null;
  return {
    blocker: {
      id: `${thread}:${first["transaction_"] ?? ""}:${lockId(first)}`,
      sessionId: session === null ? null : Number(session),
      account: first["user_"] ?? null,
      host: first["host_"] ?? null,
      tables: [...new Set(rows.map((row) => `${row["table_schema_"]}.${row["table_name_"]}`))],
      ageSeconds: first["age_"] == null ? null : Number(first["age_"]),
      xid: null,
      prepared: session === null || first["xa_"] === "PREPARED" ? "yes" : "no",
    },
    thread,
    transaction: first["transaction_"] ?? null,
    locks: new Set(rows.map(lockId)),
  };
}

function lockId(row: TextRow): string {
  return `${row["thread_"]}:${row["event_"]}:${row["instance_"]}`;
}

function xidOf(row: TextRow): string {
  return `xa:${row["formatID"]}:${row["gtrid_length"]}:${row["data"]}`;
}
