import { type MysqlSession, quoteTable } from "../../connectors/mysql/client.ts";
import type { LaneId, LogAnchor } from "../../pipeline/entry.ts";
import type { AppliedRange, Progress } from "../sink.ts";
import type { AppliersRow } from "./applier-epoch.ts";

export type LaneProgressOptions = {
  readonly schema: string;
  readonly lane: LaneId;
  readonly epoch: number;
  readonly appliers: AppliersRow;
};

/** What the target knows of the lane: the watermark with its log anchor (L7), and the seqs applied above it (A2). */
export class LaneProgress {
  readonly #options: LaneProgressOptions;
  readonly #applied: string;
  readonly #applier: string;
  readonly #watermark: string;

  constructor(options: LaneProgressOptions) {
    this.#options = options;
    this.#applied = quoteTable(options.schema, "applied");
    this.#applier = quoteTable(options.schema, "applier");
    this.#watermark = quoteTable(options.schema, "watermark");
  }

  /** One read view, so that a watermark that moves meanwhile cannot hide a seq from both tables. */
  async read(session: MysqlSession, signal: AbortSignal): Promise<Progress> {
    await session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", signal);
    await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", signal);
    try {
      return await this.#read(session, signal);
    } finally {
      if (!session.isLost) await session.run("ROLLBACK").catch(() => session.destroy());
    }
  }

  /** Never goes back. The rows of `dray.applied` below it go by primary key, so that no gap is locked. */
  async advance(session: MysqlSession, anchor: LogAnchor, signal: AbortSignal): Promise<void> {
    const { lane, epoch, appliers } = this.#options;
    await session.run("START TRANSACTION", signal);
    try {
      if (!(await this.#owns(session, signal))) throw await appliers.refusal(session, epoch, signal);
      const columns = ["log_offset", "log_epoch", "log_nonce", "seq"];
      const upsert =
        `INSERT INTO ${this.#watermark} (lane, ${columns.join(", ")}) VALUES (?, ?, ?, ?, ?) AS n ` +
        "ON DUPLICATE KEY UPDATE " +
        columns
          .map((column) =>
            `${column} = IF(n.seq > w.seq, n.${column}, w.${column})`.replaceAll("w.", `${this.#watermark}.`),
          )
          .join(", ");
      const { seq, offset, epoch: logEpoch, nonce } = anchor;
      await session.execute(upsert, [lane, offset, logEpoch, nonce, seq], signal);
      await this.#forgetBelow(session, seq, signal);
      await session.run("COMMIT", signal);
    } catch (error) {
      if (!session.isLost) await session.run("ROLLBACK").catch(() => session.destroy());
      throw error;
    }
  }

  async #forgetBelow(session: MysqlSession, seq: number, signal: AbortSignal): Promise<void> {
    const below = `SELECT id FROM ${this.#applied} WHERE lane = ? AND (last_seq <= ? OR first_seq IS NULL)`;
    const ids = (await session.executeQuery(below, [this.#options.lane, seq], signal)).map((row) => row["id"]);
    for (let at = 0; at < ids.length; at += 1_000) {
      const some = ids.slice(at, at + 1_000).join(",");
      await session.run(`DELETE /*+ INDEX(a PRIMARY) */ FROM ${this.#applied} AS a WHERE id IN (${some})`, signal);
    }
  }

  /** Holds a newer applier off until the transaction has ended. */
  async #owns(session: MysqlSession, signal: AbortSignal): Promise<boolean> {
    const { lane, epoch } = this.#options;
    const sql = `SELECT 1 AS one FROM ${this.#applier} WHERE lane = ? AND epoch = ? AND closed = 0 FOR SHARE`;
    return (await session.executeQuery(sql, [lane, epoch], signal)).length > 0;
  }

  async #read(session: MysqlSession, signal: AbortSignal): Promise<Progress> {
    const { lane, epoch, appliers } = this.#options;
    const owner = `SELECT epoch, closed FROM ${this.#applier} WHERE lane = ?`;
    const [row] = await session.executeQuery(owner, [lane], signal);
    const closed = row?.["closed"] === "1";
    if (!closed && Number(row?.["epoch"]) !== epoch) throw await appliers.refusal(session, epoch, signal);
    const marks = await session.executeQuery(`SELECT * FROM ${this.#watermark} WHERE lane = ?`, [lane], signal);
    const seqs = await session.executeQuery(
      `SELECT first_seq, last_seq, log_nonce FROM ${this.#applied} WHERE lane = ? AND first_seq IS NOT NULL
       ORDER BY first_seq`,
      [lane],
      signal,
    );
    const [mark] = marks;
    const watermark = Number(mark?.["seq"] ?? 0);
    const applied: AppliedRange[] = seqs
      .map((range) => ({
        first: Number(range["first_seq"]),
        last: Number(range["last_seq"]),
        nonce: range["log_nonce"] ?? "",
      }))
      .filter(({ last }) => last > watermark);
    return { watermark, anchor: anchorOf(mark), applied, closed };
  }
}

function anchorOf(row: Readonly<Record<string, string | null>> | undefined): LogAnchor | null {
  if (!row || row["log_offset"] === null || row["log_offset"] === undefined) return null;
  return {
    offset: row["log_offset"],
    epoch: Number(row["log_epoch"]),
    nonce: row["log_nonce"] ?? "",
    seq: Number(row["seq"]),
  };
}
