import { DrayError } from "../../pipeline/errors.ts";

export type BoundStatement = { readonly sql: string; readonly parameters: readonly (string | number)[] };

/** Quoted text, quoted names and comments are stepped over; what is left may hold `:name`. */
const TOKENS =
  /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|`(?:[^`]|``)*`|--[ \t][^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/|\?|:([A-Za-z_][A-Za-z0-9_]*)/g;

/** Only these can stand in a transaction and be rolled back; DDL, SET and CALL may commit behind our back. */
const ALLOWED = /^\s*(?:\(\s*)*(INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH)\b/i;

/**
 * `:tenant` and the like become parameters, never text of the statement. Throws SQL_ADAPTER_STATEMENT for an unknown
 * name, a bare `?`, several statements in one, and a statement that cannot be rolled back.
 */
export function bindNamed(statement: string, values: Readonly<Record<string, string | number>>): BoundStatement {
  const refuse = (why: string) => new DrayError("SQL_ADAPTER_STATEMENT", { statement, why });
  if (!ALLOWED.test(statement))
    throw refuse("only INSERT, UPDATE, DELETE, REPLACE, SELECT and WITH can be rolled back");
  const parameters: (string | number)[] = [];
  const sql = statement.replace(TOKENS, (token: string, name: string | undefined) => {
    if (token === "?") throw refuse("a bare ? stands for nothing; use :tenant, :move, :to or :generation");
    if (name === undefined) return token;
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined)
      throw refuse(
        `:${name} is not known; known are ${Object.keys(values)
          .map((known) => `:${known}`)
          .join(", ")}`,
      );
    parameters.push(value);
    return "?";
  });
  if (/;\s*\S/.test(sql.replace(TOKENS, ""))) throw refuse("one statement at a time");
  return { sql, parameters };
}
