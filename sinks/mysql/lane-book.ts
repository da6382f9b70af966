import { type MysqlSession, quoteTable } from "../../connectors/mysql/client.ts";
import { tableSpec } from "../../connectors/mysql/table-spec.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import type { LaneTarget } from "../sink.ts";

/** A lane into this server, as other lanes need to know of it. */
export type KnownLane = {
  readonly lane: string;
  readonly move: string;
  readonly tenant: string;
  /**
   * carrying: it may still write and remove rows. arrived: its move was committed, so that its rows stay as they are for
   * all that Drayage does.
   */
  readonly state: "carrying" | "arrived";
};

/** `dray.lane`: whose rows which lane brings into this server (A8). */
export class LaneBook {
  readonly #table: string;
  readonly #cutover: string;

  constructor(schema: string) {
    this.#table = quoteTable(schema, "lane");
    this.#cutover = quoteTable(schema, "cutover");
  }

  async record(session: MysqlSession, { lane, move, tenant, tables }: LaneTarget, signal: AbortSignal): Promise<void> {
    const names = JSON.stringify(tables.map(tableSpec).map(({ targetSchema, name }) => [targetSchema, name]));
    const sql =
      `INSERT INTO ${this.#table} (lane, move, tenant, tables) VALUES (?, ?, ?, ?) AS n ` +
      "ON DUPLICATE KEY UPDATE move = n.move, tenant = n.tenant, tables = n.tables";
    await session.execute(sql, [lane, move ?? lane, tenant, names], signal);
  }

  /** The other lanes that bring rows of a table, whatever tenant's; those that are still carrying come first. */
  async others(
    session: MysqlSession,
    lane: LaneId,
    table: { readonly targetSchema: string; readonly name: string },
    signal: AbortSignal,
  ): Promise<readonly KnownLane[]> {
    // A lane ends in the generation that opened it; a lower one's outcome is that of an earlier move of the name.
    const sql =
      `SELECT l.lane, l.move, l.tenant, EXISTS (SELECT 1 FROM ${this.#cutover} AS c WHERE c.move = l.move ` +
      "AND c.outcome = 'COMMITTED' AND c.generation >= CAST(REGEXP_SUBSTR(l.lane, '[0-9]+$') AS UNSIGNED) " +
      "AND COALESCE(c.facts->>'$.direction', 'forward') = IF(l.lane REGEXP '[.]r[0-9]+$', 'reverse', 'forward')) AS arrived " +
      `FROM ${this.#table} AS l WHERE l.lane <> ? AND JSON_CONTAINS(l.tables, CAST(? AS JSON)) ` +
      "ORDER BY arrived, l.lane";
    const name = JSON.stringify([[table.targetSchema, table.name]]);
    const rows = await session.executeQuery(sql, [lane, name], signal);
    return rows.map((row) => ({
      lane: row["lane"] ?? "",
      move: row["move"] ?? "",
      tenant: row["tenant"] ?? "",
      state: row["arrived"] === "1" ? "arrived" : "carrying",
    }));
  }

  /** The lane's rows are removed: it, and what went before it under another generation, will change nothing any more. */
  async forget(session: MysqlSession, lane: LaneId, signal: AbortSignal): Promise<void> {
    const stem = (name: string) => name.slice(0, name.lastIndexOf("."));
    const rows = await session.query(`SELECT lane FROM ${this.#table}`, signal);
    for (const { lane: known } of rows) {
      if (!known || stem(known) !== stem(lane)) continue;
      await session.execute(`DELETE FROM ${this.#table} WHERE lane = ?`, [known], signal);
    }
  }
}
