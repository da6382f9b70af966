import type { MysqlSession } from "./client.ts";
import type { Gtid, GtidSet } from "./gtid-set.ts";
import type { QueryClass, TableName } from "./query-classifier.ts";
import { executedSet } from "./source-history.ts";

/** A table of another engine may be a window to others. */
const ENGINES = new Set(["InnoDB", "MyISAM", "MEMORY"]);

/**
 * M8: the base tables of some schemas on which nothing hangs: no trigger, and no foreign key that would carry a change
 * of theirs into another table. A change as text of such a table is a change of that table only. It was read of the
 * server at one time, so it holds for transactions that were not yet executed when it had been read, and only until a
 * statement that may change it is seen in the stream, from a place not behind that time on.
 */
export class PlainTables {
  readonly #schemas: ReadonlySet<string>;
  readonly #names: ReadonlySet<string>;
  readonly #executed: GtidSet;
  #holds = true;

  /** The reader must go on from a set of transactions that the server has executed already. */
  static async read(session: MysqlSession, schemas: readonly string[], signal: AbortSignal): Promise<PlainTables> {
    const names = schemas.length === 0 ? new Set<string>() : await readNames(session, schemas, signal);
    return new PlainTables({ schemas, names, executed: await executedSet(session, signal) });
  }

  private constructor(options: {
    readonly schemas: readonly string[];
    readonly names: ReadonlySet<string>;
    readonly executed: GtidSet;
  }) {
    this.#schemas = new Set(options.schemas.map((schema) => schema.toLowerCase()));
    this.#names = options.names;
    this.#executed = options.executed;
  }

  has({ schema, table }: TableName, gtid: Gtid): boolean {
    return this.#holds && !this.#executed.has(gtid) && this.#names.has(nameOf(schema, table));
  }

  /** For every statement of the stream, in order. */
  saw(found: QueryClass, text: string): void {
    if (found.kind === "unknown") this.#holds = false;
    else if (found.kind === "ddl") {
      const schemas = [...found.schemas, ...found.tables.map(({ schema }) => schema)];
      if (schemas.some((schema) => this.#schemas.has(schema.toLowerCase()))) this.#holds = false;
    } else if (found.kind === "nothing" && /TRIGGER/i.test(text)) this.#holds = false;
  }
}

function nameOf(schema: string, table: string): string {
  return `${schema}\0${table}`.toLowerCase();
}

async function readNames(session: MysqlSession, schemas: readonly string[], signal: AbortSignal) {
  const some = schemas.map(() => "?").join(", ");
  const keys = await session.executeQuery<{ s: string; t: string; child: string }>(
    `SELECT DISTINCT k.REFERENCED_TABLE_SCHEMA AS s, k.REFERENCED_TABLE_NAME AS t, k.TABLE_SCHEMA AS child
       FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
         ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
      WHERE k.REFERENCED_TABLE_NAME IS NOT NULL AND NOT (r.DELETE_RULE IN ('RESTRICT', 'NO ACTION') AND r.UPDATE_RULE IN ('RESTRICT', 'NO ACTION'))
        AND (k.TABLE_SCHEMA IN (${some}) OR k.REFERENCED_TABLE_SCHEMA IN (${some}))`,
    [...schemas, ...schemas],
    signal,
  );
  // A key that leads out of these schemas may go on from there, where not everything can be seen.
  if (keys.some((key) => !schemas.includes(key.s) || !schemas.includes(key.child))) return new Set<string>();
  const parents = new Set(keys.map((key) => nameOf(key.s, key.t)));
  const triggers = await session.executeQuery<{ s: string; t: string }>(
    `SELECT DISTINCT EVENT_OBJECT_SCHEMA AS s, EVENT_OBJECT_TABLE AS t FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA IN (${some})`,
    [...schemas],
    signal,
  );
  for (const { s, t } of triggers) parents.add(nameOf(s, t));
  const tables = await session.executeQuery<{ s: string; t: string; engine: string | null }>(
    `SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t, ENGINE AS engine FROM information_schema.TABLES
      WHERE TABLE_SCHEMA IN (${some}) AND TABLE_TYPE = 'BASE TABLE'`,
    [...schemas],
    signal,
  );
  const plain = tables.filter(({ engine }) => ENGINES.has(engine ?? "")).map(({ s, t }) => nameOf(s, t));
  return new Set(plain.filter((name) => !parents.has(name)));
}
