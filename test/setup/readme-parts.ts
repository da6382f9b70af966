import { COMMANDS } from "../../cli/commands.ts";
import { COLUMN_TYPES, type TypeRule } from "../../connectors/mysql/column-types.ts";
import { type Grant, grantSql, sourceGrants, targetGrants } from "../../connectors/mysql/grants.ts";
import { VARIABLE_RULES } from "../../connectors/mysql/preflight/server-variables.ts";
import { serverConfigJsonSchema } from "../../console/server-config-file.ts";
import { CONSENTS } from "../../pipeline/consents.ts";
import { PROBLEMS } from "../../pipeline/errors.ts";
import { manifestJsonSchema } from "../../pipeline/manifest.ts";
import { cell, configTable, type SchemaNode } from "./config-table.ts";

/** What the README's generated parts must say, by the name in their markers. */
export const README_PARTS: Readonly<Record<string, () => string | Promise<string>>> = {
  grants: grantParts,
  settings: settingsTable,
  consents: consentTable,
  "column-types": columnTypes,
  commands: commandTable,
  "server-configuration": () => configTable(serverConfigJsonSchema() as SchemaNode),
  manifest: () => configTable(manifestJsonSchema() as SchemaNode),
  errors: errorTable,
};

/** The text between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; null where the markers are missing. */
export function partOf(readme: string, name: string): string | null {
  return pattern(name).exec(readme)?.[2]?.trim() ?? null;
}

export function withPart(readme: string, name: string, text: string): string {
  return readme.replace(pattern(name), (_, begin: string, __: string, end: string) => `${begin}\n${text}\n${end}`);
}

export function partNames(readme: string): string[] {
  return [...readme.matchAll(/^<!-- generated: (\S+) -->$/gm)].map((match) => match[1] ?? "");
}

function pattern(name: string): RegExp {
  return new RegExp(`(<!-- generated: ${name} -->\\n)([\\s\\S]*?)(\\n<!-- end: ${name} -->)`);
}

function grantParts(): string {
  const plan = { account: "'dray'@'%'", draySchema: "dray", schemas: ["shop"] };
  const block = (side: string, grants: readonly Grant[]): string[] => [
    `-- on the ${side}`,
    ...grants.map((grant) => `${grantSql(grant, plan.account)};  -- ${grant.why}`),
  ];
  return [
    "```sql",
    ...block("cluster that tenants leave", sourceGrants(plan)),
    ...block("cluster that tenants go to", targetGrants(plan)),
    "```",
  ].join("\n");
}

function settingsTable(): string {
  const sides = (on: readonly string[]): string => (on.length > 1 ? "both" : (on[0] ?? ""));
  const rows = VARIABLE_RULES.map(({ names, wanted, on, severity, why }) => {
    const value = wanted[0] === "" ? "(empty)" : `\`${wanted[0]}\``;
    return `| \`${names[0]}\` | ${value} | ${sides(on)} | ${severity ?? "error"} | ${cell(why)} |`;
  });
  return ["| setting | wanted | on | otherwise | why |", "|---|---|---|---|---|", ...rows].join("\n");
}

function consentTable(): string {
  const rows = Object.entries(CONSENTS).map(([name, what]) => `| \`${name}\` | ${cell(what)} |`);
  return ["| consent | to what |", "|---|---|", ...rows].join("\n");
}

const IN_KEYS = { ordered: "yes", equal: "yes", no: "no" } as const;

function columnTypes(): string {
  const byRule = new Map<TypeRule, string[]>();
  for (const [type, rule] of Object.entries(COLUMN_TYPES)) byRule.set(rule, [...(byRule.get(rule) ?? []), type]);
  const rows = [...byRule].map(([rule, types]) => {
    const names = types.map((type) => type.toUpperCase()).join(", ");
    if (rule.accepted) return `| ${names} | carried | ${IN_KEYS[rule.key]} | ${cell(rule.note)} |`;
    return `| ${names} | refused | no | ${cell(`${rule.reason}: ${rule.remedy}`)} |`;
  });
  return ["| types | | in a primary key | how |", "|---|---|---|---|", ...rows].join("\n");
}

async function commandTable(): Promise<string> {
  const rows: string[] = [];
  for (const [name, load] of Object.entries(COMMANDS)) {
    const { summary, flags, options } = (await load()).default;
    const words = Object.entries<string>(flags).map(([option, flag]) => {
      const needed = options.shape[option]?.safeParse(undefined).success === false;
      return needed || !flag.startsWith("-") ? flag : `[${flag}]`;
    });
    rows.push(`| \`${cell(["dray", name, ...words].join(" "))}\` | ${cell(summary)} |`);
  }
  return ["| command | what it does |", "|---|---|", ...rows].join("\n");
}

const RETRIES = { never: "no", backoff: "by itself", reopen: "by itself", recopy: "after a new copy" } as const;

function errorTable(): string {
  const rows = Object.entries(PROBLEMS).map(([code, { retry, remedy }]) => {
    return `| \`${code}\` | ${RETRIES[retry]} | ${cell(remedy)} |`;
  });
  return ["| code | tried again | what to do |", "|---|---|---|", ...rows].join("\n");
}
