import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { quoteIdentifier } from "../../connectors/mysql/identifier.ts";
import { anyOfKeys } from "../../connectors/mysql/key-bytes.ts";
import { ChunkText, selectList } from "../../connectors/mysql/load-text.ts";
import type { KeyBytes } from "../../pipeline/entry.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { TableRange } from "../../pipeline/source.ts";
import type { RowDigests } from "../../pipeline/verify/row-digests.ts";
import type { ReadView } from "../sink.ts";
import { inSpan } from "./own-keys.ts";
import type { SinkSessions } from "./sink-sessions.ts";
import type { TableStatements } from "./table-statements.ts";

export type ReadViewOptions = {
  readonly sessions: SinkSessions;
  readonly tables: ReadonlyMap<string, TableStatements>;
  /** Tables with a JSON value that only the server itself can tell from its text; views add to it. */
  readonly comparing: Set<string>;
};

/** A lent session whose read view stands, for what its opening waited for, at one place of the log. */
class MysqlReadView implements ReadView {
  readonly #session: MysqlSession;
  readonly #options: ReadViewOptions;
  readonly #end: () => Promise<void>;

  constructor(options: ReadViewOptions, session: MysqlSession, end: () => Promise<void>) {
    this.#options = options;
    this.#session = session;
    this.#end = end;
  }

  async countRows(signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    const counts: Record<string, number> = {};
    for (const table of this.#options.tables.values()) {
      const sql = `SELECT COUNT(*) AS rows_now FROM ${table.table} AS t WHERE ${table.ownRows}`;
      const [row] = await this.#session.query(sql, signal);
      counts[table.id] = Number(row?.["rows_now"]);
    }
    return counts;
  }

  async digestRange(range: TableRange, key: Uint8Array, signal: AbortSignal): Promise<RowDigests> {
    const table = this.#table(range.table);
    const order = table.keyColumns().map(({ name }) => `t.${quoteIdentifier(name)}`);
    const where = [table.ownRows, ...inSpan(table, range)].join(" AND ");
    // The hint is only a warning where the target's index has another name.
    const hint = `INDEX(t ${quoteIdentifier(table.spec.pagingIndex)})`;
    const text = await this.#read(table, hint, `WHERE ${where} ORDER BY ${order.join(", ")}`, signal);
    return await text.digest(key);
  }

  async readKeys(id: string, keys: readonly KeyBytes[], signal: AbortSignal): Promise<ReadonlyMap<string, Uint8Array>> {
    if (keys.length === 0) return new Map();
    const table = this.#table(id);
    const where = `${table.ownRows} AND ${anyOfKeys(table.spec, keys)}`;
    const text = await this.#read(table, "INDEX(t PRIMARY)", `WHERE ${where}`, signal);
    return new Map(text.single().map(({ key, row }) => [keyText(key), row]));
  }

  async close(): Promise<void> {
    await this.#end();
  }

  /** What no text can carry is no error here but a value of its own, which equals none of the source's. */
  async #read(table: TableStatements, hint: string, rows: string, signal: AbortSignal): Promise<ChunkText> {
    const { comparing } = this.#options;
    if (!comparing.has(table.id)) {
      try {
        return await this.#readAs("plain", table, hint, rows, signal);
      } catch (error) {
        if (!isDrayError(error, "JSON_NEEDS_PROOF") && !isDrayError(error, "VALUE_REFUSED")) throw error;
        comparing.add(table.id);
      }
    }
    return await this.#readAs("comparing", table, hint, rows, signal);
  }

  async #readAs(
    mode: "plain" | "comparing",
    { spec, table }: TableStatements,
    hint: string,
    rows: string,
    signal: AbortSignal,
  ): Promise<ChunkText> {
    const text = new ChunkText({ spec, mode });
    const sql = `SELECT /*+ ${hint} */ ${selectList(spec, mode)} FROM ${table} AS t ${rows}`;
    const onRow = (packet: Buffer, start: number, end: number) => text.addPacket(packet, start, end);
    await this.#session.eachRow({ sql, onRow }, signal);
    return text;
  }

  #table(id: string): TableStatements {
    const table = this.#options.tables.get(id);
    if (table === undefined) throw new DrayError("TABLE_UNKNOWN", { table: id });
    return table;
  }
}

/** Holds one of the sessions until the view is closed. */
export async function openMysqlReadView(options: ReadViewOptions, signal: AbortSignal): Promise<ReadView> {
  const opened = Promise.withResolvers<ReadView>();
  const ended = Promise.withResolvers<void>();
  const lent = options.sessions.use(async (session) => {
    await session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", signal);
    await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", signal);
    const end = async () => {
      ended.resolve();
      await lent;
    };
    opened.resolve(new MysqlReadView(options, session, end));
    await ended.promise;
    if (!session.isLost) await session.run("ROLLBACK").catch(() => session.destroy());
  }, signal);
  lent.catch(opened.reject);
  return await opened.promise;
}
