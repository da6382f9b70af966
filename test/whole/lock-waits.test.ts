import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createConnection } from "mysql2/promise";
import { expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { LockWaits } from "./world/lock-waits.ts";

/* The property tests trust this sampler to see nothing; here it must see something. */
describeWithMysql("the sampler of lock waits", ({ a }) => {
  test.each([
    ["a row", (schema: string) => `UPDATE ${schema}.t SET n = n + 1`],
    ["a table's definition", (schema: string) => `ALTER TABLE ${schema}.t ADD COLUMN m INT`],
  ])("A6: sees a neighbour that waits behind ours for %s", async (_what, statement) => {
    const schema = `lw_${randomBytes(4).toString("hex")}`;
    const { host, port, user, password } = a;
    const open = (connectAttributes: Record<string, string>) =>
      createConnection({ host, port, user, password, connectAttributes });
    const [ours, theirs, bystander] = [
      await open({ dray_lane: "m.db.f1" }),
      await open({ world: schema }),
      await open({ world: "another" }),
    ];
    await ours.query(`CREATE SCHEMA ${schema}`);
    try {
      await ours.query(`CREATE TABLE ${schema}.t (id INT PRIMARY KEY, n INT)`);
      await ours.query(`INSERT INTO ${schema}.t VALUES (1, 1)`);
      const watch = new LockWaits(schema);
      await watch.start(a);
      await ours.query("START TRANSACTION");
      await ours.query(`UPDATE ${schema}.t SET n = 5`);
      const waiting = [theirs.query(statement(schema)), bystander.query(`SELECT * FROM ${schema}.t FOR UPDATE`)];
      await sleep(1_500);
      await ours.query("COMMIT");
      await Promise.all(waiting);
      const { long } = await watch.stop();
      expect(long).toHaveLength(1);
      expect(long[0]).toContain("behind dray_lane=m.db.f1");
    } finally {
      await ours.query(`DROP SCHEMA ${schema}`);
      for (const connection of [ours, theirs, bystander]) connection.destroy();
    }
  });

  test("A6: one that was held up for most of the time says that it was blind", async () => {
    const watch = new LockWaits("nobody");
    await watch.start(a);
    await sleep(300);
    const held = new Int32Array(new SharedArrayBuffer(4));
    for (let n = 0; n < 10; n++) {
      Atomics.wait(held, 0, 0, 200);
      await sleep(20);
    }
    expect((await watch.stop()).sighted).toBeLessThan(0.5);
  });
});
