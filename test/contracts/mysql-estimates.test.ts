import { expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { NEVER, StreamHarness } from "./mysql-stream.ts";

const ROWS = 1_500;
const DDL = [
  "CREATE TABLE few (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, KEY (tenant, id))",
  "CREATE TABLE none (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, KEY (tenant, id))",
];

describeWithMysql("how many rows of a tenant there are", ({ a }) => {
  test("a small table's rows are counted, to the byte of the tenant (T1), however old its statistics are", async () => {
    const harness = await StreamHarness.open(a, DDL, { few: "tenant", none: "tenant" });
    const sql = await harness.client();
    await sql.run("SET SESSION cte_max_recursion_depth = 10000");
    await sql.run("ALTER TABLE few STATS_AUTO_RECALC = 0");
    for (const tenant of ["acme", "ACME", "birch"]) {
      await sql.run(
        `INSERT INTO few (tenant) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) SELECT '${tenant}' FROM n`,
      );
    }
    const estimates = await harness.connector().estimateRows(harness.lane("acme"), NEVER);
    expect(estimates).toEqual({ [`${harness.schema}.few`]: ROWS, [`${harness.schema}.none`]: 0 });
    await harness.close();
  });
});
