import { describe, expect, test } from "vitest";
import { COLUMN_TYPES, columnProblem, columnProblems, requireColumns } from "../../connectors/mysql/column-types.ts";
import { realText, survivesDouble } from "../../connectors/mysql/decimal-text.ts";
import { quoteIdentifier, quoteTable } from "../../connectors/mysql/identifier.ts";
import { canonicalJson } from "../../connectors/mysql/json-guard.ts";
import { buildPlan } from "../../connectors/mysql/row-decoder.ts";
import { settingsNotTaken } from "../../connectors/mysql/session.ts";
import type { TableMap } from "../../connectors/mysql/table-map.ts";
import { canonicalTenant } from "../../connectors/mysql/tenant-key.ts";
import { literal } from "../../connectors/mysql/values.ts";
import { mysqlColumn, mysqlTable } from "./mysql-specs.ts";

describe("W6: types that are not carried are refused", () => {
  for (const [dataType, rule] of Object.entries(COLUMN_TYPES)) {
    if (rule.accepted) continue;
    test(`${dataType}, with a reason and a remedy`, () => {
      const column = mysqlColumn({ name: "v", dataType });
      expect(columnProblem(column, "plain")).toMatchObject({ column: "v", reason: rule.reason, remedy: rule.remedy });
      const spec = mysqlTable({
        columns: [mysqlColumn({ name: "tenant", dataType: "int" }), column],
        primaryKey: ["tenant"],
      });
      expect(() => requireColumns(spec)).toThrowError(
        expect.objectContaining({
          code: "COLUMN_REFUSED",
          facts: expect.objectContaining({ table: "source.t", column: "v" }),
        }),
      );
      expect(columnProblem({ ...column, generated: "virtual" }, "plain")).toBeNull();
    });
  }
  test("an unknown type, and a character set whose bytes were not tested", () => {
    expect(columnProblem(mysqlColumn({ name: "v", dataType: "uuid" }), "plain")).not.toBeNull();
    const sjis = mysqlColumn({ name: "v", dataType: "varchar", charset: "sjis", collation: "sjis_japanese_ci" });
    expect(columnProblem(sjis, "plain")?.reason).toContain("sjis");
    expect(columnProblem({ ...sjis, charset: "latin1" }, "plain")).toBeNull();
  });
  test("W5: all problems of a table at once, keys among them", () => {
    const spec = mysqlTable({
      columns: [
        mysqlColumn({ name: "tenant", dataType: "int" }),
        mysqlColumn({ name: "k", dataType: "double" }),
        mysqlColumn({ name: "p", dataType: "point" }),
        mysqlColumn({ name: "g", dataType: "int", generated: "stored" }),
      ],
      primaryKey: ["k", "g"],
    });
    expect(columnProblems(spec).map((problem) => problem.column)).toEqual(["k", "p", "g"]);
  });
});

test("A6: identifiers are quoted by one function that lets nothing out", () => {
  expect(quoteIdentifier("a`b")).toBe("`a``b`");
  expect(quoteTable("s`", "`t")).toBe("`s```.```t`");
  expect(() => quoteIdentifier("")).toThrow(RangeError);
  expect(() => quoteIdentifier("a\0b")).toThrow(RangeError);
});

test("A6: a literal that is not of its type's form is refused, and a string is hex whatever it holds", () => {
  const bad: readonly (readonly [string, string])[] = [
    ["int", "1 OR 1=1"],
    ["decimal", "1e5"],
    ["year", "20"],
    ["datetime", "2020-01-01' OR '1"],
    ["double", "nan"],
    ["enum", "'a'"],
  ];
  for (const [dataType, text] of bad) {
    const column = mysqlColumn({ name: "v", dataType, labels: ["a"] });
    expect(() => literal(column, Buffer.from(text)), dataType).toThrow(RangeError);
  }
  const string = mysqlColumn({ name: "v", dataType: "varchar", charset: "utf8mb4" });
  expect(literal(string, Buffer.from("' OR 1 -- \\"))).toBe("_utf8mb4 x'27204f522031202d2d205c'");
  expect(literal(string, null)).toBe("NULL");
});

