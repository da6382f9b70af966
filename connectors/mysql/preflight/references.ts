import type { Check, Finding } from "../../../pipeline/preflight.ts";
import type { RawRow } from "../client.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier, quoteTable } from "../identifier.ts";
import { type ColumnSpec, columnNamed, type TableSpec } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { literal, selectExpression } from "../values.ts";
import { keyName } from "./clashes.ts";
import { listed, liveTable, type MysqlPreflightContext } from "./context.ts";
import type { LiveForeignKey, LiveTable } from "./live-schema.ts";

type C = MysqlPreflightContext;
type Reference = { readonly spec: TableSpec; readonly key: LiveForeignKey };

/**
 * T2: a reference table is never written, so every row that the tenant's rows refer to must stand in the target, equal
 * in every column. Which these are is known by foreign keys only.
 */
const references: Check<C> = {
  id: "mysql.reference-row",
  rule: "T2",
  when: ["preflight", "gate"],
  run: async (context, signal) => {
    const findings: Finding[] = [];
    for (const schema of context.schemas) {
      for (const table of schema.tables.filter((candidate) => candidate.belonging.kind === "reference")) {
        const ours = liveTable(context, "source", schema.source, table.name);
        const theirs = liveTable(context, "target", schema.source, table.name);
        if (!ours || !theirs) continue;
        const leading = referencesTo(context, ours);
        if (leading.length === 0) findings.push(unprovable(context, ours));
        for (const reference of leading) findings.push(...(await prove(context, reference, ours, theirs, signal)));
      }
    }
    return findings;
  },
};

export const referenceChecks: readonly Check<C>[] = [references];

function referencesTo(context: C, parent: LiveTable): readonly Reference[] {
  return context.specs.flatMap((spec) =>
    (liveTable(context, "source", spec.schema, spec.name)?.foreignKeys ?? [])
      .filter((key) => key.parentSchema === parent.schema && key.parent === parent.name)
      .map((key) => ({ spec, key })),
  );
}

function unprovable(context: C, table: LiveTable): Finding {
  const consented = context.consents.has("references-by-hand");
  return {
    id: "mysql.reference-row",
    severity: consented ? "warning" : "error",
    subject: `${context.source.label} ${table.schema}.${table.name}`,
    finding:
      "No foreign key of a table that moves leads to this reference table: which of its rows are needed is unknown.",
    remedy:
      "Declare the foreign key, classify the table {ignore: …} if nothing refers to it, or compare it by hand and name the consent references-by-hand in the manifest.",
    rule: "T2",
  };
}

async function prove(
  context: C,
  { spec, key }: Reference,
  ours: LiveTable,
  theirs: LiveTable,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const columns = key.columns.map((name) => columnNamed(spec, name));
  const different: string[] = [];
  const missing: string[] = [];
  let after: RawRow | null = null;
  for (;;) {
    signal.throwIfAborted();
    const keys: readonly RawRow[] = await referredKeys(context, spec, columns, after);
    if (keys.length > 0) {
      const rows = {
        ours: await rowsByKey(context, "source", ours, key, columns, keys),
        theirs: await rowsByKey(context, "target", theirs, key, columns, keys),
      };
      for (const value of keys) {
        const name = keyName(columns, value);
        const [mine, other] = [rows.ours.get(name), rows.theirs.get(name)];
        if (other === undefined) missing.push(name);
        else if (mine !== other) different.push(name);
      }
    }
    if (keys.length < context.limits.batchKeys) break;
    after = keys.at(-1) ?? null;
  }
  const because = `${spec.schema}.${spec.name} refers to them by ${key.name}`;
  const found = (what: string, names: readonly string[]): readonly Finding[] =>
    names.length === 0
      ? []
      : [
          {
            id: "mysql.reference-row",
            severity: "error",
            subject: `${context.target.label} ${theirs.schema}.${theirs.name}`,
            finding: `Reference rows ${what} the target: ${listed(names, context.limits.listedKeys)}; ${because}.`,
            remedy:
              "Bring these rows to the target as they stand at the source; Drayage never writes a reference table.",
            rule: "T2",
          },
        ];
  return [...found("are missing in", missing), ...found("are different in", different)];
}

/** Distinct values, in key order, so that each is compared once however many rows refer to it. */
async function referredKeys(
  context: C,
  spec: TableSpec,
  columns: readonly ColumnSpec[],
  after: RawRow | null,
): Promise<readonly RawRow[]> {
  const names = columns.map((column) => quoteIdentifier(column.name));
  const present = names.map((name) => `${name} IS NOT NULL`).join(" AND ");
  const behind =
    after === null
      ? ""
      : ` AND (${names.join(", ")}) > (${columns.map((column, i) => literal(column, after[i] ?? null)).join(", ")})`;
  return context.source.raw(
    `SELECT ${columns.map((column) => selectExpression(column)).join(", ")} FROM ${sourceTable(spec)}
      WHERE ${tenantPredicate(spec, context.tenant)} AND ${present}${behind}
      GROUP BY ${names.join(", ")} ORDER BY ${names.join(", ")} LIMIT ${context.limits.batchKeys}`,
  );
}

/** Each row's digest by its key's name, all columns of the source in it, by name; made by the server, sent as text. */
async function rowsByKey(
  context: C,
  side: "source" | "target",
  table: LiveTable,
  key: LiveForeignKey,
  columns: readonly ColumnSpec[],
  keys: readonly RawRow[],
): Promise<ReadonlyMap<string, string>> {
  const compared = liveTable(context, "source", key.parentSchema, key.parent)?.columns ?? [];
  if (compared.some((column) => !table.columns.some((candidate) => candidate.name === column.name))) {
    return new Map();
  }
  const parents = key.parentColumns.map((name, i) => {
    const column = columns[i];
    if (!column) throw new Error(`foreign key ${key.name} has no column ${i}`);
    return { ...column, name };
  });
  const digest = compared
    .map((column) => `IFNULL(HEX(CAST(${quoteIdentifier(column.name)} AS BINARY)), 'NULL')`)
    .join(", ");
  const tuples = keys.map((value) => `(${columns.map((column, i) => literal(column, value[i] ?? null)).join(", ")})`);
  const rows = await context[side].raw(
    `SELECT ${parents.map((column) => selectExpression(column)).join(", ")}, SHA2(CONCAT_WS(',', ${digest}), 256)
       FROM ${quoteTable(table.schema, table.name)}
      WHERE (${parents.map((column) => quoteIdentifier(column.name)).join(", ")}) IN (${tuples.join(", ")})`,
  );
  return new Map(rows.map((row): [string, string] => [keyName(columns, row), row.at(-1)?.toString("latin1") ?? ""]));
}
