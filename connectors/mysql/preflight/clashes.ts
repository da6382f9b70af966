import type { Check, Finding } from "../../../pipeline/preflight.ts";
import type { RawRow } from "../client.ts";
import { sourceTable, targetTable } from "../foreign-rows.ts";
import { type ColumnSpec, columnNamed, keyColumns, type TableSpec, tenantColumn } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { ClashSearch } from "./clash-search.ts";
import { listed, liveTable, type MysqlPreflightContext } from "./context.ts";

type C = MysqlPreflightContext;

/** T1: what is there already would be taken for copied, and removed by an abort. */
const targetFree: Check<C> = {
  id: "mysql.tenant-in-target",
  rule: "T1",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const spec of context.specs) {
      if (!liveTable(context, "target", spec.schema, spec.name)) continue;
      const [row] = await context.target.rows(
        `SELECT COUNT(*) rows_ FROM (SELECT 1 FROM ${targetTable(spec)} WHERE ${tenantPredicate(spec, context.tenant)} LIMIT 1000) t`,
      );
      const rows = Number(row?.["rows_"]);
      if (rows === 0) continue;
      findings.push({
        id: "mysql.tenant-in-target",
        severity: "error",
        subject: `${context.target.label} ${spec.targetSchema}.${spec.name}`,
        finding: `The target already holds ${rows === 1000 ? "1000 or more rows" : `${rows} row(s)`} of tenant ${context.tenant}.`,
        // No fix SQL: run unread it would remove a tenant that lives there.
        remedy:
          "Find out whose they are. Rows left over from an earlier move are removed by `dray abort` of that move.",
        rule: "T1",
      });
    }
    return findings;
  },
};

/** A key that was mistyped, in its case too, would move nothing and say nothing. */
const tenantThere: Check<C> = {
  id: "mysql.tenant-in-source",
  rule: "T1",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    let rows = 0;
    for (const spec of context.specs) {
      const [row] = await context.source.rows(
        `SELECT 1 FROM ${sourceTable(spec)} WHERE ${tenantPredicate(spec, context.tenant)} LIMIT 1`,
      );
      if (row) rows += 1;
      if (row || spec.belonging.kind !== "root") continue;
      findings.push(noTenant(context, `${context.source.label} ${spec.schema}.${spec.name}`, "error"));
    }
    if (rows > 0 || findings.length > 0 || context.specs.length === 0) return findings;
    return [noTenant(context, context.source.label, "warning")];
  },
};

function noTenant(context: C, subject: string, severity: "error" | "warning"): Finding {
  return {
    id: "mysql.tenant-in-source",
    severity,
    subject,
    finding: `There is no row of tenant ${context.tenant} here; keys are compared by their bytes, case included.`,
    remedy: "Give the tenant's key exactly as it stands in the source.",
    rule: "T1",
  };
}

const clashingIds: Check<C> = {
  id: "mysql.clashing-id",
  rule: "C9",
  when: ["preflight"],
  run: async (context, signal) => {
    const findings: Finding[] = [];
    for (const spec of bothSides(context)) {
      const keys = await clashes(context, spec, keyColumns(spec), signal);
      if (keys.length === 0) continue;
      findings.push({
        id: "mysql.clashing-id",
        severity: "error",
        subject: `${context.target.label} ${spec.targetSchema}.${spec.name}`,
        finding: `Rows of other tenants in the target have primary keys of the tenant's rows: ${listed(keys, context.limits.listedKeys)}.`,
        remedy: "One of the two rows needs another id, with everything that refers to it, before the tenant can move.",
        rule: "C9",
      });
    }
    return findings;
  },
};

const clashingUniques: Check<C> = {
  id: "mysql.unique-across-tenants",
  rule: "A1",
  when: ["preflight"],
  run: async (context, signal) => {
    const findings: Finding[] = [];
    for (const spec of bothSides(context)) {
      const tenant = tenantColumn(spec).name;
      const indexes = liveTable(context, "source", spec.schema, spec.name)?.indexes ?? [];
      for (const index of indexes.filter((candidate) => candidate.unique && candidate.name !== "PRIMARY")) {
        if (index.columns.includes(tenant)) continue;
        const plain = index.columns.every((name) => spec.columns.some((column) => column.name === name));
        const subject = `${spec.schema}.${spec.name} ${index.name} (${index.columns.join(", ")})`;
        const keys = plain
          ? await clashes(
              context,
              spec,
              index.columns.map((name) => columnNamed(spec, name)),
              signal,
            )
          : [];
        findings.push(
          keys.length > 0
            ? {
                id: "mysql.unique-across-tenants",
                severity: "error",
                subject,
                finding: `Rows of other tenants in the target hold the same unique values as the tenant's rows with keys ${listed(keys, context.limits.listedKeys)}.`,
                remedy: "Change the value on one side, or put the tenant column into the unique index on both sides.",
                rule: "A1",
              }
            : {
                id: "mysql.unique-across-tenants",
                severity: "warning",
                subject,
                finding: plain
                  ? "The unique index does not hold the tenant: none of its values clashes now, but one may before the switch, and would stop the move."
                  : "The unique index does not hold the tenant, and has a prefix or an expression: whether values clash could not be looked up.",
                remedy:
                  "Put the tenant column into the unique index on both sides, or see that no such value is given out twice.",
                rule: "A1",
              },
        );
      }
    }
    return findings;
  },
};

export const clashChecks: readonly Check<C>[] = [tenantThere, targetFree, clashingIds, clashingUniques];

function bothSides(context: C): readonly TableSpec[] {
  return context.specs.filter((spec) => liveTable(context, "target", spec.schema, spec.name) !== null);
}

/** The named keys of the tenant's source rows whose values in these columns a row of another tenant holds in the target. */
async function clashes(
  context: C,
  spec: TableSpec,
  columns: readonly ColumnSpec[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const found = await new ClashSearch({ context, spec, columns, signal }).run();
  return found.map((key) => keyName(keyColumns(spec), key));
}

/** Keys are named as text; bytes that are no text as hex. */
export function keyName(columns: readonly ColumnSpec[], key: RawRow): string {
  return columns
    .map((column, i) => {
      const value = key[i] ?? null;
      if (value === null) return "NULL";
      return column.charset === null && /binary/.test(column.dataType)
        ? `0x${value.toString("hex")}`
        : value.toString("utf8");
    })
    .join("/");
}
