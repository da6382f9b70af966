import { describe, expect, test } from "vitest";
import { mysqlError } from "../../connectors/mysql/mysql-errors.ts";

function told(code: string, message: string): string {
  return mysqlError(Object.assign(new Error(message), { code, errno: 1000 }), "db1:3306", "run").message;
}

describe("K5: what a server's error may say", () => {
  test.each([
    ["ER_DUP_ENTRY", "Duplicate entry 'ann@example.com' for key 'users.email'"],
    ["ER_TRUNCATED_WRONG_VALUE", "Incorrect datetime value: '1999-ann@example.com' for column 'seen_at' at row 1"],
    ["ER_CANNOT_CONVERT_STRING", "Cannot convert string 'ann@example.com \\xF0...' from utf8mb4 to utf8mb3"],
    ["ER_PARSE_ERROR", "You have an error near 'ann@example.com' at line 1"],
    ["ER_SOMETHING_NEW", "A value 'it''s ann@example.com' and \"ann@example.com\" is not liked"],
  ])("%s: no row's value", (code, message) => {
    expect(told(code, message)).not.toContain("ann@");
    expect(told(code, message)).toContain("db1:3306");
  });

  test("names of tables and accounts stay, for they say what to mend", () => {
    expect(told("ER_NO_SUCH_TABLE", "Table 'shop.orders' doesn't exist")).toContain("shop.orders");
    expect(told("ER_ACCESS_DENIED_ERROR", "Access denied for user 'dray'@'%'")).toContain("'dray'");
  });

  test("what has no number shows none", () => {
    const error = mysqlError(
      Object.assign(new Error("connect failed"), { code: "ECONNREFUSED" }),
      "db1:3306",
      "connect",
    );
    expect(error.message).toContain("ECONNREFUSED");
    expect(error.message).not.toContain("number");
  });
});
