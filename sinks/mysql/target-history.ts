import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { type ControlSession, ControlSql } from "../../connectors/mysql/control-session.ts";
import { quoteTable } from "../../connectors/mysql/identifier.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { orAborted } from "../../pipeline/wait.ts";
import type {
  Acknowledged,
  AppliedUpTo,
  CandidateState,
  Holding,
  TargetHistory,
  TransactionSet,
} from "../target-history.ts";
import { MysqlCandidates } from "./candidates.ts";
import { missingOf, readServerSet } from "./executed-set.ts";

const CONNECT_TIMEOUT_MS = 5_000;

export type MysqlTargetHistoryOptions = {
  readonly address: MysqlAddress;
  readonly draySchema: string;
  /** The one that writes outcomes: it is open when the tenant is fenced. */
  readonly session: ControlSession;
  readonly candidates: readonly MysqlAddress[];
  readonly clock: Clock;
};

/** C6 by GTIDs: `gtid_executed` of the target is what it has acknowledged. */
export class MysqlTargetHistory implements TargetHistory {
  readonly #options: MysqlTargetHistoryOptions;
  readonly #candidates: MysqlCandidates;

  constructor(options: MysqlTargetHistoryOptions) {
    this.#options = options;
    const { session: target, candidates: addresses, clock } = options;
    this.#candidates = new MysqlCandidates({ target, addresses, clock });
  }

  async acknowledged(applied: readonly AppliedUpTo[], signal: AbortSignal): Promise<Acknowledged> {
    const { session, draySchema, address } = this.#options;
    const table = quoteTable(draySchema, "watermark");
    const asked = session.use(async (sql) => {
      for (const { lane, seq } of applied) {
        const [row] = await sql.rows(`SELECT seq FROM ${table} WHERE lane = ?`, [lane]);
        const watermark = Number(row?.["seq"] ?? 0);
        if (watermark >= seq) continue;
        const server = `${address.host}:${address.port}`;
        throw new DrayError("TARGET_CHANGED", { server, lane, watermark, applied: seq });
      }
      // Behind the watermark, so that the set holds the transaction that wrote it.
      const { uuid, executed, names } = await readServerSet(sql);
      return { serverUuid: uuid, set: names ? `${executed}` : null };
    }, signal);
    return await orAborted(asked, signal);
  }

  confirmCandidates(set: TransactionSet | null, signal: AbortSignal): Promise<void> {
    return this.#candidates.confirm(set, signal);
  }

  candidates(withinMs: number, signal: AbortSignal): Promise<readonly CandidateState[]> {
    return this.#candidates.states(withinMs, signal);
  }

  async holds(set: TransactionSet | null, signal: AbortSignal): Promise<Holding> {
    const attributes = { dray_role: "target-watch" };
    const options = { side: "source", attributes, connectTimeoutMs: CONNECT_TIMEOUT_MS, signal } as const;
    const session = await orAborted(connectMysql(this.#options.address, options), signal);
    try {
      const missing = await missingOf(new ControlSql(session, signal), set ?? "");
      const { serverUuid } = session;
      return { serverUuid, missing: missing.isEmpty ? null : { count: missing.count(), set: `${missing}` } };
    } finally {
      await session.close();
    }
  }

  close(): Promise<void> {
    return this.#candidates.close();
  }
}
