/** A table as the live database describes it: what classifying it needs, no more. */
export type LiveTable = {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly string[];
  readonly primaryKey: readonly string[];
  readonly references: readonly LiveReference[];
};

/** One foreign key. */
export type LiveReference = {
  readonly columns: readonly string[];
  readonly schema: string;
  readonly table: string;
  readonly referencedColumns: readonly string[];
};

/** Base tables of these schemas, views and Drayage's own left out. SCHEMA_UNKNOWN names a schema that is not there. */
export interface LiveSchemaReader {
  liveTables(schemas: readonly string[], signal: AbortSignal): Promise<readonly LiveTable[]>;
}
