import { DrayError } from "../../pipeline/errors.ts";
import { type MysqlSession, quoteIdentifier } from "./client.ts";
import { DRAY_TABLES, drayDdl } from "./dray-schema.ts";

/**
 * Makes Drayage's schema where it is missing, and claims it for this installation. Safe to run again, and at once from
 * several processes of one installation. Throws DRAY_SCHEMA_TAKEN where another one owns it.
 */
export async function ensureDraySchema(
  session: MysqlSession,
  options: { readonly schema: string; readonly installationId: string },
  signal?: AbortSignal,
): Promise<void> {
  const { schema, installationId } = options;
  const found = await session.executeQuery<{ name: string }>(
    "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?",
    [schema],
    signal,
  );
  const names = new Set(found.map((row) => row.name));
  // A statement that changes nothing would still stand in every replica's binlog.
  if (!Object.keys(DRAY_TABLES).every((table) => names.has(table))) {
    for (const statement of drayDdl(schema, quoteIdentifier)) await session.run(statement, signal);
  }
  const owner = await installationOf(session, schema, signal);
  if (owner === installationId) return;
  if (owner === null) {
    await session.execute(
      `INSERT IGNORE INTO ${quoteIdentifier(schema)}.installation (one, id, created_at) VALUES (1, ?, NOW(6))`,
      [installationId],
      signal,
    );
  }
  const now = owner ?? (await installationOf(session, schema, signal));
  if (now !== installationId) {
    throw new DrayError("DRAY_SCHEMA_TAKEN", {
      server: session.server,
      schema,
      owner: now,
      installation: installationId,
    });
  }
}

async function installationOf(session: MysqlSession, schema: string, signal?: AbortSignal): Promise<string | null> {
  const [row] = await session.query<{ id: string }>(
    `SELECT id FROM ${quoteIdentifier(schema)}.installation WHERE one = 1`,
    signal,
  );
  return row?.id ?? null;
}
