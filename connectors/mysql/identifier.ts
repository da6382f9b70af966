/**
 * The one quoting function (A6): every identifier in every statement passes it. MySQL refuses NUL in identifiers, so a
 * name that holds one is refused here too.
 */
export function quoteIdentifier(name: string): string {
  if (name === "" || name.includes("\u0000")) throw new RangeError("not an identifier: empty, or holds NUL");
  return `\`${name.replaceAll("`", "``")}\``;
}

/** `schema`.`table`, quoted. */
export function quoteTable(schema: string, table: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
}
