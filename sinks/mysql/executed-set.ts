import type { ControlSql } from "../../connectors/mysql/control-session.ts";
import { GtidSet } from "../../connectors/mysql/gtid-set.ts";

export type ServerSet = {
  readonly uuid: string;
  readonly executed: GtidSet;
  /** Whether its own commits get a GTID. */
  readonly names: boolean;
};

export async function readServerSet(sql: ControlSql): Promise<ServerSet> {
  const [row] = await sql.rows(
    `SELECT @@server_uuid AS uuid, @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_mode AS mode,
      @@GLOBAL.log_bin AS logged`,
  );
  const names = (row?.["mode"] ?? "").startsWith("ON") && row?.["logged"] === "1";
  return { uuid: row?.["uuid"] ?? "", executed: GtidSet.parse(row?.["executed"] ?? ""), names };
}

/** What of the set the server has not executed. */
export async function missingOf(sql: ControlSql, set: string): Promise<GtidSet> {
  const [row] = await sql.rows("SELECT GTID_SUBTRACT(?, @@GLOBAL.gtid_executed) AS missing", [set]);
  return GtidSet.parse(row?.["missing"] ?? "");
}

/** The server itself wakes the session; false where it has not executed the set within `withinMs`. */
export async function executesWithin(sql: ControlSql, set: string, withinMs: number): Promise<boolean> {
  const [row] = await sql.rows("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?) AS late", [set, withinMs / 1000]);
  return row?.["late"] === "0";
}
