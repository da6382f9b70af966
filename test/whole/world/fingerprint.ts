export type NamedType = { readonly name: string; readonly dataType: string };

/**
 * SQL for what a value is, as MySQL itself tells values apart and without any of the product's forms: bytes in hex, a
 * FLOAT with all its digits, labels by their number. JSON by the text that it prints once it was read from its own text
 * (so that a DECIMAL is no other value than the DOUBLE that JSON text makes of it), and whether that text carries it at
 * all: a DATE inside JSON prints as the string that looks like it.
 */
export function fingerprintSql({ name, dataType }: NamedType, alias = "t"): string {
  const column = `${alias}.\`${name}\``;
  switch (dataType) {
    case "json": {
      const again = `CAST(CAST(${column} AS CHAR CHARACTER SET utf8mb4) AS JSON)`;
      return `CONCAT(HEX(CAST(${again} AS CHAR CHARACTER SET utf8mb4)), IF(${column} = ${again}, '', ' not carried by its text'))`;
    }
    case "float":
    case "double":
      return `CAST(${column} * 1e0 AS CHAR)`;
    case "enum":
    case "set":
    case "bit":
      return `CAST(CAST(${column} AS UNSIGNED) AS CHAR)`;
    default:
      return /char|text|binary|blob/.test(dataType) ? `HEX(${column})` : `CAST(${column} AS CHAR)`;
  }
}
