import { randomInt } from "node:crypto";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { type MysqlSession, quoteIdentifier } from "./client.ts";
import { GtidSet } from "./gtid-set.ts";
import type { MysqlPosition } from "./position.ts";

/** An event may be read before its commit is counted in gtid_executed: semi-sync holds it for 10 s by default. */
export const VISIBLE_WITHIN_MS = 12_000;
/** More than this many missing are no commits under way. */
const MOST_UNDER_WAY = 1_000n;

export async function executedSet(session: MysqlSession, signal: AbortSignal): Promise<GtidSet> {
  const [row] = await session.query<{ gtids: string }>("SELECT @@GLOBAL.gtid_executed AS gtids", signal);
  return GtidSet.parse(row?.gtids ?? "");
}

/**
 * M6: the server's history is the one that the position was taken from, and still holds all behind it. Throws DIVERGED
 * or BINLOG_PURGED, which say what is missing. To be called on every connect, before any mark is written there.
 */
export async function checkHistory(
  session: MysqlSession,
  position: MysqlPosition,
  options: { readonly draySchema: string; readonly clock: Clock; readonly visibleWithinMs?: number },
  signal: AbortSignal,
): Promise<void> {
  const { server } = session;
  const { partial, mark } = position;
  const taken = position.completed.clone();
  if (partial) taken.add(partial.gtid);
  const deadlineMs = options.clock.monotonicMs() + (options.visibleWithinMs ?? VISIBLE_WITHIN_MS);
  for (;;) {
    const missing = taken.minus(await executedSet(session, signal));
    if (missing.isEmpty) break;
    if (missing.count() > MOST_UNDER_WAY || options.clock.monotonicMs() >= deadlineMs) {
      throw new DrayError("DIVERGED", {
        server,
        why: "the server never ran what the lane has taken",
        missing: `${missing}`,
      });
    }
    await options.clock.sleep(100, signal);
  }
  const [row] = await session.query<{ purged: string; seconds: string }>(
    "SELECT @@GLOBAL.gtid_purged AS purged, @@GLOBAL.binlog_expire_logs_seconds AS seconds",
    signal,
  );
  const purged = GtidSet.parse(row?.purged ?? "").minus(position.completed);
  if (!purged.isEmpty) {
    throw new DrayError("BINLOG_PURGED", {
      server,
      purged: `${purged}`,
      binlogExpireLogsSeconds: row?.seconds ?? null,
    });
  }
  if (partial && partial.serverUuid !== session.serverUuid) {
    throw new DrayError("DIVERGED", {
      server,
      why: "the lane stands inside a transaction of another server's binlog, which this one may have cut otherwise",
    });
  }
  if (mark && (await nonceOf(session, options.draySchema, mark.id, signal)) !== mark.nonce) {
    throw new DrayError("DIVERGED", { server, why: "the last mark that the lane has taken is gone", mark: mark.id });
  }
}

async function nonceOf(session: MysqlSession, schema: string, id: bigint, signal: AbortSignal): Promise<string | null> {
  const [row] = await session.executeQuery<{ nonce: string }>(
    `SELECT LOWER(HEX(nonce)) AS nonce FROM ${quoteIdentifier(schema)}.mark WHERE id = ?`,
    [String(id)],
    signal,
  );
  return row?.nonce ?? null;
}

/** M2: what must not change between a window's `low` mark and its read. */
export async function fingerprintOf(session: MysqlSession, signal: AbortSignal): Promise<string> {
  const [row] = await session.query(
    `SELECT @@server_uuid AS uuid, @@GLOBAL.binlog_order_commits AS ordered, @@GLOBAL.read_only AS ro,
      @@GLOBAL.super_read_only AS sro`,
    signal,
  );
  if (row?.["ordered"] !== "1") {
    throw new DrayError("MYSQL_SETTINGS", {
      server: session.server,
      settings: ["binlog_order_commits must be ON (M2)"],
    });
  }
  return `${row["uuid"]} ordered=${row["ordered"]} read_only=${row["ro"]} super_read_only=${row["sro"]}`;
}

/** The server ends a dump whose id another one uses: high and random, and none that it knows of. */
export async function freeServerId(session: MysqlSession, signal: AbortSignal): Promise<number> {
  const rows = await session.query("SHOW REPLICAS", signal);
  const [own] = await session.query<{ id: string }>("SELECT @@server_id AS id", signal);
  const taken = new Set([own?.id, ...rows.map((row) => row["Server_Id"])]);
  for (;;) {
    const id = randomInt(0x8000_0000, 0xffff_ffff);
    if (!taken.has(String(id))) return id;
  }
}
