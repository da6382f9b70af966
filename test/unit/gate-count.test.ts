import { describe, expect, test } from "vitest";
import { judgeCount } from "../../cutover/gate-count.ts";

const counts = (insert: number, del: number) => ({ t: { insert, update: 99, delete: del } });

describe("the gate's count of a table", () => {
  test.each([
    { atSource: 10, atTarget: 10, inserted: 0, deleted: 0, fits: "yes" },
    { atSource: 11, atTarget: 10, inserted: 0, deleted: 0, fits: "no" },
    { atSource: 9, atTarget: 10, inserted: 0, deleted: 0, fits: "no" },
    { atSource: 13, atTarget: 10, inserted: 3, deleted: 0, fits: "yes" },
    { atSource: 14, atTarget: 10, inserted: 3, deleted: 0, fits: "no" },
    { atSource: 8, atTarget: 10, inserted: 0, deleted: 2, fits: "yes" },
    { atSource: 7, atTarget: 10, inserted: 5, deleted: 2, fits: "no" },
  ])("$atSource at the source, $atTarget at the target, +$inserted -$deleted between: $fits", (given) => {
    const [judged] = judgeCount({
      atSource: { t: given.atSource },
      atTarget: { t: given.atTarget },
      before: counts(100, 50),
      after: counts(100 + given.inserted, 50 + given.deleted),
    });
    expect(judged?.fits).toBe(given.fits);
  });

  test("a table that the target did not count never fits", () => {
    const [judged] = judgeCount({ atSource: { t: 0 }, atTarget: {}, before: {}, after: {} });
    expect(judged?.fits).toBe("no");
  });
});
