import { isDrayError } from "../../../pipeline/errors.ts";
import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { columnProblems } from "../column-types.ts";
import { quoteIdentifier, quoteTable } from "../identifier.ts";
import { tenantColumn } from "../table-spec.ts";
import { canonicalTenant } from "../tenant-key.ts";
import { coveredNames, listed, liveTable, type MysqlPreflightContext, schemaOn } from "./context.ts";
import { type LiveTable, primaryKeyOf } from "./live-schema.ts";
import type { Side } from "./server-view.ts";

type C = MysqlPreflightContext;
const SIDES: readonly Side[] = ["source", "target"];

const schemasThere: Check<C> = {
  id: "mysql.schema",
  rule: "T2",
  when: ["preflight"],
  run: async (context) =>
    SIDES.flatMap((side) =>
      context.schemas
        .filter((schema) => !context.live[side].has(schema.source))
        .map((schema) => ({
          id: "mysql.schema",
          severity: "error",
          subject: `${context[side].label} ${schemaOn(schema, side)}`,
          finding: `There is no schema ${schemaOn(schema, side)}, or Drayage's account may not see it.`,
          remedy:
            side === "source"
              ? "Correct the manifest, or grant SELECT on it."
              : "Create it with its tables, or name it in the manifest's `target`.",
          rule: "T2",
        })),
    ),
};

/** T2: a table nobody spoke of would be left behind silently. */
const classified: Check<C> = {
  id: "mysql.unclassified-table",
  rule: "T2",
  when: ["preflight", "gate"],
  run: async (context) =>
    context.schemas.flatMap((schema) => {
      const known = new Set(schema.tables.map((table) => table.name));
      return [...(context.live.source.get(schema.source)?.tables.keys() ?? [])]
        .filter((name) => !known.has(name))
        .map((name) => ({
          id: "mysql.unclassified-table",
          severity: "error",
          subject: `${context.source.label} ${schema.source}.${name}`,
          finding: `The manifest says nothing of table ${name}.`,
          remedy: `Add it under ${schema.source}: \`${name}: {column: tenant_id}\`, \`{root: true}\`, \`{reference: true}\` or \`{ignore: "why"}\`.`,
          rule: "T2",
        }));
    }),
};

const tablesThere: Check<C> = {
  id: "mysql.missing-table",
  rule: "T2",
  when: ["preflight", "gate"],
  run: async (context) =>
    context.schemas.flatMap((schema) =>
      schema.tables
        .filter((table) => table.belonging.kind !== "ignore")
        .flatMap((table) =>
          SIDES.filter(
            (side) => context.live[side].has(schema.source) && !liveTable(context, side, schema.source, table.name),
          ).map(
            (side): Finding => ({
              id: "mysql.missing-table",
              severity: "error",
              subject: `${context[side].label} ${schemaOn(schema, side)}.${table.name}`,
              finding: `There is no base table ${table.name} at the ${side}.`,
              remedy:
                side === "source"
                  ? "Remove the table from the manifest, or correct its name."
                  : "Create it in the target as SHOW CREATE TABLE prints it at the source; Drayage creates no tables.",
              rule: "T2",
            }),
          ),
        ),
    ),
};

const primaryKeys: Check<C> = {
  id: "mysql.primary-key",
  rule: "W5",
  when: ["preflight"],
  run: async (context) =>
    forCovered(context, (table, side, label) => {
      if (primaryKeyOf(table) !== null) return [];
      return [
        {
          id: "mysql.primary-key",
          severity: "error",
          subject: label,
          finding: `Table ${table.name} has no primary key at the ${side}: its rows cannot be told apart.`,
          remedy:
            "Give it a primary key on both sides; the SQL shown rewrites the table. Then say in the manifest to which tenant a row belongs.",
          fixSql: [primaryKeyFix(table)],
          fixOn: context[side].label,
          rule: "W5",
        },
      ];
    }),
};

function primaryKeyFix(table: LiveTable): string {
  const whole = table.indexes.find(
    (index) =>
      index.unique &&
      index.columns.every((name) => table.columns.some((column) => column.name === name && !column.nullable)),
  );
  if (whole) {
    return `ALTER TABLE ${quoteTable(table.schema, table.name)} ADD PRIMARY KEY (${whole.columns.map(quoteIdentifier).join(", ")})`;
  }
  const taken = new Set(table.columns.map((column) => column.name));
  const name = ["id", "row_id", "dray_row_id"].find((candidate) => !taken.has(candidate)) ?? "dray_row_key";
  return `ALTER TABLE ${quoteTable(table.schema, table.name)} ADD COLUMN ${quoteIdentifier(name)} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY`;
}

