import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { sourceTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import type { TableSpec } from "../table-spec.ts";
import { columnNamed, tenantColumn } from "../table-spec.ts";
import { tenantPredicate } from "../tenant-key.ts";
import { liveTable, type MysqlPreflightContext } from "./context.ts";
import { type LiveTable, primaryKeyOf } from "./live-schema.ts";

type C = MysqlPreflightContext;

/** C9: how it is known that no id of one side meets one of the other. */
export type KeyClass =
  | { readonly kind: "tenant-in-key" | "globally-unique" | "disjoint-by-offset" | "of-parent"; readonly why: string }
  | { readonly kind: "colliding" | "unknown"; readonly why: string };

export type IdSteps = { readonly increment: bigint; readonly offset: bigint };

/** Two arithmetic progressions meet exactly where the greatest common divisor of their steps divides their distance. */
export function disjoint(a: IdSteps, b: IdSteps): boolean {
  // The server ignores an offset above its increment, so nothing can be said of what it gives out.
  if (a.offset > a.increment || b.offset > b.increment) return false;
  let [x, y] = [a.increment, b.increment];
  while (y !== 0n) [x, y] = [y, x % y];
  return x > 1n && (a.offset - b.offset) % x !== 0n;
}

const keyClasses: Check<C> = {
  id: "mysql.key-class",
  rule: "C9",
  when: ["preflight"],
  run: async (context) => {
    const steps = { source: await idSteps(context, "source"), target: await idSteps(context, "target") };
    return context.specs.map((spec): Finding => {
      const found = classOf(context, spec, steps, new Set());
      const consented = found.kind === "unknown" && context.consents.has("ids-globally-unique");
      const refused = (found.kind === "colliding" || found.kind === "unknown") && !consented;
      return {
        id: "mysql.key-class",
        severity: refused ? "error" : "info",
        subject: `${spec.schema}.${spec.name} (${spec.primaryKey.join(", ")})`,
        finding: consented
          ? `Ids are globally unique by the operator's word; ${found.why}.`
          : `Ids are ${TEXT[found.kind]}: ${found.why}.`,
        remedy: refused ? REMEDY[found.kind === "colliding" ? "colliding" : "unknown"] : "None needed.",
        rule: "C9",
      };
    });
  },
};

const TEXT: Readonly<Record<KeyClass["kind"], string>> = {
  "tenant-in-key": "the tenant's own",
  "globally-unique": "globally unique",
  "disjoint-by-offset": "disjoint on the two clusters",
  "of-parent": "those of their parent",
  colliding: "colliding",
  unknown: "of unknown origin",
};

const REMEDY = {
  colliding:
    "Set auto_increment_increment=2 on both clusters and auto_increment_offset=1 and 2 (in their configuration too), let open sessions reconnect, and move tenants only after that; or put the tenant into the primary key.",
  unknown:
    "If the application makes these ids unique over all clusters, name the consent ids-globally-unique in the manifest; else put the tenant into the primary key.",
} as const;

function classOf(
  context: C,
  spec: TableSpec,
  steps: { readonly source: IdSteps; readonly target: IdSteps },
  seen: ReadonlySet<string>,
): KeyClass {
  const key = spec.primaryKey;
  if (key.includes(tenantColumn(spec).name)) {
    return { kind: "tenant-in-key", why: `${tenantColumn(spec).name} is part of the primary key` };
  }
  const live = liveTable(context, "source", spec.schema, spec.name);
  const parent = live && parentInKey(context, live, key, seen);
  if (parent) {
    const above = classOf(context, parent, steps, new Set([...seen, `${spec.schema}.${spec.name}`]));
    if (above.kind !== "colliding" && above.kind !== "unknown") {
      return { kind: "of-parent", why: `the key holds the id of ${parent.schema}.${parent.name}, whose ${above.why}` };
    }
  }
  const counted = live?.columns.find((column) => column.autoIncrement && key.includes(column.name));
  if (counted) {
    const both = `auto_increment increment/offset is ${show(steps.source)} at the source and ${show(steps.target)} at the target`;
    return disjoint(steps.source, steps.target)
      ? { kind: "disjoint-by-offset", why: both }
      : { kind: "colliding", why: `${both}, so both give out the same ids` };
  }
  const unique = key.find((name) =>
    /^(binary\(16\)|(var)?char\((26|32|36)\))$/.test(columnNamed(spec, name).columnType),
  );
  if (unique)
    return {
      kind: "globally-unique",
      why: `${unique} is ${columnNamed(spec, unique).columnType}, a UUID or ULID by its length`,
    };
  return { kind: "unknown", why: `nothing in the schema says who makes ${key.join(", ")}` };
}

function parentInKey(context: C, live: LiveTable, key: readonly string[], seen: ReadonlySet<string>): TableSpec | null {
  for (const foreign of live.foreignKeys) {
    if (!foreign.columns.every((name) => key.includes(name)) || seen.has(`${foreign.parentSchema}.${foreign.parent}`))
      continue;
    const parent = context.specs.find((spec) => spec.schema === foreign.parentSchema && spec.name === foreign.parent);
    const whole = parent && parent.primaryKey.join() === foreign.parentColumns.join();
    if (whole && `${live.schema}.${live.name}` !== `${parent.schema}.${parent.name}`) return parent;
  }
  return null;
}

async function idSteps(context: C, side: "source" | "target"): Promise<IdSteps> {
  return {
    increment: BigInt((await context[side].variable("auto_increment_increment")) ?? "1"),
    offset: BigInt((await context[side].variable("auto_increment_offset")) ?? "1"),
  };
}

function show(steps: IdSteps): string {
  return `${steps.increment}/${steps.offset}`;
}

const INTEGER_BITS: Readonly<Record<string, number>> = { tinyint: 8, smallint: 16, mediumint: 24, int: 32, bigint: 64 };

/** The share of an integer type that ids up to `id` use, in percent. */
export function sharePercent(id: bigint, columnType: string): number {
  const name = /^[a-z]+/.exec(columnType)?.[0] ?? "";
  const bits = INTEGER_BITS[name];
  if (bits === undefined) return 0;
  const most = columnType.includes("unsigned") ? 2n ** BigInt(bits) - 1n : 2n ** BigInt(bits - 1) - 1n;
  return Number((id * 10_000n) / most) / 100;
}

/** C9: the counter before and after, since the target gives out ids above the highest that was moved there. */
const counters: Check<C> = {
  id: "mysql.id-counter",
  rule: "C9",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const spec of context.specs) {
      const live = liveTable(context, "target", spec.schema, spec.name);
      const column = live && primaryKeyOf(live) && live.columns.find((candidate) => candidate.autoIncrement);
      if (!column) continue;
      const [row] = await context.source.rows(
        `SELECT CAST(MAX(${quoteIdentifier(column.name)}) AS CHAR) highest_ FROM ${sourceTable(spec)} WHERE ${tenantPredicate(spec, context.tenant)}`,
      );
      const before = live.counter ?? 1n;
      const behindTenant = BigInt(row?.["highest_"] ?? "0") + 1n;
      const after = before > behindTenant ? before : behindTenant;
      const share = sharePercent(after, column.type);
      findings.push({
        id: "mysql.id-counter",
        severity: share > 50 ? "error" : "info",
        subject: `${context.target.label} ${live.schema}.${live.name}.${column.name}`,
        finding: `The next id is ${before} before the move and ${after} after it: ${share.toFixed(2)}% of ${column.type}.`,
        remedy: share > 50 ? "Make the column wider (BIGINT UNSIGNED) on both sides before the move." : "None needed.",
        rule: "C9",
      });
    }
    return findings;
  },
};

export const keyClassChecks: readonly Check<C>[] = [keyClasses, counters];
