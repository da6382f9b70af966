import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { coveredNames, listed, liveTable, type MysqlPreflightContext } from "./context.ts";
import { versionAtLeast } from "./server-facts.ts";

type C = MysqlPreflightContext;

/** A9: a trigger in the target would write again what the source's own triggers wrote, or what nobody moved. */
const targetTriggers: Check<C> = {
  id: "mysql.target-trigger",
  rule: "A9",
  when: ["preflight", "gate"],
  run: async (context) =>
    coveredNames(context).flatMap((name): readonly Finding[] => {
      const table = liveTable(context, "target", name.schema, name.name);
      if (!table || table.triggers.length === 0) return [];
      return [
        {
          id: "mysql.target-trigger",
          severity: "error",
          subject: `${context.target.label} ${table.schema}.${table.name}`,
          finding: `The target table has triggers: ${listed(table.triggers, context.limits.listedKeys)}. They would fire for every row that is applied.`,
          remedy: "Drop them in the target for the time of the move; keep SHOW CREATE TRIGGER to make them again.",
          rule: "A9",
        },
      ];
    }),
};

const CHANGES_CHILDREN = /^(CASCADE|SET NULL|SET DEFAULT)$/;

/** Up to 9.6 InnoDB changed the children itself, and the binary log never heard of it. */
const silentCascades: Check<C> = {
  id: "mysql.silent-cascade",
  rule: "A9",
  when: ["preflight", "gate"],
  run: async (context) => {
    const logged =
      versionAtLeast(await context.source.variable("version"), 9, 6) &&
      (await context.source.variable("innodb_native_foreign_keys")) === "OFF";
    if (logged) return [];
    return coveredNames(context).flatMap((name) =>
      (liveTable(context, "source", name.schema, name.name)?.foreignKeys ?? [])
        .filter((key) => CHANGES_CHILDREN.test(key.onDelete) || CHANGES_CHILDREN.test(key.onUpdate))
        .map(
          (key): Finding => ({
            id: "mysql.silent-cascade",
            severity: "error",
            subject: `${context.source.label} ${name.schema}.${name.name} ${key.name}`,
            finding: `ON DELETE ${key.onDelete} ON UPDATE ${key.onUpdate} from ${key.parentSchema}.${key.parent}: this server does not log what the cascade changes.`,
            remedy:
              "Replace the cascade by RESTRICT and change the children in the application, or move from MySQL 9.6 or later with innodb_native_foreign_keys=OFF.",
            rule: "A9",
          }),
        ),
    );
  },
};

/** Rows that lead out of what moves would point at nothing in the target. */
const outsideParents: Check<C> = {
  id: "mysql.parent-not-moved",
  rule: "T2",
  when: ["preflight"],
  run: async (context) => {
    const kinds = new Map(
      context.schemas.flatMap((schema) =>
        schema.tables.map((table): [string, string] => [`${schema.source}.${table.name}`, table.belonging.kind]),
      ),
    );
    return coveredNames(context).flatMap((name) =>
      (liveTable(context, "source", name.schema, name.name)?.foreignKeys ?? []).flatMap((key): readonly Finding[] => {
        const kind = kinds.get(`${key.parentSchema}.${key.parent}`);
        if (kind === "root" || kind === "column" || kind === "reference") return [];
        return [
          {
            id: "mysql.parent-not-moved",
            severity: "error",
            subject: `${context.source.label} ${name.schema}.${name.name} ${key.name}`,
            finding: `The table refers to ${key.parentSchema}.${key.parent}, which ${kind === "ignore" ? "the manifest ignores" : "is not in the manifest"}.`,
            remedy: `Classify ${key.parent} as a table that moves, or as reference: {reference: true}.`,
            rule: "T2",
          },
        ];
      }),
    );
  },
};

export const sideEffectChecks: readonly Check<C>[] = [targetTriggers, silentCascades, outsideParents];
