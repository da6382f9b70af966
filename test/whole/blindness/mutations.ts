import type { BlindColumn } from "./sides.ts";

/** SQL of a column's next value from its own, `{c}`; MySQL says afterwards whether it is another one. */
export type Mutation = { readonly what: string; readonly sql: string };

const m = (what: string, sql: string): Mutation => ({ what, sql });
const ABSENT = m("NULL", "NULL");

const numbers = (unit: string): readonly Mutation[] => [
  m("one unit more", `{c} + ${unit}`),
  m("one unit less", `{c} - ${unit}`),
  m("the other sign", "-{c}"),
  m("NULL and 0 exchanged", "IF({c} IS NULL, 0, NULL)"),
];

/** A factor just above 1 gives the next number that the type holds; a zero becomes the smallest, or minus zero. */
const reals = (factor: string, smallest: string): readonly Mutation[] => [
  m("the next number", `IF({c} = 0, ${smallest}, {c} * ${factor})`),
  m("the other sign, of a zero too", "-{c}"),
  m("minus zero and zero", "IF({c} = 0, -{c}, IF({c} IS NULL, -0e0, 0))"),
  m("NULL and 0 exchanged", "IF({c} IS NULL, 0, NULL)"),
];

const FLIP_LAST =
  "INSERT({c}, {n}, 1, IF(ASCII(LOWER(SUBSTR({c}, {n}, 1))) = ASCII(SUBSTR({c}, {n}, 1)), UPPER(SUBSTR({c}, {n}, 1)), LOWER(SUBSTR({c}, {n}, 1))))";
const at = (sql: string, place: string) => sql.replaceAll("{n}", place);

const STRINGS: readonly Mutation[] = [
  m("a space behind", "CONCAT({c}, ' ')"),
  m("a zero byte behind", "CONCAT({c}, '\\0')"),
  m("a space before", "CONCAT(' ', {c})"),
  m("the last character gone", "LEFT({c}, CHAR_LENGTH({c}) - 1)"),
  m("the last character's case", at(FLIP_LAST, "CHAR_LENGTH({c})")),
  m("the first character's case", at(FLIP_LAST, "1")),
  m("a character in the middle", "INSERT({c}, 1 + CHAR_LENGTH({c}) DIV 2, 1, '~')"),
  m("an accent", "REPLACE(REPLACE({c}, 'e', 'é'), 'a', 'á')"),
  m("an accent less", "REPLACE(REPLACE({c}, 'é', 'e'), 'ü', 'u')"),
  m("a tab for a space", "IF(INSTR({c}, ' ') > 0, REPLACE({c}, ' ', '\\t'), CONCAT({c}, '\\t'))"),
  m("NULL and '' exchanged", "IF({c} IS NULL, '', IF({c} = '', NULL, ''))"),
  ABSENT,
];

const flipByte = (place: string) => `INSERT({c}, ${place}, 1, CHAR(ASCII(SUBSTR({c}, ${place}, 1)) ^ 1))`;
const BYTES: readonly Mutation[] = [
  m("one bit of the first byte", flipByte("1")),
  m("one bit of a byte in the middle", flipByte("(1 + LENGTH({c}) DIV 2)")),
  m("one bit of the last byte", flipByte("LENGTH({c})")),
  m("a zero byte behind", "CONCAT({c}, x'00')"),
  m("a space behind", "CONCAT({c}, x'20')"),
  m("the last byte gone", "LEFT({c}, LENGTH({c}) - 1)"),
  m("a zero byte before", "CONCAT(x'00', {c})"),
  m("NULL and '' exchanged", "IF({c} IS NULL, '', NULL)"),
];

const JSONS: readonly Mutation[] = [
  m("wrapped", "JSON_ARRAY({c})"),
  m(
    "an integer as a double",
    "IF({c} IS NULL, NULL, CAST(REGEXP_REPLACE(CAST({c} AS CHAR), '(?<![0-9.e\"+-])([0-9]+)(?=[,}\\\\]])', '$1.0', 1, 1) AS JSON))",
  ),
  m("JSON null and NULL", "IF({c} IS NULL, CAST('null' AS JSON), NULL)"),
  m("a member more", `JSON_MERGE_PRESERVE({c}, CAST('{"zz": null}' AS JSON))`),
  m("a string of its own text", "CAST(JSON_QUOTE(CAST({c} AS CHAR)) AS JSON)"),
];

