import { afterAll, beforeAll, describe } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { MysqlTarget, soon } from "./mysql-target.ts";
import { type ContractRow, type ContractTable, type SinkHarness, sinkContract } from "./sink.contract.ts";

const TENANT = "acme";
/** Equal to the tenant's key under the column's collation, and another tenant all the same (T1). */
const NEIGHBOUR = "ACME";

async function harness(target: MysqlTarget): Promise<SinkHarness> {
  await target.create(
    "plain",
    "id BIGINT UNSIGNED PRIMARY KEY, tenant VARCHAR(32) NOT NULL, text TEXT, KEY p (tenant, id)",
  );
  await target.create(
    "uniq",
    "id BIGINT PRIMARY KEY, tenant VARCHAR(32) NOT NULL, text TEXT, u VARCHAR(64), UNIQUE KEY u (tenant, u), KEY p (tenant, id)",
  );
  const lane = target.lane(TENANT);
  const values = (table: ContractTable, row: ContractRow, tenant = TENANT) => [
    String(row.id),
    tenant,
    row.text,
    ...(table === "uniq" ? [row.unique ?? null] : []),
  ];
  const rows = async (table: ContractTable, tenant: string): Promise<readonly ContractRow[]> => {
    const sql = `SELECT * FROM ${target.table(table)} WHERE CAST(tenant AS BINARY) = ? ORDER BY id`;
    return (await target.sql.executeQuery(sql, [Buffer.from(tenant)])).map((row) => ({
      id: Number(row["id"]),
      text: row["text"] ?? "",
      ...(table === "uniq" && { unique: row["u"] ?? "" }),
    }));
  };
  const key = (table: ContractTable, id: number) => values(table, { id, text: "" });
  return {
    open: () => target.open(lane),
    tableId: (table) => target.id(table),
    change: (table, op, row) => target.change(table, op, values(table, row)),
    chunk: (table, { after, upTo, leftOut = [], ...rest }) =>
      target.chunk({
        ...rest,
        table,
        rows: rest.rows.map((row) => values(table, row)),
        ...(after !== null && { after: key(table, after) }),
        ...(upTo !== null && { upTo: key(table, upTo) }),
        leftOut: leftOut.map((id) => key(table, id)),
      }),
    rows: (table) => rows(table, TENANT),
    foreignRows: (table) => rows(table, NEIGHBOUR),
    async addForeign(table, row) {
      const marks = values(table, row).map(() => "?");
      const sql = `INSERT INTO ${target.table(table)} VALUES (${marks})`;
      await target.sql.execute(sql, values(table, row, NEIGHBOUR));
    },
    removeRows: () => target.sink().removeRows(lane, { onBatch: () => {} }, soon()),
  };
}

describeWithMysql("MySQL target", (mysql) => {
  describe("as every target", () => {
    let target: MysqlTarget;
    beforeAll(async () => {
      target = await MysqlTarget.open(mysql.b);
    });
    afterAll(() => target?.close());
    sinkContract(() => harness(target));
  });
});
