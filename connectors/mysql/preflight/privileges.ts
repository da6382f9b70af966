/** What SHOW GRANTS says, as far as the checks ask. A privilege with a column list counts for those columns only. */
export type HeldGrant = {
  readonly privileges: ReadonlySet<string>;
  /** Null is `*`. In a grant on a whole schema `_` and `%` are wildcards unless behind a backslash. */
  readonly schema: string | null;
  readonly table: string | null;
  /** A partial revoke: takes away what a global grant gave. */
  readonly revoked: "granted" | "revoked";
};

const LINE = /^(GRANT|REVOKE) (.+?) ON (?:TABLE )?(\*|`(?:[^`]|``)*`)\.(\*|`(?:[^`]|``)*`) (?:TO|FROM) /;

export function parseGrants(lines: readonly string[]): readonly HeldGrant[] {
  return lines.flatMap((line): readonly HeldGrant[] => {
    const [, verb, list, schema, table] = LINE.exec(line) ?? [];
    if (!verb || !list || !schema || !table) return [];
    return [
      {
        privileges: new Set(splitPrivileges(list)),
        schema: unquoted(schema),
        table: unquoted(table),
        revoked: verb === "REVOKE" ? "revoked" : "granted",
      },
    ];
  });
}

/** Global privileges that no grant on a schema can give. */
const GLOBAL_ONLY: ReadonlySet<string> = new Set([
  "REPLICATION SLAVE",
  "REPLICATION CLIENT",
  "PROCESS",
  "XA_RECOVER_ADMIN",
]);

/** `on` is `*.*`, `schema.*` or `schema.table`. */
export function holds(grants: readonly HeldGrant[], privilege: string, on: string): boolean {
  const dot = on.indexOf(".");
  const [schema, table] = [on.slice(0, dot), on.slice(dot + 1)];
  const given = grants.some((grant) => grant.revoked === "granted" && covers(grant, privilege, schema, table));
  const taken = grants.some((grant) => grant.revoked === "revoked" && grant.schema === schema && has(grant, privilege));
  const again = grants.some(
    (grant) => grant.revoked === "granted" && grant.schema !== null && covers(grant, privilege, schema, table),
  );
  return given && (!taken || again);
}

function covers(grant: HeldGrant, privilege: string, schema: string, table: string): boolean {
  if (!has(grant, privilege)) return false;
  if (grant.schema === null) return true;
  if (schema === "*" || GLOBAL_ONLY.has(privilege)) return false;
  if (grant.table === null) return likeMatches(grant.schema, schema);
  return grant.schema === schema && grant.table === table;
}

function has(grant: HeldGrant, privilege: string): boolean {
  if (grant.privileges.has(privilege) || grant.privileges.has("ALL PRIVILEGES") || grant.privileges.has("ALL"))
    return true;
  const columns = /^(\w+) \((.+)\)$/.exec(privilege);
  if (!columns) return false;
  const [, verb, wanted] = columns;
  if (verb && grant.privileges.has(verb)) return true;
  const sorted = (text: string) => text.replaceAll("`", "").split(", ").sort().join(", ");
  return [...grant.privileges].some((held) => {
    const [, heldVerb, heldColumns] = /^(\w+) \((.+)\)$/.exec(held) ?? [];
    if (heldVerb !== verb || !heldColumns || !wanted) return false;
    const there = new Set(sorted(heldColumns).split(", "));
    return sorted(wanted)
      .split(", ")
      .every((name) => there.has(name));
  });
}

/** MySQL's LIKE over a schema's name, as grants are matched. */
export function likeMatches(pattern: string, name: string): boolean {
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] ?? "";
    if (char === "\\" && i + 1 < pattern.length) source += escapeRegExp(pattern[++i] ?? "");
    else if (char === "%") source += ".*";
    else if (char === "_") source += ".";
    else source += escapeRegExp(char);
  }
  return new RegExp(`^${source}$`, "s").test(name);
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
}

/** Splits at commas outside column lists. */
function splitPrivileges(list: string): readonly string[] {
  return list
    .split(/, (?![^(]*\))|,(?=[A-Z_]+(?:,|$))/)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function unquoted(name: string): string | null {
  return name === "*" ? null : name.slice(1, -1).replaceAll("``", "`");
}
