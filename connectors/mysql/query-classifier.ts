import type { QueryEvent } from "./binlog-events.ts";
import { type SqlWord, sqlWords } from "./sql-words.ts";
import { onlyTable } from "./text-dml.ts";

export type TableName = { readonly schema: string; readonly table: string };

/** M8: what a statement in the binlog can do to rows that move. */
export type QueryClass =
  | { readonly kind: "begin" | "commit" | "rollback" | "xa-start" | "xa-other" | "nothing" }
  /** Changes the definition, or all rows, of these tables and of every table in these schemas. */
  | { readonly kind: "ddl"; readonly tables: readonly TableName[]; readonly schemas: readonly string[] }
  /**
   * Changes rows, nobody can say which: anything in these schemas, or anything at all where null. `only`: of this table,
   * and of what hangs on it.
   */
  | { readonly kind: "text"; readonly schemas: readonly string[] | null; readonly only: TableName | null }
  /** A statement that this version does not know: as `text`. */
  | { readonly kind: "unknown"; readonly schemas: readonly string[] | null };

/** Statements that define no table and change no row of one. A trigger's or view's effects are logged as rows. */
const HARMLESS =
  /^(GRANT|REVOKE|FLUSH|ANALYZE|OPTIMIZE|REPAIR|CHECK|INSTALL|UNINSTALL|SET|SAVEPOINT|RELEASE|RESTART|SHUTDOWN|(CREATE|ALTER|DROP|RENAME) (OR REPLACE )?(USER|ROLE|SERVER|RESOURCE|LOGFILE|UNDO|TABLESPACE|EVENT|FUNCTION|AGGREGATE|PROCEDURE|LIBRARY|TRIGGER|VIEW|SQL|SPATIAL REFERENCE|INSTANCE|MASKING|JSON))\b/;
const VIEW_OPTIONS = /^(CREATE|ALTER) (OR REPLACE )?(ALGORITHM|DEFINER|SQL)\b/;
const TEXT_DML = /^(INSERT|REPLACE|UPDATE|DELETE|LOAD|CALL|DO|WITH|SELECT|TABLE|VALUES|IMPORT)\b/;

export function classifyQuery(event: QueryEvent): QueryClass {
  const quick = QUICK[event.text];
  if (quick) return quick;
  const words = sqlWords(event);
  // Bytes of a character set in which a quote can be the second half of a letter: nothing in it is certain.
  if (words === null) return { kind: "unknown", schemas: touched(event) };
  return classify(words, event);
}

const QUICK: Readonly<Record<string, QueryClass>> = {
  BEGIN: { kind: "begin" },
  COMMIT: { kind: "commit" },
  ROLLBACK: { kind: "rollback" },
};

function classify(words: readonly SqlWord[], event: QueryEvent): QueryClass {
  const head = words
    .slice(0, 6)
    .map((word) => (word.quoted ? "`" : word.text.toUpperCase()))
    .join(" ");
  const first = head.split(" ")[0] ?? "";
  if (first === "") return { kind: "nothing" };
  if (first === "BEGIN" || /^START TRANSACTION\b/.test(head)) return { kind: "begin" };
  if (first === "COMMIT") return { kind: "commit" };
  if (first === "ROLLBACK") return /^ROLLBACK (WORK )?TO\b/.test(head) ? { kind: "nothing" } : { kind: "rollback" };
  if (first === "XA") return /^XA (START|BEGIN)\b/.test(head) ? { kind: "xa-start" } : { kind: "xa-other" };
  const reader = new Names(words, event.schema);
  const ddl = readDdl(head, reader);
  if (ddl) return { kind: "ddl", ...ddl };
  if (HARMLESS.test(head) || isViewOrRoutine(head, words)) return { kind: "nothing" };
  if (TEXT_DML.test(head)) return { kind: "text", schemas: touched(event), only: onlyTable(words, event.schema) };
  return { kind: "unknown", schemas: touched(event) };
}

/** What the server itself says was written to; its list covers views, triggers and functions too. */
function touched(event: QueryEvent): readonly string[] | null {
  return event.updatedSchemas;
}

/** `CREATE DEFINER=… VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT`: the kind stands behind the options. */
function isViewOrRoutine(head: string, words: readonly SqlWord[]): boolean {
  if (!VIEW_OPTIONS.test(head)) return false;
  const kind = words.find((word) => !word.quoted && /^(VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|TABLE)$/i.test(word.text));
  return kind !== undefined && kind.text.toUpperCase() !== "TABLE";
}

