import type { MysqlAddress } from "../../connectors/mysql/client.ts";
import { classifyMysqlError } from "../../connectors/mysql/client.ts";
import { ControlSession } from "../../connectors/mysql/control-session.ts";
import { quoteTable } from "../../connectors/mysql/identifier.ts";
import { MysqlOutcomeStore } from "../../connectors/mysql/outcome.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import type { OutcomeStore } from "../../pipeline/outcome.ts";
import type { TargetControl } from "../target-control.ts";
import { MysqlTargetHistory } from "./target-history.ts";

const RETRY_MS = 50;

/** A MySQL target as a cutover needs it; the outcome is kept by the very code that keeps the source's (C1). */
export class MysqlTargetControl implements TargetControl {
  readonly outcomes: OutcomeStore;
  readonly history: MysqlTargetHistory;
  readonly #deciding: ControlSession;
  readonly #lanes: ControlSession;
  readonly #draySchema: string;
  readonly #clock: Clock;

  constructor(options: {
    readonly address: MysqlAddress;
    readonly draySchema: string;
    /** C6: the servers that may take the target over. */
    readonly candidates?: readonly MysqlAddress[];
    readonly clock?: Clock;
  }) {
    this.#clock = options.clock ?? systemClock;
    this.#deciding = new ControlSession({ address: options.address, role: "outcome" });
    this.#lanes = new ControlSession({ address: options.address, role: "lanes" });
    this.outcomes = new MysqlOutcomeStore({
      session: this.#deciding,
      draySchema: options.draySchema,
      clock: this.#clock,
    });
    this.history = new MysqlTargetHistory({
      address: options.address,
      draySchema: options.draySchema,
      session: this.#deciding,
      candidates: options.candidates ?? [],
      clock: this.#clock,
    });
    this.#draySchema = options.draySchema;
  }

  /** An applying transaction holds its lane's row shared (A2), so this waits for the ones in flight and bars the rest. */
  async closeLane(lane: LaneId, signal: AbortSignal): Promise<void> {
    const table = quoteTable(this.#draySchema, "applier");
    for (;;) {
      try {
        await this.#lanes.use(
          (sql) =>
            sql.change(
              `INSERT INTO ${table} (lane, epoch, closed, connections) VALUES (?, 0, 1, JSON_ARRAY())
                 ON DUPLICATE KEY UPDATE closed = 1`,
              [lane],
            ),
          signal,
        );
        return;
      } catch (error) {
        // Repeating is harmless, and a lane that may still be written to is not closed.
        if (signal.aborted || classifyMysqlError(error).kind !== "transient") throw error;
      }
      await this.#clock.sleep(RETRY_MS, signal);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#deciding.close(), this.#lanes.close(), this.history.close()]);
  }
}
