import { readTables, type TableDefinition } from "../schema-reader.ts";
import type { ServerView } from "./server-view.ts";

export type LiveColumn = {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly charset: string | null;
  readonly collation: string | null;
  readonly generation: string;
  readonly autoIncrement: boolean;
};

export type LiveIndex = {
  readonly name: string;
  readonly unique: boolean;
  /** A prefix as `name(10)`, an expression as `(expression)`: names of columns only where the index is plain. */
  readonly columns: readonly string[];
  readonly visible: boolean;
};

export type LiveForeignKey = {
  readonly name: string;
  readonly columns: readonly string[];
  readonly parentSchema: string;
  readonly parent: string;
  readonly parentColumns: readonly string[];
  readonly onDelete: string;
  readonly onUpdate: string;
};

export type LiveTable = {
  readonly schema: string;
  readonly name: string;
  readonly engine: string;
  /** As the connector reads it. */
  readonly definition: TableDefinition;
  /** The next value of its AUTO_INCREMENT column; null without one. */
  readonly counter: bigint | null;
  readonly columns: readonly LiveColumn[];
  readonly indexes: readonly LiveIndex[];
  readonly foreignKeys: readonly LiveForeignKey[];
  readonly triggers: readonly string[];
  readonly checks: ReadonlyMap<string, string>;
};

export type LiveSchema = { readonly schema: string; readonly tables: ReadonlyMap<string, LiveTable> };

/** Base tables of one schema as information_schema has them now; null where there is no such schema, or none to see. */
export async function readLiveSchema(server: ServerView, schema: string): Promise<LiveSchema | null> {
  const [known] = await server.rows("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", [schema]);
  if (!known) return null;
  const definitions = await server.withSession((session, signal) => readTables(session, schema, signal));
  const counters = new Map(
    (
      await server.rows(
        "SELECT TABLE_NAME table_, AUTO_INCREMENT counter_ FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?",
        [schema],
      )
    ).map((row) => [row["table_"] ?? "", row["counter_"] ?? null]),
  );
  const columns = Map.groupBy(
    await server.rows(
      `SELECT TABLE_NAME table_, COLUMN_NAME name_, GENERATION_EXPRESSION generation_, EXTRA extra_
         FROM information_schema.COLUMNS
        WHERE TABLE_SCHEMA = ? AND (GENERATION_EXPRESSION <> '' OR EXTRA LIKE '%auto_increment%')`,
      [schema],
    ),
    (row) => row["table_"] ?? "",
  );
  const expressions = new Map(
    (
      await server.rows(
        `SELECT TABLE_NAME table_, INDEX_NAME index_, SEQ_IN_INDEX place_, EXPRESSION expression_
           FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND EXPRESSION IS NOT NULL`,
        [schema],
      )
    ).map((row) => [`${row["table_"]}\0${row["index_"]}\0${row["place_"]}`, row["expression_"] ?? ""]),
  );
  const checks = Map.groupBy(
    await server.rows(
      `SELECT t.TABLE_NAME table_, c.CONSTRAINT_NAME name_, c.CHECK_CLAUSE clause_
         FROM information_schema.TABLE_CONSTRAINTS t
         JOIN information_schema.CHECK_CONSTRAINTS c
           ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME
        WHERE t.TABLE_SCHEMA = ? AND t.CONSTRAINT_TYPE = 'CHECK' AND t.ENFORCED = 'YES' ORDER BY 1, 2`,
      [schema],
    ),
    (row) => row["table_"] ?? "",
  );
  const live = (definition: TableDefinition): LiveTable => {
    const special = new Map((columns.get(definition.name) ?? []).map((row) => [row["name_"] ?? "", row]));
    const counter = counters.get(definition.name);
    return {
      schema,
      name: definition.name,
      engine: definition.engine || "none",
      definition,
      counter: counter ? BigInt(counter) : null,
      columns: definition.columns.map((column) => ({
        name: column.name,
        type: column.columnType,
        nullable: column.nullable,
        charset: column.charset,
        collation: column.collation,
        generation: special.get(column.name)?.["generation_"] ?? "",
        autoIncrement: (special.get(column.name)?.["extra_"] ?? "").includes("auto_increment"),
      })),
      indexes: definition.indexes.map((index) => ({
        name: index.name,
        unique: index.unique,
        visible: index.visible,
        columns: index.parts.map((part, i) => {
          if (part.column === null) return `(${expressions.get(`${definition.name}\0${index.name}\0${i + 1}`) ?? ""})`;
          return part.prefixLength === null ? part.column : `${part.column}(${part.prefixLength})`;
        }),
      })),
      foreignKeys: definition.foreignKeys.map((key) => ({ ...key, parent: key.parentTable })),
      triggers: definition.triggers,
      checks: new Map((checks.get(definition.name) ?? []).map((row) => [row["name_"] ?? "", row["clause_"] ?? ""])),
    };
  };
  return { schema, tables: new Map(definitions.map((definition) => [definition.name, live(definition)])) };
}

export function primaryKeyOf(table: LiveTable): LiveIndex | null {
  return table.indexes.find((index) => index.name === "PRIMARY") ?? null;
}