test("A6: a setting that did not take is named", () => {
  expect(settingsNotTaken({ sql_mode: "A,B", time_zone: "+00:00" }, { sql_mode: "B,A", time_zone: "SYSTEM" })).toEqual([
    "time_zone: is SYSTEM, must be +00:00",
  ]);
  expect(settingsNotTaken({ x: "1" }, {})).toEqual(["x: is NULL, must be 1"]);
  const wanted = { optimizer_switch: "b=off" };
  expect(settingsNotTaken(wanted, { optimizer_switch: "a=on,b=off,c=on" })).toEqual([]);
  expect(settingsNotTaken(wanted, { optimizer_switch: "a=on,b=on" })).toHaveLength(1);
});

describe("W6: numbers as text", () => {
  test("a double's text is the shortest, and -0 stays", () => {
    expect([0, -0, 0.1, 1e21, 5e-324].map(realText)).toEqual(["0", "-0", "0.1", "1e+21", "5e-324"]);
  });
  test("a DECIMAL survives as a double only with the digits that one keeps", () => {
    for (const text of ["0", "-0.0", "1.50", "0.1", "100", "123456789012345678", "1e400"]) {
      expect(survivesDouble(text), text).toBe(text !== "123456789012345678" && text !== "1e400");
    }
    expect(survivesDouble("1.000000000000000000001")).toBe(false);
    expect(survivesDouble("9007199254740992.0")).toBe(true);
  });
  test("JSON text is looked through outside of strings only", () => {
    const check = (text: string) => () => {
      const bytes = Buffer.from(`1${text}2`, "latin1");
      canonicalJson({ bytes, from: 1, to: bytes.length - 1 }, "v", "plain");
    };
    for (const fine of [
      '"12345678901234567890123"',
      '{"1.000000000000000000001": "\\"2020-01-02"}',
      "[18446744073709551615, 1.5e300]",
    ]) {
      expect(check(fine), fine).not.toThrow();
    }
    for (const refused of [
      "1.000000000000000000001",
      '{"a": [12345678901234567890123]}',
      '["\\\\", 1.000000000000000000001]',
      "",
    ]) {
      expect(check(refused), refused).toThrowError(expect.objectContaining({ code: "VALUE_REFUSED" }));
    }
    for (const unsure of ['"2020-01-02"', '["x", "-838:00:00.000000"]', '"base64:type15:YWI="']) {
      expect(check(unsure), unsure).toThrowError(expect.objectContaining({ code: "JSON_NEEDS_PROOF" }));
    }
  });
});

describe("W6: numbers in JSON text have one form, that of the double that they are read back as", () => {
  const canonical = (text: string) => {
    const bytes = Buffer.from(`1${text}2`, "latin1");
    const found = canonicalJson({ bytes, from: 1, to: bytes.length - 1 }, "v", "plain");
    return found === null ? null : Buffer.from(found).toString("latin1");
  };
  test.each([
    ['{"a": 1.50, "1.50": "1.50", "b": [100.00]}', '{"a": 1.5, "1.50": "1.50", "b": [100.0]}'],
    ["[0.0000001, -0.10, 0.00]", "[1e-7, -0.1, 0.0]"],
    ["[100000000000000000000, 100000000000000000000.0]", "[100000000000000000000.0, 100000000000000000000.0]"],
    ["[1e15, 1e16, 1e21]", "[1000000000000000.0, 10000000000000000.0, 1e+21]"],
  ])("%s is %s", (text, wanted) => {
    expect(canonical(text)).toBe(wanted);
    expect(canonical(wanted)).toBe(null);
  });
  test("what has it already is not written anew", () => {
    for (const text of [
      "[3.0, -0.0, 0.1, 0.05, 0.30000000000000004, 5e-324, 18446744073709551615, 3]",
      '"1.50"',
      "null",
    ])
      expect(canonical(text), text).toBe(null);
  });
});