const engines: Check<C> = {
  id: "mysql.engine",
  rule: "W1",
  when: ["preflight"],
  run: async (context) =>
    forCovered(context, (table, side, label) =>
      table.engine.toLowerCase() === "innodb"
        ? []
        : [
            {
              id: "mysql.engine",
              severity: "error",
              subject: label,
              finding: `The storage engine is ${table.engine} at the ${side}: it knows neither read views nor transactions.`,
              remedy: "Change the engine by the SQL shown; it rewrites the table.",
              fixSql: [`ALTER TABLE ${quoteTable(table.schema, table.name)} ENGINE = InnoDB`],
              fixOn: context[side].label,
              rule: "W1",
            },
          ],
    ),
};

const columns: Check<C> = {
  id: "mysql.column-type",
  rule: "W5",
  when: ["preflight"],
  run: async (context) =>
    context.specs.flatMap((spec) =>
      columnProblems(spec).map(
        (problem): Finding => ({
          id: "mysql.column-type",
          severity: "error",
          subject: `${context.source.label} ${spec.schema}.${spec.name}.${problem.column}`,
          finding: `Column ${problem.column} is ${problem.type}: ${problem.reason}.`,
          remedy: problem.remedy,
          rule: "W5",
        }),
      ),
    ),
};

/** The column that says whose a row is must be there, be said by bytes, and never be computed. */
const tenantColumns: Check<C> = {
  id: "mysql.tenant-column",
  rule: "T1",
  when: ["preflight"],
  run: async (context) =>
    context.schemas.flatMap((schema) =>
      schema.tables.flatMap((table): readonly Finding[] => {
        const live = liveTable(context, "source", schema.source, table.name);
        if (!live) return [];
        const subject = `${context.source.label} ${schema.source}.${table.name}`;
        const refuse = (finding: string, remedy: string): readonly Finding[] => [
          { id: "mysql.tenant-column", severity: "error", subject, finding, remedy, rule: "T1" },
        ];
        if (table.belonging.kind === "root") {
          const key = primaryKeyOf(live)?.columns ?? [];
          return key.length === 1 || key.length === 0
            ? []
            : refuse(
                `The root's primary key has ${key.length} columns (${key.join(", ")}).`,
                "A root is the one row whose primary key is the tenant key; use {column: …} for other tables.",
              );
        }
        if (table.belonging.kind !== "column") return [];
        const named = table.belonging.column;
        const column = live.columns.find((candidate) => candidate.name === named);
        if (!column) {
          return refuse(
            `There is no column ${named}; the table has ${listed(
              live.columns.map((candidate) => candidate.name),
              context.limits.listedKeys,
            )}.`,
            "Correct the column in the manifest.",
          );
        }
        return column.generation === ""
          ? []
          : refuse(`The tenant column ${named} is generated.`, "Name the plain column that it is computed from.");
      }),
    ),
};

/** Told once for what each later check would stumble over. */
const tenantKey: Check<C> = {
  id: "mysql.tenant-key",
  rule: "T1",
  when: ["preflight"],
  run: async (context) =>
    context.specs.flatMap((spec): readonly Finding[] => {
      try {
        canonicalTenant(tenantColumn(spec), context.tenant);
        return [];
      } catch (error) {
        if (!isDrayError(error, "TENANT_KEY_INVALID")) throw error;
        return [
          {
            id: "mysql.tenant-key",
            severity: "error",
            subject: `${spec.schema}.${spec.name}.${tenantColumn(spec).name}`,
            finding: `The tenant key does not fit the column ${tenantColumn(spec).columnType}: ${String(error.facts["reason"])}.`,
            remedy: error.problem.remedy,
            rule: "T1",
          },
        ];
      }
    }),
};

export const tableChecks: readonly Check<C>[] = [
  schemasThere,
  classified,
  tablesThere,
  primaryKeys,
  engines,
  columns,
  tenantColumns,
  tenantKey,
];

function forCovered(
  context: C,
  check: (table: LiveTable, side: Side, label: string) => readonly Finding[],
): readonly Finding[] {
  return coveredNames(context).flatMap((name) =>
    SIDES.flatMap((side) => {
      const table = liveTable(context, side, name.schema, name.name);
      return table ? check(table, side, `${context[side].label} ${table.schema}.${table.name}`) : [];
    }),
  );
}