type Subjects = { readonly tables: readonly TableName[]; readonly schemas: readonly string[] };

function readDdl(head: string, names: Names): Subjects | null {
  const tables = (list: readonly TableName[]): Subjects => ({ tables: list, schemas: [] });
  if (/^DROP (DATABASE|SCHEMA)\b/.test(head)) {
    names.skip("DROP", "DATABASE", "SCHEMA", "IF", "EXISTS");
    return { tables: [], schemas: [names.word()] };
  }
  if (/^(CREATE|ALTER) (DATABASE|SCHEMA)\b/.test(head)) return tables([]); // defaults for tables to come
  if (/^CREATE (TEMPORARY )?TABLE\b/.test(head)) {
    names.skip("CREATE", "TEMPORARY", "TABLE", "IF", "NOT", "EXISTS");
    return /^CREATE TEMPORARY\b/.test(head) ? tables([]) : tables([names.table()]);
  }
  if (/^DROP (TEMPORARY )?TABLES?\b/.test(head)) {
    names.skip("DROP", "TEMPORARY", "TABLE", "TABLES", "IF", "EXISTS");
    return /^DROP TEMPORARY\b/.test(head) ? tables([]) : tables(names.list());
  }
  if (/^TRUNCATE\b/.test(head)) {
    names.skip("TRUNCATE", "TABLE");
    return tables([names.table()]);
  }
  if (/^RENAME TABLES?\b/.test(head)) {
    names.skip("RENAME", "TABLE", "TABLES");
    return tables(names.renames());
  }
  if (/^ALTER TABLE\b/.test(head)) {
    names.skip("ALTER", "TABLE");
    const subject = names.table();
    return tables([subject, ...names.behindWords(["RENAME", "WITH TABLE"])]);
  }
  if (/^(CREATE|DROP) (ONLINE |OFFLINE )?((UNIQUE|FULLTEXT|SPATIAL) )?INDEX\b/.test(head)) {
    return tables(names.behindWords(["ON"]).slice(0, 1));
  }
  return null;
}

/** Reads table names off a statement's words. */
class Names {
  readonly #words: readonly SqlWord[];
  readonly #schema: string;
  #at = 0;

  constructor(words: readonly SqlWord[], schema: string) {
    this.#words = words;
    this.#schema = schema;
  }

  skip(...keywords: readonly string[]): void {
    while (keywords.some((keyword) => this.#is(this.#at, keyword))) this.#at++;
  }

  word(): string {
    return this.#words[this.#at++]?.text ?? "";
  }

  table(): TableName {
    // `.t` is a name in the session's schema, as ODBC writes it.
    if (this.#words[this.#at]?.text === "." && !this.#words[this.#at]?.quoted) this.#at++;
    const name = this.word();
    if (!this.#is(this.#at, ".")) return { schema: this.#schema, table: name };
    this.#at++;
    return { schema: name, table: this.word() };
  }

  list(): readonly TableName[] {
    const tables = [this.table()];
    while (this.#is(this.#at, ",")) {
      this.#at++;
      tables.push(this.table());
    }
    return tables;
  }

  renames(): readonly TableName[] {
    const tables: TableName[] = [];
    do {
      this.skip(",");
      tables.push(this.table());
      this.skip("TO");
      tables.push(this.table());
    } while (this.#is(this.#at, ","));
    return tables;
  }

  /** The tables that stand behind `RENAME [TO|AS]`, `WITH TABLE` or `ON`, wherever in the statement. */
  behindWords(openers: readonly string[]): readonly TableName[] {
    const tables: TableName[] = [];
    for (let i = this.#at; i < this.#words.length; i++) {
      const opener = openers.find((words) => words.split(" ").every((word, n) => this.#is(i + n, word)));
      if (!opener) continue;
      this.#at = i + opener.split(" ").length;
      if (opener === "RENAME") {
        if (["COLUMN", "INDEX", "KEY"].some((word) => this.#is(this.#at, word))) continue;
        this.skip("TO", "AS");
      }
      tables.push(this.table());
    }
    return tables;
  }

  #is(at: number, keyword: string): boolean {
    const word = this.#words[at];
    return word !== undefined && !word.quoted && word.text.toUpperCase() === keyword;
  }
}
