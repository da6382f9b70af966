import { randomBytes } from "node:crypto";
import type { Connection } from "mysql2/promise";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { ensureDraySchema } from "../../connectors/mysql/installation.ts";
import { MysqlSourceControl } from "../../connectors/mysql/source-control.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import type { Outcome, OutcomeDraft } from "../../pipeline/outcome.ts";
import { MysqlTargetControl } from "../../sinks/mysql/target-control.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import { connect } from "./preflight-system.ts";

const signal = AbortSignal.timeout(300_000);
const SIDES = [
  ["source", MysqlSourceControl],
  ["target", MysqlTargetControl],
] as const;

describeWithMysql("dray.cutover of one server", (mysql) => {
  const schema = `out_${randomBytes(4).toString("hex")}`;
  const address: MysqlAddress = mysql.a;
  const open: { close(): Promise<void> }[] = [];
  let admin: Connection;

  beforeAll(async () => {
    admin = await connect(address);
    const session = await connectMysql(address, { side: "source" });
    await ensureDraySchema(session, { schema, installationId: "11111111-2222-3333-4444-555555555555" });
    await session.close();
  });
  afterAll(async () => {
    await Promise.all(open.map((control) => control.close()));
    await admin.query(`DROP SCHEMA IF EXISTS ${schema}`);
    await admin.end();
  });

  const keep = <T extends { close(): Promise<void> }>(control: T): T => {
    open.push(control);
    return control;
  };

  describe.each(SIDES)("the %s's", (_, Control) => {
    const control = (at: MysqlAddress = address) => keep(new Control({ address: at, draySchema: schema })).outcomes;
    const draft = (outcome: Outcome, change: Partial<OutcomeDraft> = {}): OutcomeDraft => ({
      move: `shop-${randomBytes(4).toString("hex")}`,
      generation: 1,
      outcome,
      homeUuid: "",
      facts: { by: outcome },
      expectServerUuid: null,
      ...change,
    });

    test("C1: the first outcome wins, a repeat finds its own, and generations stand in order", async () => {
      const store = control();
      const { uuid } = await store.serverIdentity(signal);
      const first = draft("COMMITTED", { homeUuid: uuid, expectServerUuid: uuid });
      expect(await store.insertOutcome(first, signal)).toEqual({ result: "won" });
      const row = { generation: 1, outcome: "COMMITTED", homeUuid: uuid, facts: { by: "COMMITTED" } };
      expect(await store.insertOutcome(first, signal)).toEqual({ result: "already-same", row });
      const other = draft("ABORTED", { move: first.move });
      expect(await store.insertOutcome(other, signal)).toEqual({ result: "lost", row });
      await store.insertOutcome(draft("ABORTED", { move: first.move, generation: 12 }), signal);
      await store.insertOutcome(draft("ABORTED", { move: first.move, generation: 3 }), signal);
      expect((await store.readOutcomes(first.move, signal)).map((found) => found.generation)).toEqual([1, 3, 12]);
      expect(await store.readOutcomes("another", signal)).toEqual([]);
    });

    test("C1: of two coordinators that decide differently at once, exactly one wins and the other is told", async () => {
      const [a, b] = [control(), control()];
      for (let round = 0; round < 25; round++) {
        const one = draft("COMMITTED");
        const results = await Promise.all([
          a.insertOutcome(one, signal),
          b.insertOutcome({ ...one, outcome: "ABORTED" }, signal),
        ]);
        expect(results.map((result) => result.result).sort()).toEqual(["lost", "won"]);
        const [stands] = await a.readOutcomes(one.move, signal);
        expect(stands?.outcome).toBe(results[0].result === "won" ? "COMMITTED" : "ABORTED");
      }
    });

    test("C1: an INSERT on another server than the home changes nothing", async () => {
      const store = control();
      const one = draft("COMMITTED", { expectServerUuid: "00000000-0000-0000-0000-000000000000" });
      await expect(store.insertOutcome(one, signal)).rejects.toMatchObject({ code: "HOME_MOVED" });
      expect(await store.readOutcomes(one.move, signal)).toEqual([]);
    });

    test("C1: an INSERT whose answer is lost stands, and is recognised as its own", async () => {
      const { proxy, address: through } = await CuttingProxy.to(address);
      const store = control(through);
      const one = draft("COMMITTED", { facts: { marker: "lost-answer" } });
      proxy.cutAfter("lost-answer");
      const result = await store.insertOutcome(one, signal);
      expect(proxy.cuts).toBe(1);
      expect(result).toMatchObject({ result: "already-same", row: { outcome: "COMMITTED" } });
      proxy.close();
    });

    test.each(["COMMIT", "ROLLBACK"] as const)(
      "C1: a connection killed during the INSERT waits for the other's %s before it knows",
      async (ending) => {
        const store = control();
        const one = draft("COMMITTED");
        const other = await connect(address);
        await other.query("BEGIN");
        await other.query(`INSERT INTO ${schema}.cutover VALUES (?, 1, 'ABORTED', '', '{}')`, [one.move]);
        const pending = store.insertOutcome(one, signal);
        const waiting = await waitFor(async () => {
          const [rows] = await admin.query(
            // information_schema's has utf8mb3 only, and fails where a neighbour's statement holds anything beyond.
            "SELECT id FROM performance_schema.processlist WHERE info LIKE ? AND command = 'Execute'",
            [`INSERT%${schema}%cutover%`],
          );
          return (rows as { id?: number; ID?: number }[])[0] ?? null;
        });
        await admin.query(`KILL ${waiting.id ?? waiting.ID}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
        await other.query(ending);
        await other.end();
        const result = await pending;
        if (ending === "COMMIT") expect(result).toMatchObject({ result: "lost", row: { outcome: "ABORTED" } });
        else expect(["won", "already-same"]).toContain(result.result);
      },
    );

    test("C1: an outcome that cannot be known in time is OUTCOME_UNKNOWN, never a guess", async () => {
      const { proxy, address: through } = await CuttingProxy.to(address);
      const store = control(through);
      await store.serverIdentity(signal);
      proxy.break();
      const hasty = AbortSignal.timeout(200);
      await expect(store.insertOutcome(draft("COMMITTED"), hasty)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
      await expect(store.insertOutcome(draft("COMMITTED"), signal)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
      proxy.close();
    });

    test("a server that refuses is told at once and nothing stands", async () => {
      const user = `out_${randomBytes(4).toString("hex")}`;
      await admin.query(`CREATE USER '${user}'@'%' IDENTIFIED BY 'x'`);
      await admin.query(`GRANT SELECT ON ${schema}.* TO '${user}'@'%'`);
      const store = control({ ...address, user, password: "x" });
      const one = draft("COMMITTED");
      await expect(store.insertOutcome(one, signal)).rejects.toMatchObject({ code: "MYSQL_REFUSED" });
      expect(await store.readOutcomes(one.move, signal)).toEqual([]);
      await admin.query(`DROP USER '${user}'@'%'`);
    });
  });

  test("C5: a lane is closed once the transaction that applies to it has ended, and stays closed", async () => {
    const control = keep(new MysqlTargetControl({ address, draySchema: schema }));
    const lane = "shop-acme.app.f1" as LaneId;
    await admin.query(`INSERT INTO ${schema}.applier (lane, epoch, closed, connections) VALUES (?, 7, 0, '[]')`, [
      lane,
    ]);
    const applier = await connect(address);
    await applier.query("BEGIN");
    await applier.query(`SELECT epoch FROM ${schema}.applier WHERE lane = ? FOR SHARE`, [lane]);
    let closed = false;
    const closing = control.closeLane(lane, signal).then(() => {
      closed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(closed).toBe(false);
    await applier.query("COMMIT");
    await closing;
    await control.closeLane(lane, signal);
    const never = "shop-acme.app.f2" as LaneId;
    await control.closeLane(never, signal);
    const [rows] = await admin.query(`SELECT lane, epoch, closed FROM ${schema}.applier ORDER BY lane`);
    expect(rows).toEqual([
      { lane, epoch: 7, closed: 1 },
      { lane: never, epoch: 0, closed: 1 },
    ]);
    await applier.end();
  });

  test("C7: the mark where a way back begins carries lane and generation, and is one however often it is sent", async () => {
    const control = keep(new MysqlSourceControl({ address, draySchema: schema }));
    const begin = { generation: 4, nonce: "00112233445566778899aabbccddeeff" };
    for (let i = 0; i < 2; i++) await control.insertBeginMark("shop-acme.app.r4" as LaneId, begin, signal);
    const [rows] = await admin.query(`SELECT scope, epoch, LOWER(HEX(nonce)) nonce, kind FROM ${schema}.mark`);
    expect(rows).toEqual([{ scope: "shop-acme.app.r4", epoch: 4, nonce: begin.nonce, kind: "reverse" }]);
  });
});

async function waitFor<T>(look: () => Promise<T | null>): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    const found = await look();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
