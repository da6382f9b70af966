import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import { noProbe } from "../../pipeline/probe.ts";
import { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import { encodeKeysBody } from "../../pipeline/verify/verify-body.ts";
import type { ReadyEntry } from "../../sinks/entry-feed.ts";
import type { LaneSink } from "../../sinks/sink.ts";
import { Verifier } from "../../sinks/verifier.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { batch, MysqlTarget, type Row, soon } from "./mysql-target.ts";

const CONTENDED = { code: "GUARD_CONTENDED", problem: { retry: "backoff" } };

describeWithMysql("A8: two lanes of one installation meet in a MySQL target", ({ b: address }) => {
  let target: MysqlTarget;
  let one: LaneSink;
  let two: LaneSink;

  beforeAll(async () => {
    target = await MysqlTarget.open(address);
    await target.create("t", "id BIGINT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, v VARCHAR(20), KEY (tenant, id)");
    await target.create(
      "u",
      "id BIGINT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, v VARCHAR(20), UNIQUE KEY v (v), KEY (tenant, id)",
    );
    one = await target.open({ ...target.lane("one", "m1.db.f1"), move: "m1" });
    two = await target.open({ ...target.lane("two", "m2.db.f1"), move: "m2" });
  });
  afterAll(async () => {
    await one?.close();
    await two?.close();
    await target?.close();
  });

  const put = (table: string, ...row: string[]) => target.change(table, "update", row);
  const drop = (table: string, ...row: string[]) => target.change(table, "delete", row);

  test("a row of the other's stands under the key: nothing has happened, and the move is named", async () => {
    await two.applyChanges(batch(1, [put("t", "1", "two", "x")]), soon());
    const meets = batch(1, [put("t", "9", "one", "z"), put("t", "1", "one", "y")]);
    await expect(one.applyChanges(meets, soon())).rejects.toMatchObject({
      ...CONTENDED,
      facts: { seq: 1, table: target.id("t"), key: "1", tenant: "two", move: "m2", lane: "m2.db.f1" },
    });
    expect(await target.rows("t")).toEqual(["1 two x"]);
    await two.applyChanges(batch(2, [drop("t", "1", "two", "x")]), soon());
    await one.applyChanges(meets, soon());
    expect(await target.rows("t")).toEqual(["1 one y", "9 one z"]);
  });

  test("a row of the other's holds a unique value; one that the log changes again is not waited for", async () => {
    await two.applyChanges(batch(3, [put("u", "1", "two", "Hot")]), soon());
    const meets = [put("u", "2", "one", "hot"), put("u", "3", "one", "free")];
    await expect(one.applyChanges(batch(2, meets), soon())).rejects.toMatchObject({
      ...CONTENDED,
      facts: { key: "2" },
    });
    const key = keyText(target.key("u", ["2", "one", "hot"]));
    const changedLater = (table: string, text: string) => table === target.id("u") && text === key;
    await one.applyChanges({ ...batch(2, meets), changedLater }, soon());
    expect(await target.rows("u")).toEqual(["1 two Hot", "3 one free"]);
    // The later change may as well be in the batch itself.
    await one.applyChanges(batch(3, [put("u", "2", "one", "hot")], [put("u", "2", "one", "cold")]), soon());
    expect(await target.rows("u")).toEqual(["1 two Hot", "2 one cold", "3 one free"]);
  });

  test("a row that is not written now, as the log changes it again, keeps no unique value from the lane's own rows", async () => {
    await two.applyChanges(batch(100, [put("u", "50", "two", "taken")]), soon());
    await one.applyChanges(batch(100, [put("u", "60", "one", "handed over")]), soon());
    const key = keyText(target.key("u", ["60", "one", ""]));
    const changedLater = (table: string, text: string) => table === target.id("u") && text === key;
    const changes = [[put("u", "60", "one", "taken")], [put("u", "61", "one", "handed over")]];
    await one.applyChanges({ ...batch(101, ...changes), changedLater }, soon());
    expect((await target.rows("u")).slice(-2)).toEqual(["50 two taken", "61 one handed over"]);
    await one.applyChanges(batch(103, [put("u", "60", "one", "its own")]), soon());
    expect((await target.rows("u")).slice(-2)).toEqual(["60 one its own", "61 one handed over"]);
    await two.applyChanges(batch(101, [drop("u", "50", "two", "taken")]), soon());
    const gone = [drop("u", "60", "one", "its own"), drop("u", "61", "one", "handed over")];
    await one.applyChanges(batch(104, gone), soon());
  });

  // Which rows they are is the applier's to know: test/unit/passed-over.test.ts.
  test("V1, A8: a row that is not written now, as the log changes it again, is no difference meanwhile", async () => {
    await two.applyChanges(batch(200, [put("u", "201", "two", "worn")]), soon());
    const change = put("u", "202", "one", "worn");
    await one.applyChanges({ ...batch(200, [change]), changedLater: () => true }, soon());
    const state = new VerifiedState({ tables: target.tables });
    const verifier = new Verifier({
      ...{ state, clock: systemClock, probe: noProbe, columnsOf: () => [] },
      onKeysRead() {},
      onCompared() {},
    });
    const scope = { form: "keys", table: target.id("u"), keys: 1 } as const;
    const header = { seq: 201, detail: { kind: "verify", scope } };
    const verify = encodeKeysBody({ leftOut: [], rows: [{ key: change.key, row: change.row }] });
    const compareAt = async (seq: number, passedOver: ReadonlySet<string>) => {
      const entry = { header: { ...header, seq }, verify } as unknown as ReadyEntry;
      verifier.compare(entry, Promise.resolve({ view: await one.openReadView(soon()), passedOver }));
      expect(await verifier.outcome(seq, soon())).toBe("compared");
      return state.table(scope.table).differences.length;
    };
    expect(await compareAt(201, new Set([keyText(change.key)]))).toBe(0);
    expect(await compareAt(202, new Set())).toBe(1);
  });

  test("W4: a table is shared while another move that is under way brings rows of it", async () => {
    expect(await one.isShared(target.id("t"), soon())).toBe(true);
    const three = target.lane("three", "m3.db.f1");
    const tables = three.tables.filter(({ id }) => id === target.id("u"));
    const alone = await target.open({ ...three, move: "m3", tables });
    await target.sql.run(`INSERT INTO ${target.dray}.cutover VALUES ('m2', 1, 'COMMITTED', '', '{}')`);
    expect(await one.isShared(target.id("t"), soon())).toBe(false);
    expect(await one.isShared(target.id("u"), soon())).toBe(true);
    await target.sql.run(`DELETE FROM ${target.dray}.cutover`);
    await alone.close();
    await target.sql.run(`DELETE FROM ${target.dray}.lane WHERE move = 'm3'`);
  });

  test("a delete finds the row given away already", async () => {
    await two.applyChanges(batch(4, [put("t", "20", "two", "x")]), soon());
    await one.applyChanges(batch(5, [drop("t", "20", "one", "x")]), soon());
    expect(await target.rows("t")).toContain("20 two x");
  });

  test("two rows that change hands in one transaction: each lane gives what it can, and both pass", async () => {
    await one.applyChanges(batch(6, [put("t", "30", "one", "a")]), soon());
    await two.applyChanges(batch(5, [put("t", "31", "two", "b")]), soon());
    const toOne = batch(7, [drop("t", "30", "one", "a"), put("t", "31", "one", "b")]);
    const toTwo = batch(6, [put("t", "30", "two", "a"), drop("t", "31", "two", "b")]);
    await expect(one.applyChanges(toOne, soon())).rejects.toMatchObject(CONTENDED);
    await two.applyChanges(toTwo, soon());
    await one.applyChanges(toOne, soon());
    expect((await target.rows("t")).slice(-2)).toEqual(["30 two a", "31 one b"]);
  });

  test.each([0, 1])("a chunk of pass %i meets the other's row, and passes once that has gone", async (pass) => {
    const base = 100 * (pass + 1);
    const rows: Row[] = [base, base + 1, base + 2].map((id) => [String(id), "one", "chunk"]);
    const seq = 10 + pass;
    await two.applyChanges(batch(10 + 2 * pass, [put("t", String(base + 1), "two", "x")]), soon());
    const bounds = { after: [String(base - 1), "one", ""], upTo: [String(base + 50), "one", ""] };
    const chunk = target.chunk({ table: "t", rows, seq, pass, ...bounds });
    await expect(one.applyChunk(chunk, soon())).rejects.toMatchObject({ ...CONTENDED, facts: { key: `${base + 1}` } });
    const given = keyText(target.key("t", [String(base + 1), "one", ""]));
    if (pass === 0) {
      await one.applyChunk({ ...chunk, changedLater: (_table, key) => key === given }, soon());
      expect((await target.rows("t")).slice(-3)).toEqual([
        `${base} one chunk`,
        `${base + 1} two x`,
        `${base + 2} one chunk`,
      ]);
      return;
    }
    await two.applyChanges(batch(11 + 2 * pass, [drop("t", String(base + 1), "two", "x")]), soon());
    await one.applyChunk(chunk, soon());
    expect((await target.rows("t")).slice(-3)).toEqual(rows.map((row) => row.join(" ")));
  });

  test("final where the row is of no lane's tenant, or of one whose move has arrived or is gone", async () => {
    const insert = `INSERT INTO ${target.table("t")} VALUES (?, ?, 'x')`;
    const meets = (seq: number, id: string) => one.applyChanges(batch(seq, [put("t", id, "one", "y")]), soon());
    await target.sql.execute(insert, [Buffer.from("900"), Buffer.from("TWO")]);
    await expect(meets(20, "900")).rejects.toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { key: "900" } });
    await target.sql.execute(insert, [Buffer.from("901"), Buffer.from("two")]);
    await expect(meets(20, "901")).rejects.toMatchObject(CONTENDED);
    const outcome = (generation: number) =>
      target.sql.run(`INSERT INTO ${target.dray}.cutover VALUES ('m2', ${generation}, 'COMMITTED', '', '{}')`);
    await outcome(0);
    await expect(meets(20, "901")).rejects.toMatchObject(CONTENDED);
    await outcome(3);
    await expect(meets(20, "901")).rejects.toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { key: "901" } });
    await target.sql.run(`DELETE FROM ${target.dray}.cutover`);
    const three = { ...target.lane("three", "m3.db.f2" as LaneId), move: "m3" };
    const before = await target.open({ ...three, lane: "m3.db.f1" as LaneId });
    await before.close();
    const sink = await target.open(three);
    await sink.applyChanges(batch(1, [put("t", "902", "three", "x")]), soon());
    await expect(meets(20, "902")).rejects.toMatchObject(CONTENDED);
    await sink.closeForGood(soon());
    // Its rows are still being removed.
    await expect(meets(20, "902")).rejects.toMatchObject(CONTENDED);
    await sink.close();
    await target.sink().removeRows(three, { onBatch: () => {} }, soon());
    await target.sql.execute(insert, [Buffer.from("902"), Buffer.from("three")]);
    await expect(meets(20, "902")).rejects.toMatchObject({ code: "GUARD_FOREIGN_ROW", facts: { key: "902" } });
  });
});
