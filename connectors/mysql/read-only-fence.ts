import { DrayError } from "../../pipeline/errors.ts";
import type { SchemaFence, SchemaFenceOptions } from "../source-control.ts";
import { classifyMysqlError, SESSION_SETTINGS, type TextRow } from "./client.ts";
import type { ControlSession, ControlSql } from "./control-session.ts";
import { notTenantPredicate, otherTenantByIndex, sourceTable } from "./foreign-rows.ts";
import { quoteIdentifier } from "./identifier.ts";
import { type TableSpec, tableSpec } from "./table-spec.ts";

/** What every other statement of the session waits (A6). */
const USUAL_WAIT_SECONDS = Number(SESSION_SETTINGS["lock_wait_timeout"]);

/**
 * `ALTER SCHEMA … READ ONLY = 1`: waits for the writers in flight, then every write to the schema fails, whoever sends
 * it. Never of a schema that others use (C3), nor of the one that holds `dray.*`: outcomes must stay writable.
 */
export class MysqlReadOnlyFence implements SchemaFence {
  readonly #session: ControlSession;
  readonly #draySchema: string;
  readonly #options: SchemaFenceOptions;

  constructor(options: SchemaFenceOptions & { readonly session: ControlSession; readonly draySchema: string }) {
    if (!Number.isInteger(options.waitSeconds) || options.waitSeconds < 1) {
      throw new RangeError("waitSeconds is a whole number of seconds, at least 1");
    }
    this.#session = options.session;
    this.#draySchema = options.draySchema;
    this.#options = options;
  }

  async fence(signal: AbortSignal): Promise<void> {
    const { schema, waitSeconds } = this.#options;
    await this.#session.use(async (sql) => {
      await endEarlierCalls(sql, schema);
      if (await readOnly(sql, schema)) return;
      await refuseTooWide(sql, this.#options, this.#draySchema);
      await alter(sql, schema, { readOnly: 1, waitSeconds });
    }, signal);
  }

  /** A call to fence that was given up may still be waiting in the server, and would fence afterwards: it is ended first. */
  async unfence(signal: AbortSignal): Promise<void> {
    const { schema, waitSeconds } = this.#options;
    await this.#session.use(async (sql) => {
      await endEarlierCalls(sql, schema);
      if (await readOnly(sql, schema)) await alter(sql, schema, { readOnly: 0, waitSeconds });
    }, signal);
  }

  async isFenced(signal: AbortSignal): Promise<boolean> {
    return this.#session.use((sql) => readOnly(sql, this.#options.schema), signal);
  }
}

/** The connection attribute of a session that fences this schema. */
export function fenceRole(schema: string): string {
  return `fence:${schema}`;
}

async function endEarlierCalls(sql: ControlSql, schema: string): Promise<void> {
  for (;;) {
    const earlier = await sql.rows(
      `SELECT a.PROCESSLIST_ID id_ FROM performance_schema.session_connect_attrs a
         JOIN performance_schema.threads t ON t.PROCESSLIST_ID = a.PROCESSLIST_ID
        WHERE a.ATTR_NAME = 'dray_role' AND a.ATTR_VALUE = ? AND a.PROCESSLIST_ID <> CONNECTION_ID()`,
      [fenceRole(schema)],
    );
    if (earlier.length === 0) return;
    for (const row of earlier) {
      await sql.change(`KILL ${Number(row["id_"])}`).catch((error) => {
        if (classifyMysqlError(error).code !== "ER_NO_SUCH_THREAD") throw error;
      });
    }
    await sql.rows("SELECT SLEEP(0.005)");
  }
}

/** `bytes` reads every row, `index` only what an index knows: under a running deadline. */
export type Thoroughness = "bytes" | "index";

/** Says what makes the fence too wide; used by preflight, gate and fence. Null: the schema is the tenant's. */
export async function tooWide(
  rows: (sql: string) => Promise<readonly TextRow[]>,
  options: Pick<SchemaFenceOptions, "schema" | "tenant" | "ownedByTenant"> & {
    readonly specs: readonly TableSpec[];
    readonly thoroughness: Thoroughness;
  },
  draySchema: string,
): Promise<string | null> {
  if (options.schema === draySchema) return `${options.schema} holds Drayage's own tables`;
  if (options.ownedByTenant === "no") return `the manifest does not say that ${options.schema} is this tenant's alone`;
  for (const spec of options.specs.filter((table) => table.schema === options.schema)) {
    const others =
      options.thoroughness === "bytes"
        ? notTenantPredicate(spec, options.tenant)
        : otherTenantByIndex(spec, options.tenant);
    const [foreign] = await rows(`SELECT 1 FROM ${sourceTable(spec)} WHERE ${others} LIMIT 1`);
    if (foreign) return `${nameOf(spec)} holds rows of other tenants`;
  }
  return null;
}

async function refuseTooWide(sql: ControlSql, options: SchemaFenceOptions, draySchema: string): Promise<void> {
  // Preflight and the gate have read every row; here the tenant may be standing still already.
  const asked = { ...options, specs: options.tables.map(tableSpec), thoroughness: "index" } as const;
  const why = await tooWide((text) => sql.rows(text), asked, draySchema);
  if (why !== null) throw new DrayError("FENCE_TOO_WIDE", { schema: options.schema, why });
}

async function alter(
  sql: ControlSql,
  schema: string,
  options: { readonly readOnly: 0 | 1; readonly waitSeconds: number },
): Promise<void> {
  // The default is a year: a prepared XA transaction would hold the statement, and everyone behind it, that long.
  await sql.change(`SET SESSION lock_wait_timeout = ${options.waitSeconds}`);
  try {
    await sql.change(`ALTER SCHEMA ${quoteIdentifier(schema)} READ ONLY = ${options.readOnly}`);
  } catch (error) {
    if (classifyMysqlError(error).code !== "ER_LOCK_WAIT_TIMEOUT") throw error;
    throw new DrayError("FENCE_BLOCKED", { schema, waitedSeconds: options.waitSeconds }, error);
  }
  await sql.change(`SET SESSION lock_wait_timeout = ${USUAL_WAIT_SECONDS}`);
}

async function readOnly(sql: ControlSql, schema: string): Promise<boolean> {
  const [row] = await sql.rows(
    "SELECT OPTIONS options_ FROM information_schema.SCHEMATA_EXTENSIONS WHERE SCHEMA_NAME = ?",
    [schema],
  );
  if (!row) throw new DrayError("SCHEMA_MISSING", { schema });
  return (row["options_"] ?? "").includes("READ ONLY=1");
}

function nameOf(spec: TableSpec): string {
  return `${spec.schema}.${spec.name}`;
}
