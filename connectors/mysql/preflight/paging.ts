import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { keyColumns, type TableSpec, tenantColumn } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import type { MysqlPreflightContext } from "./context.ts";

type C = MysqlPreflightContext;

/** W7: below this many rows a whole scan costs nothing worth a refusal. */
const SMALL_TABLE_ROWS = 10_000;
const EXAMINED_PER_ROW = 3;

const chunkReads: Check<C> = {
  id: "mysql.paging",
  rule: "W7",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const spec of context.specs.filter((candidate) => candidate.belonging.kind === "column")) {
      const examined = await examinedRows(context, spec);
      const [row] = await context.source.rows(
        `SELECT COUNT(*) rows_ FROM ${sourceTable(spec)} WHERE ${tenantPredicate(spec, context.tenant)}`,
      );
      const rows = Number(row?.["rows_"]);
      if (examined.rows <= SMALL_TABLE_ROWS || examined.rows <= EXAMINED_PER_ROW * Math.max(rows, 1)) continue;
      findings.push({
        id: "mysql.paging",
        severity: context.consents.has("full-scan") ? "warning" : "error",
        subject: `${context.source.label} ${spec.schema}.${spec.name}`,
        finding: `Reading the tenant's ${rows} row(s) by index ${spec.pagingIndex} examines about ${examined.rows} rows (${examined.access}): more than ${EXAMINED_PER_ROW} times as many.`,
        remedy: "Add the index shown (online, but it reads the table), or name the consent full-scan in the manifest.",
        fixSql: [pagingIndexSql(spec)],
        fixOn: context.source.label,
        rule: "W7",
      });
    }
    return findings;
  },
};

export const pagingChecks: readonly Check<C>[] = [chunkReads];

/** Of a chunk read in the form in which chunks are read: by the paging index, in key order. */
async function examinedRows(context: C, spec: TableSpec): Promise<{ readonly rows: number; readonly access: string }> {
  const order = keyColumns(spec).map((column) => quoteIdentifier(column.name));
  const [row] = await context.source.rows(
    `EXPLAIN FORMAT=TRADITIONAL SELECT ${order.join(", ")} FROM ${sourceTable(spec)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)})
      WHERE ${tenantPredicate(spec, context.tenant)} ORDER BY ${order.join(", ")}`,
  );
  const access = `${row?.["type"]} by ${row?.["key"] ?? "no index"}`;
  // The tenant is not in the database at all, as the optimiser found out by itself.
  if (row?.["rows"] === null) return { rows: 0, access };
  return { rows: Number(row?.["rows"]), access };
}

function pagingIndexSql(spec: TableSpec): string {
  const tenant = tenantColumn(spec).name;
  const columns = [tenant, ...spec.primaryKey.filter((name) => name !== tenant)];
  const name = quoteIdentifier(`${spec.name.slice(0, 50)}_paging`);
  return `ALTER TABLE ${sourceTable(spec)} ADD INDEX ${name} (${columns.map(quoteIdentifier).join(", ")}), ALGORITHM=INPLACE, LOCK=NONE`;
}
