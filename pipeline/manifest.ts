import { z } from "zod";
import { CONSENT_NAMES, CONSENTS, type Consent } from "./consents.ts";

/**
 * What any tenant of one system consists of. One file a system, shared by thousands of tenants: a move is a manifest, a
 * tenant key, a from and a to. Addresses and secrets are not its business; it names clusters' adapters and probes only
 * (K5). Nothing in it is without an effect, and nothing of the system may be left out of it (T2).
 */
export type Manifest = {
  readonly name: string;
  /** In the file's order; the first is the home store (C1). */
  readonly stores: readonly ManifestStore[];
  readonly fence: {
    /** Called in this order. */
    readonly steps: readonly FenceStep[];
    /** The longest time the application may act on a stale flag. 0 only where the database enforces the fence. */
    readonly graceMs: number;
  };
  /** Called in this order after the commit point. */
  readonly routing: readonly RouteStep[];
  readonly throttle: readonly ThrottleStep[];
  /** What the operator answers for; recorded with every move. */
  readonly consents: readonly Consent[];
  readonly cutover: {
    readonly maxLagSeconds: number;
    /** Null: 1 s plus the grace plus the adapters' timeouts (C11). */
    readonly maxPauseMs: number | null;
    /** What is done where a write slips in between S1 and S2: drained and proven again, or the attempt is aborted. */
    readonly onSlip: "drain-again" | "abort";
    /** How many heartbeats in a row the lag must stay below the limit. */
    readonly heartbeats: number;
    /** How long the source's copy stays before `dray finish` removes it. */
    readonly retentionHours: number;
  };
};

export type ManifestStore = {
  readonly name: string;
  readonly kind: "mysql";
  readonly schemas: readonly ManifestSchema[];
};

export type ManifestSchema = {
  readonly source: string;
  /** Schemas may be named otherwise in the target; tables may not. */
  readonly target: string;
  readonly tables: readonly ManifestTable[];
};

export type ManifestTable = { readonly name: string; readonly belonging: ManifestBelonging };

/** T2. Root and column tables are moved; reference tables are proven equal, never written; ignored ones stay. */
export type ManifestBelonging =
  | { readonly kind: "root" }
  | { readonly kind: "column"; readonly column: string }
  | { readonly kind: "reference" }
  | { readonly kind: "ignore"; readonly reason: string };

export type FenceStep =
  | { readonly kind: "adapter"; readonly adapter: string }
  /** `ALTER SCHEMA … READ ONLY = 1` at the source; fences everyone in it, so it must be this tenant's alone (C3). */
  | { readonly kind: "read-only-schema"; readonly schema: string };

export type RouteStep = { readonly adapter: string };

/** The snapshot waits while the probe reads above the limit, or cannot be read (W8). */
export type ThrottleStep = { readonly probe: string; readonly on: "from" | "to"; readonly limit: number };

const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;
const name = z
  .string()
  .regex(NAME, "a name starts with a letter and goes on with letters, digits, - and _ (63 at most)");
const identifier = z.string().min(1).max(64);

const belonging = z
  .union([
    z.strictObject({ root: z.literal(true).describe("The one row whose primary key is the tenant key") }),
    z.strictObject({ column: identifier.describe("The column that holds the tenant key in every row") }),
    z.strictObject({
      reference: z.literal(true).describe("Shared rows: never written, proven equal on both sides before a move"),
    }),
    z.strictObject({ ignore: z.string().trim().min(1).describe("Why this table does not move with a tenant") }),
  ])
  .describe("Whose the table's rows are: {root: true}, {column: NAME}, {reference: true} or {ignore: REASON}")
  .transform((entry): ManifestBelonging => {
    if ("root" in entry) return { kind: "root" };
    if ("column" in entry) return { kind: "column", column: entry.column };
    return "reference" in entry ? { kind: "reference" } : { kind: "ignore", reason: entry.ignore };
  });

const schema = z.strictObject({
  target: identifier.optional().describe("The schema's name in the target; the same as in the source where absent"),
  tables: z.record(identifier, belonging).describe("Every table of the schema; one that is missing is refused"),
});

const store = z.strictObject({
  kind: z.literal("mysql"),
  schemas: z.record(identifier, schema).refine((all) => Object.keys(all).length > 0, "at least one schema is needed"),
});

