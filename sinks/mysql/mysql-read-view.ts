import { connectMysql, type MysqlAddress, type MysqlSession } from "../../connectors/mysql/client.ts";
import type { ReadView } from "../sink.ts";
import type { TableStatements } from "./table-statements.ts";

/** A session of its own whose read view stands at the place of the log at which it was opened. */
export class MysqlReadView implements ReadView {
  readonly #session: MysqlSession;
  readonly #tables: readonly TableStatements[];

  constructor(options: { readonly session: MysqlSession; readonly tables: readonly TableStatements[] }) {
    this.#session = options.session;
    this.#tables = options.tables;
  }

  async countRows(signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    const counts: Record<string, number> = {};
    for (const table of this.#tables) {
      const sql = `SELECT COUNT(*) AS rows_now FROM ${table.table} AS t WHERE ${table.ownRows}`;
      const [row] = await this.#session.query(sql, signal);
      counts[table.id] = Number(row?.["rows_now"]);
    }
    return counts;
  }

  async close(): Promise<void> {
    await this.#session.close();
  }
}

export async function openMysqlReadView(
  address: MysqlAddress,
  tables: readonly TableStatements[],
  signal: AbortSignal,
): Promise<MysqlReadView> {
  const session = await connectMysql(address, { side: "sink", signal });
  try {
    await session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", signal);
    await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", signal);
  } catch (error) {
    session.destroy();
    throw error;
  }
  return new MysqlReadView({ session, tables });
}
