import type { TableName } from "./query-classifier.ts";
import type { SqlWord } from "./sql-words.ts";

/** What may stand before `(`: no stored function can have these names, or take their place unqualified. */
const OWN_WORDS: ReadonlySet<string> = new Set(
  (
    "VALUES VALUE IN AND OR XOR NOT BETWEEN LIKE IS WHERE WHEN THEN ELSE CASE SET BY ON INTERVAL DIV MOD " +
    "NOW CURRENT_TIMESTAMP CURDATE CURTIME UTC_TIMESTAMP DATE_ADD DATE_SUB UNIX_TIMESTAMP FROM_UNIXTIME IF IFNULL NULLIF " +
    "COALESCE CONCAT CONCAT_WS LENGTH CHAR_LENGTH LOWER UPPER TRIM LEFT RIGHT SUBSTRING REPLACE ABS FLOOR CEILING ROUND " +
    "GREATEST LEAST CAST CONVERT HEX UNHEX DATE MD5 SHA1 SHA2"
  ).split(" "),
);
/** Statements with these read or write more than one table, or call what does. */
const REFUSED: ReadonlySet<string> = new Set(["SELECT", "TABLE", "WITH", "JOIN", "USING", "PARTITION", "CALL", "AS"]);
const OPTIONS = ["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE"];

/**
 * The one table that a simple INSERT, REPLACE, UPDATE or DELETE names, by itself and without calling any function that
 * could be a stored one; null for every other statement. What hangs on that table, a trigger or a foreign key, and
 * whether it is one, no statement says.
 */
export function onlyTable(words: readonly SqlWord[], schema: string): TableName | null {
  if (words.some((word) => !word.quoted && REFUSED.has(word.text.toUpperCase()))) return null;
  const reader = new Reader(words);
  const verb = reader.keyword(["INSERT", "REPLACE", "UPDATE", "DELETE"]);
  if (verb === null) return null;
  while (reader.keyword(OPTIONS) !== null);
  if (verb === "DELETE" ? reader.keyword(["FROM"]) === null : verb !== "UPDATE" && reader.keyword(["INTO"]) === null) {
    return null;
  }
  const target = reader.name(schema);
  if (target === null) return null;
  if (verb === "INSERT" || verb === "REPLACE") {
    if (!reader.columnList() || reader.keyword(["VALUES", "VALUE", "SET"]) === null) return null;
  } else if (verb === "UPDATE") {
    if (reader.keyword(["SET"]) === null) return null;
  } else if (!reader.isAtEnd && reader.keyword(["WHERE", "ORDER", "LIMIT"]) === null) return null;
  return reader.callsNothing() ? target : null;
}

class Reader {
  readonly #words: readonly SqlWord[];
  #at = 0;

  constructor(words: readonly SqlWord[]) {
    this.#words = words;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#words.length;
  }

  keyword(wanted: readonly string[]): string | null {
    const word = this.#words[this.#at];
    const text = word && !word.quoted ? word.text.toUpperCase() : null;
    if (text === null || !wanted.includes(text)) return null;
    this.#at++;
    return text;
  }

  name(schema: string): TableName | null {
    const first = this.#nameWord();
    if (first === null) return null;
    if (!this.#isSign(this.#at, ".")) return { schema, table: first };
    this.#at++;
    const second = this.#nameWord();
    return second === null ? null : { schema: first, table: second };
  }

  /** `(a, b, …)` or nothing; false for anything else in brackets. */
  columnList(): boolean {
    if (!this.#isSign(this.#at, "(")) return true;
    for (this.#at++; !this.isAtEnd; this.#at++) {
      if (this.#isSign(this.#at, ")")) {
        this.#at++;
        return true;
      }
      if (!this.#isSign(this.#at, ",") && this.#nameWord(this.#at) === null) return false;
    }
    return false;
  }

  /** Nothing in the rest of the statement can be a call of a stored function. */
  callsNothing(): boolean {
    for (let at = this.#at; at < this.#words.length; at++) {
      if (!this.#isSign(at, "(")) continue;
      const before = this.#words[at - 1];
      if (!before || (!before.quoted && !isName(before.text))) continue;
      const qualified = this.#isSign(at - 2, ".");
      if (before.quoted || qualified || !OWN_WORDS.has(before.text.toUpperCase())) return false;
    }
    return true;
  }

  #nameWord(at?: number): string | null {
    const word = this.#words[at ?? this.#at];
    if (!word || (!word.quoted && !isName(word.text))) return null;
    if (at === undefined) this.#at++;
    return word.text;
  }

  #isSign(at: number, sign: string): boolean {
    const word = this.#words[at];
    return word !== undefined && !word.quoted && word.text === sign;
  }
}

function isName(text: string): boolean {
  return /^[0-9A-Za-z_$\u0080-\uffff]+$/.test(text);
}