const fenceStep = z
  .union([
    z.strictObject({ adapter: name.describe("An adapter of the server configuration") }),
    z.strictObject({
      read_only_schema: z.strictObject({
        schema: identifier.describe("A schema of the manifest, by its name in the source"),
        tenant_alone: z.literal(true).describe("The schema holds this tenant and nobody else; checked by a query"),
      }),
    }),
  ])
  .describe("{adapter: NAME} or {read_only_schema: {schema: NAME, tenant_alone: true}}")
  .transform(
    (step): FenceStep =>
      "adapter" in step
        ? { kind: "adapter", adapter: step.adapter }
        : { kind: "read-only-schema", schema: step.read_only_schema.schema },
  );

const throttleStep = z.strictObject({
  probe: name.describe("A probe of the server configuration"),
  on: z.enum(["from", "to"]).default("from").describe("The cluster an SQL probe is asked on"),
  limit: z.number().describe("The copy waits while the probe reads above this"),
});

const cutover = z.strictObject({
  max_lag_s: z.number().positive().default(1).describe("No fence above this lag, in seconds"),
  max_pause_ms: z
    .int()
    .positive()
    .optional()
    .describe("The whole pause at most; where absent 1,000 plus the grace plus the adapters' timeouts"),
  on_slip: z
    .enum(["drain-again", "abort"])
    .default("drain-again")
    .describe("A write came through the fence between the two drains: carry it and prove again, or abort the attempt"),
  heartbeats: z.int().min(1).max(100).default(4).describe("Heartbeats in a row that the lag must stay below the limit"),
  retention_h: z
    .number()
    .min(0)
    .default(168)
    .describe("Hours that the source's copy stays behind the cutover, for a rollback, before `dray finish` removes it"),
});

/** The file's own shape. `pipeline/manifest-check.ts` parses text with it and says where each thing is wrong. */
export const manifestFile = z
  .strictObject({
    name: name.describe("Of the system; moves are called NAME-TENANT"),
    stores: z
      .record(name, store)
      .refine((all) => Object.keys(all).length === 1, "exactly one store is supported in this version")
      .describe("The places with the tenants' data"),
    fence: z.strictObject({
      steps: z.array(fenceStep).min(1).describe("What stops the tenant's writes at the source, in order"),
      grace_ms: z
        .int()
        .min(0)
        .describe("The longest time the application may act on a stale flag; 0 only where the database enforces it"),
    }),
    routing: z
      .array(z.strictObject({ adapter: name.describe("An adapter of the server configuration") }))
      .min(1)
      .describe("What sends the tenant to its new home, in order"),
    throttle: z.array(throttleStep).default([]).describe("What makes the copy wait"),
    consents: z
      .array(z.enum(CONSENT_NAMES))
      .default([])
      .describe(
        `What the operator answers for: ${Object.entries(CONSENTS)
          .map(([name, what]) => `${name}: ${what}`)
          .join("; ")}`,
      ),
    cutover: cutover.prefault({}).describe("When a cutover may begin, and how long it may take"),
  })
  .transform(
    (file): Manifest => ({
      name: file.name,
      stores: Object.entries(file.stores).map(([storeName, entry]) => ({
        name: storeName,
        kind: entry.kind,
        schemas: Object.entries(entry.schemas).map(([source, content]) => ({
          source,
          target: content.target ?? source,
          tables: Object.entries(content.tables).map(([table, whose]) => ({ name: table, belonging: whose })),
        })),
      })),
      fence: { steps: file.fence.steps, graceMs: file.fence.grace_ms },
      routing: file.routing,
      throttle: file.throttle,
      consents: file.consents,
      cutover: {
        maxLagSeconds: file.cutover.max_lag_s,
        maxPauseMs: file.cutover.max_pause_ms ?? null,
        onSlip: file.cutover.on_slip,
        heartbeats: file.cutover.heartbeats,
        retentionHours: file.cutover.retention_h,
      },
    }),
  );

export type ManifestFile = z.input<typeof manifestFile>;

/** For editors: `# yaml-language-server: $schema=…`. */
export function manifestJsonSchema(): Record<string, unknown> {
  const schemaOfFile = z.toJSONSchema(manifestFile, { io: "input", target: "draft-2020-12" });
  return { title: "Drayage manifest", ...schemaOfFile };
}

/** The tables that move, by their name in status and errors: `schema.table` at the source. */
export function coveredTables(manifest: Manifest): readonly string[] {
  return manifest.stores.flatMap((entry) =>
    entry.schemas.flatMap((content) =>
      content.tables
        .filter((table) => table.belonging.kind === "root" || table.belonging.kind === "column")
        .map((table) => `${content.source}.${table.name}`),
    ),
  );
}
