import { stringify } from "yaml";
import type { LiveTable } from "./live-schema.ts";

export type Guess =
  | { readonly kind: "root" }
  | { readonly kind: "column"; readonly column: string }
  /** Nothing is assumed: a person decides, and until then `manifest check` refuses the table. */
  | { readonly kind: "unclear"; readonly decide: string };

export type GuessedTable = { readonly table: LiveTable; readonly guess: Guess };

/** Names that tenants' columns commonly have; the one that most tables have is taken. */
const TENANT_NOUNS = [
  ["tenant", "account", "org", "organization", "organisation", "workspace", "customer"],
  ["company", "team", "shop", "store", "site", "project", "client"],
].flat();

/** Only what names and keys show plainly is guessed (T2). */
export function guessBelonging(tables: readonly LiveTable[]): readonly GuessedTable[] {
  const column = tenantColumnOf(tables);
  const root = column === null ? null : rootOf(tables, column);
  return tables.map((table) => ({ table, guess: guessOne(table, { tables, column, root }) }));
}

type Clues = {
  readonly tables: readonly LiveTable[];
  readonly column: string | null;
  readonly root: LiveTable | null;
};

function guessOne(table: LiveTable, { tables, column, root }: Clues): Guess {
  if (table === root) return { kind: "root" };
  if (column !== null && table.columns.includes(column)) return { kind: "column", column };
  const parents = table.references.map((reference) => `${reference.schema}.${reference.table}`);
  const owned = parents.filter((parent) => {
    const found = tables.find((other) => `${other.schema}.${other.name}` === parent);
    return found !== undefined && (found === root || (column !== null && found.columns.includes(column)));
  });
  if (owned.length > 0) {
    const through = `its rows belong to a tenant through ${owned.join(", ")}, which this version cannot follow`;
    return { kind: "unclear", decide: `${through}: add a tenant column to it, or {ignore: REASON}` };
  }
  return {
    kind: "unclear",
    decide: "{reference: true} if all tenants share its rows, {column: NAME} or {ignore: REASON}",
  };
}

function tenantColumnOf(tables: readonly LiveTable[]): string | null {
  const candidates = new Map<string, number>();
  for (const table of tables) {
    for (const column of table.columns) {
      const noun = nounOf(column);
      if (noun !== null) candidates.set(column, (candidates.get(column) ?? 0) + 1);
    }
  }
  const rank = (column: string) => TENANT_NOUNS.indexOf(nounOf(column) ?? "");
  const best = [...candidates].toSorted(([a, countA], [b, countB]) => countB - countA || rank(a) - rank(b))[0];
  return best?.[0] ?? null;
}

function nounOf(column: string): string | null {
  const lower = column.toLowerCase();
  const noun = /^(.+?)_?(?:id|key|uuid)$/.exec(lower)?.[1] ?? (lower === "tenant" ? lower : null);
  return noun !== null && TENANT_NOUNS.includes(noun) ? noun : null;
}

/** The table whose one-column primary key the tenant column refers to: by a foreign key, else by its name. */
function rootOf(tables: readonly LiveTable[], column: string): LiveTable | null {
  const alone = tables.filter((table) => table.primaryKey.length === 1 && !table.columns.includes(column));
  const votes = (candidate: LiveTable): number =>
    tables.filter((table) =>
      table.references.some(
        (reference) =>
          reference.columns.length === 1 &&
          reference.columns[0] === column &&
          reference.schema === candidate.schema &&
          reference.table === candidate.name &&
          reference.referencedColumns[0] === candidate.primaryKey[0],
      ),
    ).length;
  const referenced = alone.filter((table) => votes(table) > 0).toSorted((a, b) => votes(b) - votes(a))[0];
  if (referenced !== undefined) return referenced;
  const noun = nounOf(column);
  const names = noun === null ? [] : [noun, `${noun}s`, noun.replace(/y$/, "ies")];
  return alone.find((table) => names.includes(table.name.toLowerCase())) ?? null;
}

/** A manifest to go on with: what was guessed stands in it, what is unclear is a comment with what to decide. */
export function writeManifest(name: string, guesses: readonly GuessedTable[]): string {
  const lines = [
    `name: ${scalar(name)}`,
    "stores:",
    "  main:",
    "    kind: mysql",
    "    schemas:",
    ...[...new Set(guesses.map(({ table }) => table.schema))].flatMap((schema) => schemaLines(schema, guesses)),
    "fence:",
    "  # What stops the tenant's writes at the source, in order: names of `adapters` of the server configuration.",
    "  steps: [{adapter: router}]",
    "  # DECIDE: the longest time, in ms, that the application may act on a stale flag. There is no default:",
    "  # grace_ms: 100",
    "routing:",
    "  # What sends the tenant to its new home, in order.",
    "  - adapter: router",
  ];
  return `${lines.join("\n")}\n`;
}

function schemaLines(schema: string, guesses: readonly GuessedTable[]): string[] {
  const lines = [`      ${scalar(schema)}:`, "        tables:"];
  const own = guesses.filter(({ table }) => table.schema === schema);
  for (const { table, guess } of own) lines.push(`          ${tableLine(table.name, guess)}`);
  if (own.every(({ guess }) => guess.kind === "unclear")) lines[1] = "        tables: {}";
  return lines;
}

/** The line that classifies a table. For one that is unclear: a comment, so that it stays unclassified. */
export function tableLine(name: string, guess: Guess): string {
  if (guess.kind === "unclear") return `# DECIDE ${scalar(name)}: ${guess.decide}`;
  return `${scalar(name)}: ${guess.kind === "root" ? "{root: true}" : `{column: ${scalar(guess.column)}}`}`;
}

function scalar(text: string): string {
  return stringify(text, { lineWidth: 0 }).trimEnd();
}
