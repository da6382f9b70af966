import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { coveredNames, liveTable, type MysqlPreflightContext } from "./context.ts";
import { type LiveColumn, type LiveIndex, type LiveTable, primaryKeyOf } from "./live-schema.ts";

/** A difference that can lose or change a row is an error; one that only costs time is a warning. */
export type Difference = { readonly severity: "error" | "warning"; readonly text: string };

const sameDefinitions: Check<MysqlPreflightContext> = {
  id: "mysql.definition",
  rule: "W6",
  when: ["preflight", "gate"],
  run: async (context) =>
    coveredNames(context).flatMap((name) => {
      const source = liveTable(context, "source", name.schema, name.name);
      const target = liveTable(context, "target", name.schema, name.name);
      if (!source || !target) return [];
      return definitionDifferences(source, target).map(
        (difference): Finding => ({
          id: "mysql.definition",
          severity: difference.severity,
          subject: `${context.target.label} ${target.schema}.${target.name}`,
          finding: difference.text,
          remedy: "Make both definitions equal (SHOW CREATE TABLE on both sides), then run preflight again.",
          rule: "W6",
        }),
      );
    }),
};

export const definitionChecks: readonly Check<MysqlPreflightContext>[] = [sameDefinitions];

/** Every difference, each named; the order of columns does not count, as statements name them. */
export function definitionDifferences(source: LiveTable, target: LiveTable): readonly Difference[] {
  return [
    ...columnDifferences(source, target),
    ...keyDifferences(source, target),
    ...[...target.checks].flatMap(([name, clause]): readonly Difference[] =>
      [...source.checks.values()].includes(clause)
        ? []
        : [error(`The target checks ${name}: ${clause}, the source does not: a row may be refused.`)],
    ),
  ];
}

function columnDifferences(source: LiveTable, target: LiveTable): readonly Difference[] {
  const theirs = new Map(target.columns.map((column) => [column.name, column]));
  const ours = new Set(source.columns.map((column) => column.name));
  const both = source.columns.flatMap((column): readonly Difference[] => {
    const other = theirs.get(column.name);
    if (!other) return [error(`Column ${column.name} (${column.type}) is missing at the target.`)];
    return facts(column)
      .filter((fact) => fact.of(column) !== fact.of(other))
      .map((fact) =>
        error(
          `Column ${column.name}: ${fact.name} is ${fact.of(column)} at the source and ${fact.of(other)} at the target.`,
        ),
      );
  });
  const extra = target.columns
    .filter((column) => !ours.has(column.name))
    .map((column) =>
      error(`Column ${column.name} (${column.type}) is at the target only: what would a moved row hold there?`),
    );
  return [...both, ...extra];
}

type Fact = { readonly name: string; readonly of: (column: LiveColumn) => string };

function facts(column: LiveColumn): readonly Fact[] {
  const plain: readonly Fact[] = [
    { name: "the type", of: (c) => c.type },
    { name: "NULL", of: (c) => (c.nullable ? "allowed" : "not allowed") },
    { name: "the character set", of: (c) => c.charset ?? "none" },
    { name: "the collation", of: (c) => c.collation ?? "none" },
    { name: "AUTO_INCREMENT", of: (c) => (c.autoIncrement ? "on" : "off") },
  ];
  const generated: Fact = { name: "the generating expression", of: (c) => c.generation || "none" };
  // Generated on one side only, or by another expression: the target would compute another value.
  return column.generation === "" ? [...plain, { ...generated }] : [generated, ...plain];
}

function keyDifferences(source: LiveTable, target: LiveTable): readonly Difference[] {
  const primary = (table: LiveTable) => primaryKeyOf(table)?.columns.join(", ") ?? "none";
  const differences: Difference[] = [];
  if (primary(source) !== primary(target)) {
    differences.push(
      error(`The primary key is (${primary(source)}) at the source and (${primary(target)}) at the target.`),
    );
  }
  const others = (table: LiveTable, unique: boolean) =>
    table.indexes.filter((index) => index.name !== "PRIMARY" && index.unique === unique);
  for (const index of missing(others(source, true), others(target, true))) {
    differences.push(error(`The unique index ${describe(index)} is at the source only.`));
  }
  for (const index of missing(others(target, true), others(source, true))) {
    differences.push(error(`The unique index ${describe(index)} is at the target only: a row may be refused.`));
  }
  for (const index of missing(others(source, false), others(target, false))) {
    differences.push(
      warning(`The index ${describe(index)} is at the source only: the tenant's queries may be slower.`),
    );
  }
  return differences;
}

/** By columns: what an index is called makes no difference. */
function missing(wanted: readonly LiveIndex[], there: readonly LiveIndex[]): readonly LiveIndex[] {
  const known = new Set(there.map((index) => index.columns.join("\0")));
  return wanted.filter((index) => !known.has(index.columns.join("\0")));
}

function describe(index: LiveIndex): string {
  return `${index.name} (${index.columns.join(", ")})`;
}

function error(text: string): Difference {
  return { severity: "error", text };
}

function warning(text: string): Difference {
  return { severity: "warning", text };
}
