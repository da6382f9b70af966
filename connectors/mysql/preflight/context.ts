import type { Consent } from "../../../pipeline/consents.ts";
import type { ManifestSchema } from "../../../pipeline/manifest.ts";
import type { MysqlAddress } from "../client.ts";
import type { TableSpec } from "../table-spec.ts";
import type { LiveSchema, LiveTable } from "./live-schema.ts";
import type { ServerView, Side } from "./server-view.ts";

export type MysqlPreflightContext = {
  readonly source: ServerView;
  readonly target: ServerView;
  readonly addresses: Readonly<Record<Side, MysqlAddress>>;
  readonly draySchema: Readonly<Record<Side, string>>;
  /** Of this Drayage; null before it has been written anywhere. */
  readonly installationId: string | null;
  readonly tenant: string;
  readonly schemas: readonly ManifestSchema[];
  /** Covered tables that exist at the source and have a primary key; the others are findings of their own. */
  readonly specs: readonly TableSpec[];
  /** By the manifest's own (source) schema name. */
  readonly live: Readonly<Record<Side, ReadonlyMap<string, LiveSchema>>>;
  /** Schemas of the source that a READ ONLY fence is set on (C3). */
  readonly fencedSchemas: readonly string[];
  readonly consents: ReadonlySet<Consent>;
  /** Accounts beside the two that preflight runs under which may write `dray.*`: 'user@host'. */
  readonly drayAccounts: Readonly<Record<Side, readonly string[]>>;
  readonly limits: PreflightLimits;
  readonly guardedUpsert: GuardedUpsert;
};

/** The target's own statement for one row (A1); its parameters are the canonical values of the carried columns. */
export type GuardedUpsert = (table: {
  readonly id: string;
  readonly spec: TableSpec;
  readonly tenant: string;
}) => string;

export type PreflightLimits = {
  /** The binary log must be kept this long at least. */
  readonly retentionSeconds: number;
  /** How many keys a finding lists before it says "and more". */
  readonly listedKeys: number;
  /** Keys that one look-up carries. */
  readonly batchKeys: number;
};

export const DEFAULT_LIMITS: PreflightLimits = { retentionSeconds: 86_400, listedKeys: 20, batchKeys: 2_000 };

export function servers(context: MysqlPreflightContext): readonly ServerView[] {
  return [context.source, context.target];
}

export function liveTable(context: MysqlPreflightContext, side: Side, schema: string, table: string): LiveTable | null {
  return context.live[side].get(schema)?.tables.get(table) ?? null;
}

/** Covered tables as the manifest names them, whether or not they exist. */
export function coveredNames(context: MysqlPreflightContext): readonly CoveredName[] {
  return context.schemas.flatMap((schema) =>
    schema.tables
      .filter((table) => table.belonging.kind === "root" || table.belonging.kind === "column")
      .map((table) => ({ schema: schema.source, targetSchema: schema.target, name: table.name })),
  );
}

export type CoveredName = { readonly schema: string; readonly targetSchema: string; readonly name: string };

export function schemaOn(schema: ManifestSchema, side: Side): string {
  return side === "source" ? schema.source : schema.target;
}

/** `a, b, c and 4 more`. */
export function listed(names: readonly string[], limit: number): string {
  const shown = names.slice(0, limit).join(", ");
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}
