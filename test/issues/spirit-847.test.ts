import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectMysql, type MysqlSession } from "../../connectors/mysql/client.ts";
import type { LaneSink } from "../../sinks/sink.ts";
import { batch, MysqlTarget, soon } from "../contracts/mysql-target.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

/*
 * block/spirit 847. A transaction of the source gave a unique value from one row to another: the first let go of it, the
 * second took it. The migrator kept the last image of each key in a map and wrote them in whatever order the map had, so
 * that the taker could come before the giver in one INSERT … ON DUPLICATE KEY UPDATE: ER_DUP_ENTRY, and the migration
 * ended. Their remedy was REPLACE, which deletes whatever row holds the value. In a shared target that row may be another
 * tenant's. Ours must take the value's journey in any shape, and never touch the neighbour.
 */
describeWithMysql("block/spirit 847: a unique value moves between two rows", (mysql) => {
  let target: MysqlTarget;
  let session: MysqlSession;
  let sink: LaneSink;
  let seq = 0;

  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
    session = await connectMysql(mysql.b, { side: "sink" });
    await target.create(
      "slots",
      "id INT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, slot VARCHAR(20) UNIQUE, KEY p (tenant, id)",
    );
    sink = await target.open(target.lane("acme"));
  });
  afterAll(async () => {
    await sink?.close();
    await session?.close();
    await target?.close();
  });

  const image = (id: number, slot: string | null) => target.change("slots", "update", [`${id}`, "acme", slot]);
  const start = async (...rows: readonly string[]) => {
    await session.run(`DELETE FROM ${target.table("slots")}`);
    await session.run(`INSERT INTO ${target.table("slots")} VALUES ${rows}`);
  };
  const naive = (head: string, tail = "") =>
    session.run(`${head} INTO ${target.table("slots")} VALUES (2, 'acme', 'S'), (1, 'acme', NULL) ${tail}`);

  test("the naive ways: an upsert that meets the taker first fails, REPLACE takes it from a neighbour", async () => {
    await start("(1, 'acme', 'S')", "(2, 'acme', NULL)");
    const upsert = naive("INSERT", "AS n ON DUPLICATE KEY UPDATE tenant = n.tenant, slot = n.slot");
    await expect(upsert).rejects.toMatchObject({ facts: { error: "ER_DUP_ENTRY" } });
    await start("(1, 'acme', NULL)", "(2, 'acme', NULL)", "(7, 'other', 'S')");
    await naive("REPLACE");
    expect(await target.rows("slots")).toEqual(["1 acme ", "2 acme S"]);
    await start("(1, 'acme', NULL)", "(7, 'other', 'S')");
    await naive("INSERT IGNORE");
    expect(await target.rows("slots")).toEqual(["1 acme ", "7 other S"]);
  });

  describe("A1, A3: ours", () => {
    // One transaction of the source each, as its row events stand in the binlog.
    test.each([
      [
        "let go, then taken",
        [image.bind(null, 1, null), image.bind(null, 2, "S")],
        ["1 acme ", "2 acme S", "3 acme T"],
      ],
      [
        "through a third value, and back",
        [image.bind(null, 1, "x"), image.bind(null, 2, "S"), image.bind(null, 2, null), image.bind(null, 1, "S")],
        ["1 acme S", "2 acme ", "3 acme T"],
      ],
      [
        "swapped",
        [image.bind(null, 1, null), image.bind(null, 3, "S"), image.bind(null, 1, "T")],
        ["1 acme T", "2 acme ", "3 acme S"],
      ],
      [
        "taken by a row that is new, from one that is gone",
        [() => target.change("slots", "delete", ["1", "acme", "S"]), image.bind(null, 4, "S")],
        ["2 acme ", "3 acme T", "4 acme S"],
      ],
    ])("%s", async (_, changes, expected) => {
      await start("(1, 'acme', 'S')", "(2, 'acme', NULL)", "(3, 'acme', 'T')");
      seq += 1;
      await sink.applyChanges(
        batch(
          seq,
          changes.map((change) => change()),
        ),
        soon(),
      );
      expect(await target.rows("slots")).toEqual(expected);
    });

    test("held by a neighbour it is taken from nobody, and the lane names the row", async () => {
      await start("(1, 'acme', NULL)", "(7, 'other', 'S')");
      seq += 1;
      const taken = sink.applyChanges(batch(seq, [image(1, "S")]), soon());
      await expect(taken).rejects.toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { seq, key: "1" } });
      expect(await target.rows("slots")).toEqual(["1 acme ", "7 other S"]);
    });
  });
});
