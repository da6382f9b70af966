import { type Clock, systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import type { OutcomeStore } from "../../pipeline/outcome.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import type { Blocker, QuiesceOptions, SchemaFence, SchemaFenceOptions, SourceControl } from "../source-control.ts";
import type { MysqlAddress } from "./client.ts";
import { ControlSession } from "./control-session.ts";
import { quoteTable } from "./identifier.ts";
import { MysqlOutcomeStore } from "./outcome.ts";
import { MysqlQuiesce } from "./quiesce.ts";
import { fenceRole, MysqlReadOnlyFence } from "./read-only-fence.ts";

/**
 * A MySQL source as a cutover needs it. Outcomes, watching and the schema fence have a session each: a fence that waits
 * for a writer must not keep the outcome from being written.
 */
export class MysqlSourceControl implements SourceControl {
  readonly outcomes: OutcomeStore;
  readonly #deciding: ControlSession;
  readonly #watching: ControlSession;
  readonly #fencing = new Map<string, ControlSession>();
  readonly #address: MysqlAddress;
  readonly #quiesce: MysqlQuiesce;
  readonly #draySchema: string;

  constructor(options: { readonly address: MysqlAddress; readonly draySchema: string; readonly clock?: Clock }) {
    const clock = options.clock ?? systemClock;
    this.#deciding = new ControlSession({ address: options.address, role: "outcome" });
    this.#watching = new ControlSession({ address: options.address, role: "quiesce" });
    this.#address = options.address;
    this.outcomes = new MysqlOutcomeStore({ session: this.#deciding, draySchema: options.draySchema, clock });
    this.#quiesce = new MysqlQuiesce({
      rows: (sql, parameters, signal) => this.#watching.rows(sql, parameters, signal),
      clock,
    });
    this.#draySchema = options.draySchema;
  }

  blockers(tables: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Blocker[]> {
    return this.#quiesce.blockers(tables, signal);
  }

  quiesce(tables: readonly CoveredTable[], options: QuiesceOptions): Promise<readonly Blocker[]> {
    return this.#quiesce.quiesce(tables, options);
  }

  async insertBeginMark(
    lane: LaneId,
    { generation, nonce }: { readonly generation: number; readonly nonce: string },
    signal: AbortSignal,
  ): Promise<void> {
    const table = quoteTable(this.#draySchema, "mark");
    await this.#deciding.use(
      (sql) =>
        sql.change(
          `INSERT INTO ${table} (scope, epoch, nonce, kind) VALUES (?, ?, UNHEX(?), 'reverse') AS n
           ON DUPLICATE KEY UPDATE kind = n.kind`,
          [lane, String(generation), nonce],
        ),
      signal,
    );
  }

  schemaFence(options: SchemaFenceOptions): SchemaFence {
    const { schema } = options;
    const session =
      this.#fencing.get(schema) ?? new ControlSession({ address: this.#address, role: fenceRole(schema) });
    this.#fencing.set(schema, session);
    return new MysqlReadOnlyFence({ ...options, session, draySchema: this.#draySchema });
  }

  async close(): Promise<void> {
    const sessions = [this.#deciding, this.#watching, ...this.#fencing.values()];
    await Promise.all(sessions.map((session) => session.close()));
  }
}
