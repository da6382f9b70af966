import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { tooWide } from "../read-only-fence.ts";
import type { TableSpec } from "../table-spec.ts";
import type { MysqlPreflightContext } from "./context.ts";

type C = MysqlPreflightContext;

/** C3: a READ ONLY schema fences everyone in it. */
const schemaAlone: Check<C> = {
  id: "mysql.fence-too-wide",
  rule: "C3",
  when: ["preflight", "gate"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const schema of context.fencedSchemas) {
      const why = await tooWide(
        (sql) => context.source.rows(sql),
        {
          schema,
          tenant: context.tenant,
          specs: specsOf(context, schema),
          ownedByTenant: "yes",
          thoroughness: "bytes",
        },
        context.draySchema.source,
      );
      if (why === null) continue;
      findings.push({
        id: "mysql.fence-too-wide",
        severity: "error",
        subject: `${context.source.label} ${schema}`,
        finding: `FENCE_TOO_WIDE: ${why}.`,
        remedy: "Use an adapter as fence; READ ONLY is for a schema that holds this tenant and nobody else.",
        rule: "C3",
      });
    }
    return findings;
  },
};

/** A READ ONLY schema stops Drayage's own way back too (*measured*), so the move has none. */
const noWayBack: Check<C> = {
  id: "mysql.fence-no-rollback",
  rule: "C3",
  when: ["preflight", "gate"],
  run: async (context) =>
    context.fencedSchemas.map(
      (schema): Finding => ({
        id: "mysql.fence-no-rollback",
        severity: "warning",
        subject: `${context.source.label} ${schema}`,
        finding:
          "The fence is READ ONLY on the schema: it stops rows on the way back too, so this move has no rollback.",
        remedy: "None needed where no rollback is wanted; else use an adapter as fence.",
        rule: "C3",
      }),
    ),
};

/** Outcomes are written while the fence holds. */
const drayWritable: Check<C> = {
  id: "mysql.dray-read-only",
  rule: "C3",
  when: ["preflight", "gate"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const server of [context.source, context.target]) {
      const schema = context.draySchema[server.side];
      const [row] = await server.rows(
        "SELECT OPTIONS options_ FROM information_schema.SCHEMATA_EXTENSIONS WHERE SCHEMA_NAME = ?",
        [schema],
      );
      if (!(row?.["options_"] ?? "").includes("READ ONLY=1")) continue;
      findings.push({
        id: "mysql.dray-read-only",
        severity: "error",
        subject: `${server.label} ${schema}`,
        finding: `Schema ${schema} is READ ONLY: neither marks nor outcomes can be written.`,
        remedy: "Make it writable by the SQL shown.",
        fixSql: [`ALTER SCHEMA \`${schema.replaceAll("`", "``")}\` READ ONLY = 0`],
        fixOn: server.label,
        rule: "C3",
      });
    }
    return findings;
  },
};

/** Whose `dray.*` it is; a schema that is not there yet is made at the start. */
const installation: Check<C> = {
  id: "mysql.dray-schema-taken",
  rule: "M1",
  when: ["preflight", "gate"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const server of [context.source, context.target]) {
      const schema = context.draySchema[server.side];
      const [there] = await server.rows(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = 'installation'",
        [schema],
      );
      if (!there) continue;
      const [row] = await server.rows(`SELECT id FROM \`${schema.replaceAll("`", "``")}\`.installation`);
      if (!row || row["id"] === context.installationId) continue;
      findings.push({
        id: "mysql.dray-schema-taken",
        severity: "error",
        subject: `${server.label} ${schema}`,
        finding: `DRAY_SCHEMA_TAKEN: schema ${schema} belongs to the installation ${row["id"]}, this one is ${context.installationId ?? "new"}.`,
        remedy:
          "Name another schema for this installation in the cluster's configuration, or use the data folder of the one that owns it.",
        rule: "M1",
      });
    }
    return findings;
  },
};

export const fenceChecks: readonly Check<C>[] = [schemaAlone, noWayBack, drayWritable, installation];

function specsOf(context: C, schema: string): readonly TableSpec[] {
  return context.specs.filter((spec) => spec.schema === schema);
}