describe("T1: a tenant key that cannot be one is refused", () => {
  const cases: readonly (readonly [Parameters<typeof mysqlColumn>[0], readonly string[]])[] = [
    [{ name: "t", dataType: "tinyint" }, ["", "x", "128", "-129", "1.0", " 1", "1e1"]],
    [{ name: "t", dataType: "bigint", unsigned: true }, ["-1", "18446744073709551616"]],
    [{ name: "t", dataType: "varchar", charset: "utf8mb4", octetLength: 4 }, ["", "abcde", "\ud800"]],
    [{ name: "t", dataType: "char", charset: "utf8mb4", octetLength: 40 }, ["acme "]],
    [{ name: "t", dataType: "varchar", charset: "latin1", octetLength: 40 }, ["é"]],
    [{ name: "t", dataType: "varchar", charset: "utf8mb3", octetLength: 40 }, ["😀"]],
    [{ name: "t", dataType: "binary", octetLength: 16 }, ["", "acme", "0x00", "00112233-4455-6677-8899-aabbccddeef"]],
    [{ name: "t", dataType: "varbinary", octetLength: 2 }, ["", "abc", "0x616263"]],
    [{ name: "t", dataType: "double" }, ["1"]],
    [{ name: "t", dataType: "enum", labels: ["a"] }, ["a"]],
  ];
  for (const [parts, tenants] of cases) {
    for (const tenant of tenants) {
      test(`${parts.dataType} ${JSON.stringify(tenant)}`, () => {
        expect(() => canonicalTenant(mysqlColumn(parts), tenant)).toThrowError(
          expect.objectContaining({ code: "TENANT_KEY_INVALID" }),
        );
      });
    }
  }
});

describe("M8: a table map that is not the table the move knows is a mismatch", () => {
  const spec = mysqlTable({
    columns: [
      mysqlColumn({ name: "tenant", dataType: "int" }),
      mysqlColumn({ name: "v", dataType: "varchar", charset: "utf8mb4", octetLength: 80 }),
    ],
    primaryKey: ["tenant"],
  });
  const names = (...all: string[]) => {
    const body = all.flatMap((name) => [name.length, ...Buffer.from(name)]);
    return [4, body.length, ...body];
  };
  const map = (parts: Partial<Record<"types" | "metadata" | "optional", readonly number[]>>): TableMap => {
    const { types = [3, 15], metadata = [80, 0], optional = [1, 1, 0, ...names("tenant", "v")] } = parts;
    return {
      tableId: 1,
      schema: "source",
      table: "t",
      columnCount: types.length,
      types: Uint8Array.from(types),
      metadata: Uint8Array.from(metadata),
      nullable: Uint8Array.of(0),
      optional: Uint8Array.from(optional),
    };
  };
  const refused = (parts: Parameters<typeof map>[0], reason: RegExp) =>
    expect(() => buildPlan(spec, map(parts))).toThrowError(
      expect.objectContaining({
        code: "SCHEMA_MISMATCH",
        facts: expect.objectContaining({ reason: expect.stringMatching(reason) }),
      }),
    );

  test("the table itself fits", () => {
    const plan = buildPlan(spec, map({}));
    const image = Buffer.from([0b00, 7, 0, 0, 0, 1, 0x61]);
    expect(plan.locate(image, 0, image.length)).toBe(7);
    expect(plan.tenant()).toBe("7");
    expect([...plan.row()]).toEqual([2, 0x37, 2, 0x61]);
    expect(() => plan.locate(image, 0, image.length - 1)).toThrowError(
      expect.objectContaining({ code: "SCHEMA_MISMATCH" }),
    );
  });
  test("without FULL metadata", () => refused({ optional: [1, 1, 0] }, /FULL/));
  test("another number of columns", () => refused({ types: [3] }, /1 columns/));
  test("another name", () => refused({ optional: [1, 1, 0, ...names("tenant", "w")] }, /column 2 is w/));
  test("another type", () => refused({ types: [8, 15] }, /tenant/));
  test("another sign", () => refused({ optional: [1, 1, 0x80, ...names("tenant", "v")] }, /unsigned/));
  test("another length", () => refused({ metadata: [81, 0] }, /length is 81/));
  test("a type of the image that is not known", () => refused({ types: [3, 99], metadata: [] }, /99/));
});
