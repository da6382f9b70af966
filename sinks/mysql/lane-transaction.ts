import { type MysqlSession, quoteTable } from "../../connectors/mysql/client.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { AppliedRange } from "../sink.ts";
import type { AppliersRow } from "./applier-epoch.ts";

export type LaneTransactionOptions = {
  readonly schema: string;
  readonly lane: LaneId;
  readonly epoch: number;
  readonly appliers: AppliersRow;
  /** `closed`: only the clean-up after the lane was closed for good may write. */
  readonly lanes: "open" | "closed";
  readonly probe: Probe;
};

/**
 * The one way in which a row of a tenant is written (A2): the first write of the transaction names the lane, and the
 * seqs where it completes any, in `dray.applied`; it takes no effect unless this epoch still owns the lane, and keeps
 * a newer applier waiting until the transaction has ended. Whatever `work` throws rolls everything back.
 */
export class LaneTransaction {
  readonly #options: LaneTransactionOptions;
  readonly #claim: string;

  constructor(options: LaneTransactionOptions) {
    this.#options = options;
    const { schema, lanes } = options;
    this.#claim =
      `INSERT INTO ${quoteTable(schema, "applied")} (lane, first_seq, last_seq, log_nonce) ` +
      `SELECT lane, ?, ?, ? FROM ${quoteTable(schema, "applier")} ` +
      `WHERE lane = ? AND epoch = ? AND closed = ${lanes === "open" ? 0 : 1} FOR SHARE`;
  }

  async run<T>(
    session: MysqlSession,
    seqs: AppliedRange | null,
    work: (session: MysqlSession) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const { probe, lane } = this.#options;
    let result: T;
    try {
      await session.run("START TRANSACTION", signal);
      await this.#claimSeqs(session, seqs, signal);
      result = await work(session);
      await probe("apply.before-commit", { lane, seq: seqs?.first ?? null });
    } catch (error) {
      // A lost session has been rolled back by the server; one that cannot roll back must not be used again.
      if (!session.isLost) await session.run("ROLLBACK").catch(() => session.destroy());
      throw error;
    }
    try {
      await session.run("COMMIT", signal);
    } catch (error) {
      session.destroy();
      throw new DrayError(
        "TARGET_OUTCOME_UNKNOWN",
        { server: session.server, lane, seqs, error: answerOf(error) },
        error,
      );
    }
    await probe("apply.after-commit", { lane, seq: seqs?.first ?? null });
    return result;
  }

  async #claimSeqs(session: MysqlSession, seqs: AppliedRange | null, signal: AbortSignal): Promise<void> {
    const { lane, epoch, appliers } = this.#options;
    const parameters = [seqs?.first ?? null, seqs?.last ?? null, seqs?.nonce ?? null, lane, epoch];
    const claimed = await session.execute(this.#claim, parameters, signal).catch((error: unknown) => {
      if (!isDrayError(error, "MYSQL_GUARD")) throw error;
      // An earlier attempt whose answer was lost has done it after all.
      throw new DrayError(
        "TARGET_OUTCOME_UNKNOWN",
        { server: session.server, lane, seqs, error: answerOf(error) },
        error,
      );
    });
    if (claimed.affectedRows !== 1) throw await appliers.refusal(session, epoch, signal);
  }
}

function answerOf(error: unknown): unknown {
  return isDrayError(error) ? error.facts["error"] : undefined;
}
