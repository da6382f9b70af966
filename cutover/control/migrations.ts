import { type Kysely, sql } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import { DrayError } from "../../pipeline/errors.ts";
import type { ControlTables } from "./schema.ts";

/** Never changed once released: a later shape is another migration. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "0001-first": {
    async up(database: Kysely<unknown>) {
      await database.schema
        .createTable("move")
        .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("name", "text", (column) => column.notNull().unique())
        .addColumn("manifest", "text", (column) => column.notNull())
        .addColumn("tenant", "text", (column) => column.notNull())
        .addColumn("from_cluster", "text", (column) => column.notNull())
        .addColumn("to_cluster", "text", (column) => column.notNull())
        .addColumn("phase", "text", (column) => column.notNull())
        .addColumn("generation", "integer", (column) => column.notNull())
        .addColumn("journal_seq", "integer", (column) => column.notNull())
        .addColumn("details", "text", (column) => column.notNull())
        .addColumn("created_at_ms", "integer", (column) => column.notNull())
        .execute();
      await database.schema
        .createTable("journal")
        .addColumn("move", "text", (column) => column.notNull().references("move.name"))
        .addColumn("seq", "integer", (column) => column.notNull())
        .addColumn("at_ms", "integer", (column) => column.notNull())
        .addColumn("from_phase", "text", (column) => column.notNull())
        .addColumn("event", "text", (column) => column.notNull())
        .addColumn("to_phase", "text", (column) => column.notNull())
        .addColumn("facts", "text", (column) => column.notNull())
        .addColumn("by_whom", "text", (column) => column.notNull())
        .addPrimaryKeyConstraint("journal_key", ["move", "seq"])
        .execute();
      await database.schema
        .createTable("lane")
        .addColumn("lane", "text", (column) => column.primaryKey().notNull())
        .addColumn("move", "text", (column) => column.notNull().references("move.name"))
        .addColumn("epoch", "integer", (column) => column.notNull())
        .addColumn("checkpoint", "text")
        .addColumn("spec", "text", (column) => column.notNull())
        .execute();
      await database.schema
        .createTable("lease")
        .addColumn("name", "text", (column) => column.primaryKey().notNull())
        .addColumn("holder", "text", (column) => column.notNull())
        .addColumn("epoch", "integer", (column) => column.notNull())
        .addColumn("expires_at_ms", "integer", (column) => column.notNull())
        .execute();
      await database.schema
        .createTable("alarm")
        .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
        .addColumn("move", "text", (column) => column.notNull())
        .addColumn("code", "text", (column) => column.notNull())
        .addColumn("message", "text", (column) => column.notNull())
        .addColumn("facts", "text", (column) => column.notNull())
        .addColumn("raised_at_ms", "integer", (column) => column.notNull())
        .addColumn("times", "integer", (column) => column.notNull())
        .addColumn("cleared_at_ms", "integer")
        .addColumn("cleared_by", "text")
        .execute();
    },
  },
};

/** CONTROL_STORE_NEWER where a later version of dray has written it: older code must not guess at its shape. */
export async function migrate(database: Kysely<ControlTables>): Promise<void> {
  await refuseNewer(database);
  const migrator = new Migrator({ db: database, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

async function refuseNewer(database: Kysely<ControlTables>): Promise<void> {
  const tables = await database.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === "kysely_migration")) return;
  const done = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(database);
  const unknown = done.rows.map((row) => row.name).filter((name) => MIGRATIONS[name] === undefined);
  if (unknown.length > 0) throw new DrayError("CONTROL_STORE_NEWER", { migrations: unknown });
}
