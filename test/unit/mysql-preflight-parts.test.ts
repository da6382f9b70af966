import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { grantSql, quoteAccount } from "../../connectors/mysql/grants.ts";
import { disjoint, sharePercent } from "../../connectors/mysql/preflight/key-classes.ts";
import { holds, likeMatches, parseGrants } from "../../connectors/mysql/preflight/privileges.ts";
import { versionProblem } from "../../connectors/mysql/preflight/server-facts.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { runChecks } from "../../pipeline/preflight.ts";

describe("C9: ids of two clusters", () => {
  test("are disjoint exactly where no two terms are equal", () => {
    const step = fc
      .tuple(fc.bigInt(1n, 12n), fc.bigInt(1n, 12n))
      .map(([one, two]) => (one < two ? { offset: one, increment: two } : { offset: two, increment: one }));
    fc.assert(
      fc.property(step, step, (a, b) => {
        // Every pair meets, if at all, within one common period.
        const terms = (s: typeof a) =>
          new Set(Array.from({ length: 200 }, (_, i) => s.offset + BigInt(i) * s.increment));
        const ours = terms(a);
        expect(disjoint(a, b)).toBe([...terms(b)].every((term) => !ours.has(term)));
      }),
    );
  });

  test("an offset above its increment says nothing", () => {
    expect(disjoint({ increment: 2n, offset: 3n }, { increment: 2n, offset: 2n })).toBe(false);
  });

  test("say how much of their type is used", () => {
    expect(sharePercent(128n, "tinyint unsigned")).toBeCloseTo(50.19, 1);
    expect(sharePercent(2n ** 31n, "int")).toBeGreaterThanOrEqual(100);
    expect(sharePercent(2n ** 62n, "bigint")).toBeCloseTo(50, 1);
    expect(sharePercent(5n, "varchar(20)")).toBe(0);
  });
});

describe("grants", () => {
  const grants = parseGrants([
    "GRANT SELECT, PROCESS ON *.* TO `u`@`%`",
    "GRANT XA_RECOVER_ADMIN,SYSTEM_USER ON *.* TO `u`@`%`",
    "GRANT INSERT, UPDATE ON `app\\_one`.* TO `u`@`%`",
    "GRANT DELETE ON `ap%`.`*` TO `u`@`%`",
    "GRANT SELECT (`Host`, `User`), INSERT (`Host`) ON `mysql`.`user` TO `u`@`%` WITH GRANT OPTION",
    "GRANT ALL PRIVILEGES ON `own`.* TO `u`@`%`",
    "REVOKE SELECT ON `secret`.* FROM `u`@`%`",
  ]);

  test.each([
    ["SELECT", "any.thing", true],
    ["SELECT", "secret.*", false],
    ["PROCESS", "*.*", true],
    ["XA_RECOVER_ADMIN", "*.*", true],
    ["REPLICATION SLAVE", "*.*", false],
    ["INSERT", "app_one.*", true],
    ["INSERT", "appxone.*", false],
    ["DELETE", "own.*", true],
    ["DELETE", "app_one.*", false],
    ["PROCESS", "own.*", true],
    ["INSERT (Host)", "mysql.user", true],
    ["INSERT (Host, User)", "mysql.user", false],
    ["SELECT (User, Host)", "mysql.user", true],
  ])("%s on %s: %s", (privilege, on, held) => {
    expect(holds(grants, privilege, on)).toBe(held);
  });

  test("a schema's wildcards are kept from matching a neighbour's", () => {
    const sql = grantSql({ privileges: ["SELECT"], on: "a_b.*", why: "" }, quoteAccount("o'x@%"));
    expect(sql).toBe("GRANT SELECT ON `a\\_b`.* TO 'o''x'@'%'");
    expect(likeMatches("a\\_b", "a_b")).toBe(true);
    expect(likeMatches("a\\_b", "axb")).toBe(false);
    expect(likeMatches("a%", "a.b")).toBe(true);
  });
});

test.each([
  ["9.7.4-2 (Debian)", null],
  ["8.0.22 MySQL Community Server", null],
  ["8.0.21 x", /older/],
  ["5.7.44-log", /older/],
  ["10.11.6-MariaDB-0+deb12u1", /MariaDB/],
  ["nonsense", /cannot be read/],
  ["12.0.0 MySQL", /not known/],
])("M8: version %s", (text, problem) => {
  if (problem === null) expect(versionProblem(text)).toBeNull();
  else expect(versionProblem(text)).toMatch(problem);
});

test("a check that throws is an error, the others run, and only the signal ends them", async () => {
  const signal = new AbortController();
  const boom = {
    id: "boom",
    rule: "K5",
    when: ["preflight"] as const,
    run: () => Promise.reject(new Error("no answer")),
  };
  const fine = { ...boom, id: "fine", run: async () => [] };
  const gate = { ...boom, id: "gate", when: ["gate"] as const };
  const findings = await runChecks([boom, fine, gate], null, { when: "preflight", signal: signal.signal });
  expect(findings).toMatchObject([{ id: "boom", severity: "error", finding: "The check could not be run: no answer" }]);
  const refused = { ...boom, run: () => Promise.reject(new DrayError("MYSQL_REFUSED", { server: "db:1" })) };
  const gone = { ...boom, run: () => Promise.reject(new DrayError("MYSQL_UNREACHABLE", { server: "db:1" })) };
  const denied = { ...boom, run: () => Promise.reject(new DrayError("MYSQL_ACCESS_DENIED", { server: "db:1" })) };
  const told = await runChecks([refused, gone, denied], null, { when: "preflight", signal: signal.signal });
  // There is no move that could be tried again, and nothing tries by itself.
  for (const { remedy } of told) expect(remedy).not.toMatch(/dray retry|is tried again|^A lock/);
  expect(told.map(({ remedy }) => remedy)).toEqual([
    expect.stringMatching(/^Mend what the message names .* run preflight again\.$/),
    expect.stringMatching(/does not try again by itself: .* run preflight again\.$/),
    new DrayError("MYSQL_ACCESS_DENIED", {}).problem.remedy,
  ]);
  signal.abort(new Error("stop"));
  await expect(runChecks([fine], null, { when: "preflight", signal: signal.signal })).rejects.toThrow("stop");
});
