import type { ManifestSchema, ManifestTable } from "../../pipeline/manifest.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import { columnProblems } from "./column-types.ts";
import { quoteIdentifier, quoteTable } from "./identifier.ts";
import { keysAreOrdered } from "./key-bytes.ts";
import { buildTableSpec, pagingIndex, type TableDefinition } from "./schema-reader.ts";
import { type Belonging, type TableSpec, tableSpec } from "./table-spec.ts";

export type DiscoveredTables = {
  /** In the order in which they are copied, the roots last (T2). */
  readonly tables: readonly CoveredTable[];
  readonly findings: readonly Finding[];
};

/**
 * What the manifest says, with the live schema's definitions. A table that Drayage could not read in chunks is a
 * finding here; what else is wrong with a table that is left out is told by preflight's own checks.
 */
export function discoverTables(
  schemas: readonly ManifestSchema[],
  live: ReadonlyMap<string, readonly TableDefinition[]>,
  label: string,
): DiscoveredTables {
  const tables: CoveredTable[] = [];
  const findings: Finding[] = [];
  for (const schema of schemas) {
    for (const table of schema.tables) {
      const belonging = belongingOf(table);
      const definition = live.get(schema.source)?.find((candidate) => candidate.name === table.name);
      if (!belonging || !definition || !hasKeyAndTenant(definition, belonging)) continue;
      if (pagingIndex(definition, belonging) === null) {
        findings.push(noPagingIndex(definition, belonging, label));
        continue;
      }
      tables.push(coveredTable(buildTableSpec(definition, { belonging, targetSchema: schema.target })));
    }
  }
  return { tables: [...tables.filter((table) => !table.root), ...tables.filter((table) => table.root)], findings };
}

export function specsOf(tables: readonly CoveredTable[]): readonly TableSpec[] {
  return tables.map(tableSpec);
}

function coveredTable(spec: TableSpec): CoveredTable {
  return {
    id: `${spec.schema}.${spec.name}`,
    root: spec.belonging.kind === "root",
    // A column that is refused anyway must not keep the others from being told.
    ordered: columnProblems(spec).length === 0 && keysAreOrdered(spec),
    definition: spec,
  };
}

function belongingOf(table: ManifestTable): Belonging | null {
  switch (table.belonging.kind) {
    case "root":
      return { kind: "root" };
    case "column":
      return { kind: "column", column: table.belonging.column };
    case "reference":
    case "ignore":
      return null;
  }
}

function hasKeyAndTenant(table: TableDefinition, belonging: Belonging): boolean {
  const primary = table.indexes.find((index) => index.name === "PRIMARY");
  if (!primary || primary.parts.some((part) => part.prefixLength !== null)) return false;
  if (belonging.kind === "root") return table.primaryKey.length === 1;
  return table.columns.some((column) => column.name === belonging.column);
}

/** W7: without it each chunk would read its way past every other tenant's rows. */
function noPagingIndex(table: TableDefinition, belonging: Belonging, label: string): Finding {
  const tenant = belonging.kind === "column" ? belonging.column : (table.primaryKey[0] ?? "");
  const columns = [tenant, ...table.primaryKey.filter((name) => name !== tenant)];
  const name = quoteIdentifier(`${table.name.slice(0, 50)}_paging`);
  return {
    id: "mysql.paging",
    severity: "error",
    subject: `${label} ${table.schema}.${table.name}`,
    finding: `No index begins with (${columns.join(", ")}): reading the tenant's rows would examine everybody's.`,
    remedy: "Add the index shown; it is built online, but reads the whole table.",
    fixSql: [
      `ALTER TABLE ${quoteTable(table.schema, table.name)} ADD INDEX ${name} (${columns.map(quoteIdentifier).join(", ")}), ALGORITHM=INPLACE, LOCK=NONE`,
    ],
    fixOn: label,
    rule: "W7",
  };
}
