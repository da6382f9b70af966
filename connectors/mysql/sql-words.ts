/** A name, keyword, number or single sign of a statement. Strings and comments are left out. */
export type SqlWord = { readonly text: string; readonly quoted: boolean };

export type SqlText = {
  readonly text: string;
  readonly ansiQuotes: boolean;
  readonly noBackslashEscapes: boolean;
  /** The client's character set by number; null where unknown. */
  readonly charset: number | null;
};

/** big5, sjis, gbk, cp932, gb18030 and their collations: a letter's second byte may be a quote or a backslash. */
const UNSAFE_CHARSETS = new Set([1, 84, 13, 88, 28, 87, 95, 96, 248, 249, 250]);

const NAME = /[0-9A-Za-z_$\u0080-\uffff]/;

/**
 * The statement's words, `/*! … *\/` comments opened as the server does. Null where it cannot be cut exactly. A string in
 * double quotes is a name under ANSI_QUOTES.
 */
export function sqlWords(sql: SqlText): readonly SqlWord[] | null {
  const { text } = sql;
  // A replacement character stands for a byte that was not UTF-8.
  if (sql.charset !== null && UNSAFE_CHARSETS.has(sql.charset) && /[^\0-\x7f]/.test(text)) return null;
  const words: SqlWord[] = [];
  let inVersionComment = false;
  for (let at = 0; at < text.length; ) {
    const char = text[at] as string;
    const two = text.slice(at, at + 2);
    if (/\s/.test(char)) at++;
    else if (char === "#" || (two === "--" && /\s|^$/.test(text[at + 2] ?? ""))) at = lineEnd(text, at);
    else if (two === "/*") {
      const version = /^\/\*!(\d{5,6})?/.exec(text.slice(at, at + 9));
      if (version) {
        inVersionComment = true;
        at += version[0].length;
        continue;
      }
      const end = text.indexOf("*/", at + 2);
      if (end < 0) return null;
      at = end + 2;
    } else if (two === "*/" && inVersionComment) {
      inVersionComment = false;
      at += 2;
    } else if (char === "'" || char === '"' || char === "`") {
      const isName = char === "`" || (char === '"' && sql.ansiQuotes);
      const quoted = readQuoted(text, at, char, !isName && !sql.noBackslashEscapes);
      if (!quoted) return null;
      if (isName) words.push({ text: quoted.value, quoted: true });
      at = quoted.next;
    } else if (NAME.test(char)) {
      let end = at + 1;
      while (end < text.length && NAME.test(text[end] as string)) end++;
      words.push({ text: text.slice(at, end), quoted: false });
      at = end;
    } else {
      words.push({ text: char, quoted: false });
      at++;
    }
  }
  return words;
}

/** The statement's beginning for an error: every string and number is `?`, comments are gone (K5). */
export function statementHead(sql: SqlText): string {
  const words = sqlWords(sql);
  if (words === null) return "(a statement in a character set that cannot be shown)";
  const shown = words.slice(0, 24).map((word) => (word.quoted ? `\`${word.text}\`` : word.text.replace(/^\d.*/, "?")));
  return shown
    .join(" ")
    .replaceAll(/ ?([.,()]) ?/g, "$1")
    .slice(0, 200);
}

function readQuoted(text: string, start: number, quote: string, backslash: boolean) {
  let value = "";
  for (let at = start + 1; at < text.length; at++) {
    const char = text[at] as string;
    if (char === "\\" && backslash) at++;
    else if (char !== quote) value += char;
    else if (text[at + 1] === quote) {
      value += quote;
      at++;
    } else return { value, next: at + 1 };
  }
  return null;
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end + 1;
}
