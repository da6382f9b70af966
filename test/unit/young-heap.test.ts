import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

/** The engine's flag is not part of Node's API: a Node that forgets it is noticed here. */
test("the young part of the heap stays as large as it is once its growth is stopped", () => {
  const churn =
    "let keep = []; for (let i = 0; i < 2e6; i++) { keep.push({ i, of: [i] }); if (keep.length > 5e4) keep = []; }";
  const young = "require('v8').getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size";
  const mebibytes = (before: string) =>
    Number(
      execFileSync(process.execPath, ["-e", `${before}; ${churn}; console.log(${young} / 2 ** 20)`], {
        encoding: "utf8",
      }),
    );
  const grown = mebibytes("");
  const kept = mebibytes("require('v8').setFlagsFromString('--semi-space-growth-factor=1')");
  expect(grown).toBeGreaterThan(8);
  expect(kept).toBeLessThan(grown / 4);
});
