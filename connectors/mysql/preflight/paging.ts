import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { keyColumns, type TableSpec, tenantColumn } from "../table-spec.ts";
import { canonicalTenant, tenantPredicate } from "../tenant-key.ts";
import { literal } from "../values.ts";
import type { MysqlPreflightContext } from "./context.ts";

type C = MysqlPreflightContext;

/** W7: below this many rows a whole scan costs nothing worth a refusal. */
const SMALL_TABLE_ROWS = 10_000;
const EXAMINED_PER_ROW = 3;

/** What reading all of the tenant's rows in chunks examines. */
type Examined = {
  readonly rows: number;
  readonly own: number;
  readonly why: "collation" | "plan";
  readonly access: string;
};

const chunkReads: Check<C> = {
  id: "mysql.paging",
  rule: "W7",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const spec of context.specs.filter((candidate) => candidate.belonging.kind === "column")) {
      const examined = await examinedRows(context, spec);
      const { rows, own, access } = examined;
      if (rows <= SMALL_TABLE_ROWS || rows <= EXAMINED_PER_ROW * Math.max(own, 1)) continue;
      const { collation, name } = tenantColumn(spec);
      findings.push({
        id: "mysql.paging",
        severity: context.consents.has("full-scan") ? "warning" : "error",
        subject: `${context.source.label} ${spec.schema}.${spec.name}`,
        finding:
          examined.why === "collation"
            ? `Reading the tenant's ${own} row(s) by index ${spec.pagingIndex} examines ${rows} rows (${access}): by the collation ${collation} of ${name} the other ${rows - own} have the same tenant.`
            : `Reading the tenant's ${own} row(s) by index ${spec.pagingIndex} examines about ${rows} rows (${access}): more than ${EXAMINED_PER_ROW} times as many.`,
        ...(examined.why === "collation"
          ? {
              remedy: `No index helps: give ${name} a collation that tells these tenants apart (one that ends in _bin) on both sides, or name the consent full-scan in the manifest.`,
            }
          : {
              remedy:
                "Renew the table's statistics by the SQL shown; where that does not help, name the consent full-scan in the manifest.",
              fixSql: [`ANALYZE TABLE ${sourceTable(spec)}`],
              fixOn: context.source.label,
            }),
        rule: "W7",
      });
    }
    return findings;
  },
};

export const pagingChecks: readonly Check<C>[] = [chunkReads];

/** Of a chunk read in the form in which chunks are read: by the paging index, in key order. */
async function examinedRows(context: C, spec: TableSpec): Promise<Examined> {
  const order = keyColumns(spec).map((column) => quoteIdentifier(column.name));
  const table = `${sourceTable(spec)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)})`;
  const own = tenantPredicate(spec, context.tenant);
  const [plan] = await context.source.rows(
    `EXPLAIN FORMAT=TRADITIONAL SELECT ${order.join(", ")} FROM ${table} WHERE ${own} ORDER BY ${order.join(", ")}`,
  );
  const access = `${plan?.["type"]} by ${plan?.["key"] ?? "no index"}`;
  // The tenant is not in the database at all, as the optimiser found out by itself.
  if (plan?.["rows"] === null) return { rows: 0, own: 0, why: "plan", access };
  const column = tenantColumn(spec);
  const byIndex = `${quoteIdentifier(column.name)} = ${literal(column, canonicalTenant(column, context.tenant))}`;
  const [counted] = await context.source.rows(
    `SELECT COUNT(*) rows_, COALESCE(SUM(${own}), 0) own_ FROM ${table} WHERE ${byIndex}`,
  );
  const counts = { rows: Number(counted?.["rows_"]), own: Number(counted?.["own_"]) };
  // Where it looks the tenant up, what has the same key for the index is just what is examined: no guess is needed.
  const looksUp =
    plan?.["key"] === spec.pagingIndex && ["ref", "range", "const", "eq_ref"].includes(plan?.["type"] ?? "");
  return looksUp
    ? { ...counts, why: "collation", access }
    : { rows: Number(plan?.["rows"]), own: counts.own, why: "plan", access };
}
