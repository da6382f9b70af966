import { type MysqlSession, quoteTable } from "./client.ts";

const BATCH_ROWS = 1_000;
/** By table, the column that names the lane. */
const FORGOTTEN = { mark: "scope", applied: "lane", watermark: "lane", lane: "lane" } as const;

/**
 * Removes what a cluster keeps of the lanes `<stem>.<f|r><generation>`, in small batches. Each stays closed for good (C5):
 * one that an old copy of a control store still knows must never write again.
 */
export async function forgetLanes(
  session: MysqlSession,
  schema: string,
  stem: string,
  signal: AbortSignal,
): Promise<void> {
  // Names are ASCII and compared by bytes, and "/" comes behind "."; a longer stem has another dot.
  const bounds = [`${stem}.`, `${stem}/`, stem.length + 2];
  const own = (column: string) => `${column} >= ? AND ${column} < ? AND LOCATE('.', ${column}, ?) = 0`;
  await session.execute(
    `UPDATE ${quoteTable(schema, "applier")} SET closed = 1, connections = JSON_ARRAY() WHERE ${own("lane")}`,
    bounds,
    signal,
  );
  for (const [table, column] of Object.entries(FORGOTTEN)) {
    const sql = `DELETE FROM ${quoteTable(schema, table)} WHERE ${own(column)} LIMIT ${BATCH_ROWS}`;
    for (;;) {
      const { affectedRows } = await session.execute(sql, bounds, signal);
      if (affectedRows < BATCH_ROWS) break;
    }
  }
}
