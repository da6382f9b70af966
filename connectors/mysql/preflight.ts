import type { Consent } from "../../pipeline/consents.ts";
import type { ManifestSchema } from "../../pipeline/manifest.ts";
import { type Check, type CheckTime, type Finding, runChecks } from "../../pipeline/preflight.ts";
import type { MysqlAddress } from "./client.ts";
import { ControlSession } from "./control-session.ts";
import { discoverTables, specsOf } from "./discover-tables.ts";
import { accountChecks } from "./preflight/accounts.ts";
import { clashChecks } from "./preflight/clashes.ts";
import {
  DEFAULT_LIMITS,
  type GuardedUpsert,
  type MysqlPreflightContext,
  type PreflightLimits,
  schemaOn,
} from "./preflight/context.ts";
import { definitionChecks } from "./preflight/definitions.ts";
import { fenceChecks } from "./preflight/fences.ts";
import { keyClassChecks } from "./preflight/key-classes.ts";
import { type LiveSchema, readLiveSchema } from "./preflight/live-schema.ts";
import { pagingChecks } from "./preflight/paging.ts";
import { referenceChecks } from "./preflight/references.ts";
import { roundTripChecks } from "./preflight/round-trip.ts";
import { serverChecks } from "./preflight/server-facts.ts";
import { variableChecks } from "./preflight/server-variables.ts";
import { SessionView, type Side } from "./preflight/server-view.ts";
import { sideEffectChecks } from "./preflight/side-effects.ts";
import { tableChecks } from "./preflight/tables.ts";

/** In the order in which they are told. Every one runs, whatever those before it found. */
export const MYSQL_CHECKS: readonly Check<MysqlPreflightContext>[] = [
  ...serverChecks,
  ...variableChecks,
  ...accountChecks,
  ...fenceChecks,
  ...tableChecks,
  ...definitionChecks,
  ...sideEffectChecks,
  ...keyClassChecks,
  ...pagingChecks,
  ...referenceChecks,
  ...clashChecks,
  ...roundTripChecks,
];

/**
 * C8: what stands in the way of bringing a tenant back. The target then is a source that must be readable from its log,
 * the source a target without triggers that write rows twice, under accounts that may do both.
 */
const WAY_BACK: ReadonlySet<string> = new Set(
  [
    ...["version", "binlog-filters", "prepared-xa", "log-bin", "binlog-format", "binlog-row-image", "gtid-mode"],
    ...[
      "binlog-row-metadata",
      "binlog-row-value-options",
      "binlog-order-commits",
      "gtid-consistency",
      "log-replica-updates",
    ],
    ...["performance-schema", "instruments", "grant", "dray-schema-taken", "target-trigger", "silent-cascade"],
    ...["key-class", "paging", "binlog-retention"],
  ].map((name) => `mysql.${name}`),
);

function checksFor(when: CheckTime): readonly Check<MysqlPreflightContext>[] {
  if (when !== "rollback") return MYSQL_CHECKS;
  return MYSQL_CHECKS.filter(({ id }) => WAY_BACK.has(id)).map((check) => ({ ...check, when: ["rollback"] }));
}

export type MysqlPreflightOptions = {
  readonly source: MysqlAddress;
  readonly target: MysqlAddress;
  readonly draySchema: Readonly<Record<Side, string>>;
  readonly installationId: string | null;
  readonly tenant: string;
  readonly schemas: readonly ManifestSchema[];
  /** Schemas of the source with a READ ONLY fence. */
  readonly fencedSchemas: readonly string[];
  readonly consents: readonly Consent[];
  readonly drayAccounts?: Readonly<Record<Side, readonly string[]>>;
  readonly limits?: Partial<PreflightLimits>;
  /** `gate`: only what may have changed since preflight, and costs little. */
  readonly when?: CheckTime;
  /** As the sink writes a row of the stream (A1): connectors know no sink. */
  readonly guardedUpsert: GuardedUpsert;
  readonly signal: AbortSignal;
};

/** Everything that is wrong, at once. A server that cannot be reached is one finding, in place of its checks. */
export async function mysqlPreflight(options: MysqlPreflightOptions): Promise<readonly Finding[]> {
  const sessions = {
    source: new ControlSession({ address: options.source, role: "preflight" }),
    target: new ControlSession({ address: options.target, role: "preflight" }),
  };
  const { signal } = options;
  const isBack = options.when === "rollback";
  const view = (side: Side, other: Side) =>
    new SessionView({ side, named: isBack ? other : side, address: options[side], session: sessions[side], signal });
  const [source, target] = [view("source", "target"), view("target", "source")];
  try {
    const unreachable = (await Promise.all([source, target].map(reach))).flat();
    if (unreachable.length > 0) return unreachable;
    // Cached statistics would show last week's AUTO_INCREMENT.
    for (const server of [source, target]) await server.rows("SET SESSION information_schema_stats_expiry = 0");
    const live = { source: await liveSchemas(source, options), target: await liveSchemas(target, options) };
    const definitions = new Map(
      [...live.source].map(([name, schema]) => [name, [...schema.tables.values()].map((table) => table.definition)]),
    );
    const { tables, findings: unreadable } = discoverTables(options.schemas, definitions, source.label);
    const context: MysqlPreflightContext = {
      source,
      target,
      addresses: { source: options.source, target: options.target },
      draySchema: options.draySchema,
      installationId: options.installationId,
      tenant: options.tenant,
      schemas: options.schemas,
      specs: specsOf(tables),
      live,
      fencedSchemas: options.fencedSchemas,
      consents: new Set(options.consents),
      drayAccounts: options.drayAccounts ?? { source: [], target: [] },
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      guardedUpsert: options.guardedUpsert,
    };
    const when = options.when ?? "preflight";
    return [...unreadable, ...(await runChecks(checksFor(when), context, { when, signal }))];
  } finally {
    await Promise.all([sessions.source.close(), sessions.target.close()]);
  }
}

async function reach(server: SessionView): Promise<readonly Finding[]> {
  return runChecks<SessionView>(
    [
      {
        id: "mysql.reach",
        rule: "K5",
        when: ["preflight"],
        run: async () => {
          await server.rows("SELECT 1");
          return [];
        },
      },
    ],
    server,
    { when: "preflight", signal: server.signal },
  );
}

async function liveSchemas(
  server: SessionView,
  options: MysqlPreflightOptions,
): Promise<ReadonlyMap<string, LiveSchema>> {
  const live = new Map<string, LiveSchema>();
  for (const schema of options.schemas) {
    const found = await readLiveSchema(server, schemaOn(schema, server.side));
    if (found) live.set(schema.source, found);
  }
  return live;
}