const set = (path: string, value: string) => `JSON_SET({c}, '${path}', ${value})`;
/** Of a document whose members are known. */
const DOCUMENTS: readonly Mutation[] = [
  m("a string replaced by the DATE that prints so", set("$.d", "CAST('2024-01-02' AS DATE)")),
  m("a string replaced by the TIME that prints so", set("$.t", "CAST('10:11:12' AS TIME(6))")),
  m("a string replaced by the DATETIME that prints so", set("$.at", "CAST('2024-01-02 03:04:05' AS DATETIME(6))")),
  m("another date in a string", set("$.d", "'2024-01-03'")),
  m("1 and 1.0", set("$.n", "CAST('1.0' AS JSON)")),
  m("1 and true", set("$.n", "CAST('true' AS JSON)")),
  m("1 and '1'", set("$.n", "'1'")),
  m("'1' and 1", set("$.s", "1")),
  m("3.0 and 3", set("$.real", "CAST('3' AS JSON)")),
  m("the next double, nested", set("$.deep.list[1]", "2.5000000000000004e0")),
  m("a nested null gone", "JSON_REMOVE({c}, '$.deep.list[3]')"),
  m("a nested value", "JSON_SET({c}, '$.deep.list[5].a[0]', -1)"),
  m("null and false, nested", set("$.deep.list[3]", "CAST('false' AS JSON)")),
  m("an integer above 2^53", set("$.big", "9007199254740992")),
  m("a member renamed", "JSON_SET(JSON_REMOVE({c}, '$.s'), '$.S', '1')"),
  m("'' and null", set("$.e", "NULL")),
  m("'' gone", "JSON_REMOVE({c}, '$.e')"),
  m("letters' case, nested", set("$.deep.list[2]", "'X'")),
  m("a trailing space, nested", set("$.deep.list[2]", "'x '")),
  m("two of a list exchanged", "JSON_SET({c}, '$.deep.list[0]', 2.5e0, '$.deep.list[1]', 1)"),
];

/** How values of a column may be wrong by as little as possible. */
export function mutationsOf(column: BlindColumn): readonly Mutation[] {
  const { dataType, columnType, name } = column;
  const digits = Number(/\((\d+)\)/.exec(columnType)?.[1] ?? 0);
  const scale = Number(/,(\d+)\)/.exec(columnType)?.[1] ?? 0);
  const unit = `0.${"1".padStart(Math.max(1, digits), "0")}`;
  switch (dataType) {
    case "float":
      return reals("1.0000001e0", "1.5e-45");
    case "double":
      return reals("1.0000000000000002e0", "5e-324");
    case "decimal":
      return numbers(scale === 0 ? "1" : `0.${"1".padStart(scale, "0")}`);
    case "year":
      return [m("the next", "{c} + 1"), m("0000 and 2000", "IF({c} = 0, '2000', '0000')"), ABSENT];
    case "bit":
      return [
        m("the lowest bit", "{c} ^ 1"),
        m("the highest bit", `{c} ^ (1 << ${digits - 1})`),
        m("NULL and 0", "IF({c} IS NULL, 0, NULL)"),
      ];
    case "enum":
      return [
        m("another label", "IF(CAST({c} AS UNSIGNED) = 1, 2, 1)"),
        m("the label that the number's text is", "CAST(CAST({c} AS UNSIGNED) AS CHAR)"),
        m("no label", "'no such label'"),
        ABSENT,
      ];
    case "set":
      return [
        m("the first label", "CAST({c} AS UNSIGNED) ^ 1"),
        m("the second label", "CAST({c} AS UNSIGNED) ^ 2"),
        m("NULL and ''", "IF({c} IS NULL, '', NULL)"),
      ];
    case "date":
      return [
        m("a day more", "IF({c} = 0, '0000-00-01', {c} + INTERVAL 1 DAY)"),
        m("the zero date", "IF({c} = 0, NULL, '0000-00-00')"),
        m("a day that is none", "IF({c} = '2020-02-31', '2020-02-30', '2020-02-31')"),
        m("NULL and the zero date", "IF({c} IS NULL, '0000-00-00', NULL)"),
      ];
    case "datetime":
    case "timestamp":
      return [
        m("the smallest unit more", digits === 0 ? "{c} + INTERVAL 1 SECOND" : `ADDTIME({c}, '00:00:0${unit}')`),
        m("the smallest unit less", digits === 0 ? "{c} - INTERVAL 1 SECOND" : `SUBTIME({c}, '00:00:0${unit}')`),
        m("the zero date", "IF({c} = 0, '2000-01-01 00:00:00', '0000-00-00 00:00:00')"),
        m("an hour", "{c} + INTERVAL 1 HOUR"),
        m("NULL and the zero date", "IF({c} IS NULL, '0000-00-00 00:00:00', NULL)"),
      ];
    case "time":
      return [
        m("the smallest unit more", `ADDTIME({c}, '00:00:${digits === 0 ? "01" : `0${unit}`}')`),
        m("the smallest unit less", `SUBTIME({c}, '00:00:${digits === 0 ? "01" : `0${unit}`}')`),
        m("the other sign", "IF(LEFT({c}, 1) = '-', SUBSTR({c}, 2), CONCAT('-', {c}))"),
        m("NULL and 0", "IF({c} IS NULL, 0, NULL)"),
      ];
    case "json":
      return name === "doc" ? DOCUMENTS : JSONS;
    default:
      if (/int$/.test(dataType)) return [...numbers("1"), m("the highest bit that a double drops", "{c} ^ 1")];
      return /binary|blob/.test(dataType) ? BYTES : STRINGS;
  }
}
