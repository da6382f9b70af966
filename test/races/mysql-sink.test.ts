import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { connectMysql, type MysqlSession, quoteIdentifier, quoteTable } from "../../connectors/mysql/client.ts";
import { withBackoff } from "../../pipeline/backoff.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { LaneSink, LaneTarget } from "../../sinks/sink.ts";
import { batch, MysqlTarget, type Row, soon } from "../contracts/mysql-target.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const COLUMNS = "id BIGINT PRIMARY KEY AUTO_INCREMENT, tenant INT NOT NULL, v VARCHAR(20), KEY p (tenant, id)";

describeWithMysql("MySQL sink: faults and races", (mysql) => {
  let target: MysqlTarget;
  let neighbour: MysqlSession;
  let table: string;
  let tables = 0;
  let lane: LaneTarget;

  beforeAll(async () => {
    target = await MysqlTarget.open(mysql.b);
    neighbour = await connectMysql(mysql.b, { side: "source" });
  });
  afterAll(async () => {
    await neighbour?.close();
    await target?.close();
  });
  beforeEach(async () => {
    table = `t${++tables}`;
    await target.create(table, COLUMNS);
    lane = { ...target.lane("7"), tables: target.tables.slice(-1) };
  });

  const put = (id: number, v: string): Row => [String(id), "7", v];
  const write = (sink: LaneSink, seq: number, ...rows: Row[]) =>
    sink.applyChanges(
      batch(
        seq,
        rows.map((row) => target.change(table, "update", row)),
      ),
      soon(),
    );
  const quoted = () => target.table(table);

  /** A probe that stops once at a place, until released. */
  function stopAt(place: string): { readonly probe: Probe; readonly reached: Promise<void>; release(): void } {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    let armed = true;
    const probe: Probe = async (name) => {
      if (name !== place || !armed) return;
      armed = false;
      reached.resolve();
      await released.promise;
    };
    return { probe, reached: reached.promise, release: () => released.resolve() };
  }

  async function killSessions(sink: LaneSink): Promise<void> {
    const sessions = await neighbour.executeQuery(
      `SELECT PROCESSLIST_ID AS id FROM performance_schema.session_connect_attrs l
       JOIN performance_schema.session_connect_attrs e USING (PROCESSLIST_ID)
       WHERE l.ATTR_NAME = 'dray_lane' AND l.ATTR_VALUE = ? AND e.ATTR_NAME = 'dray_epoch' AND e.ATTR_VALUE = ?`,
      [lane.lane, String(sink.epoch)],
    );
    expect(sessions.length).toBe(sink.sessions + 1);
    for (const { id } of sessions) await neighbour.run(`KILL CONNECTION ${id}`);
  }

  test("A7: a later applier ends the transaction of the one before, which then is fenced", async () => {
    const stop = stopAt("apply.before-commit");
    const zombie = await target.open(lane, stop.probe);
    const writing = write(zombie, 1, put(1, "zombie"));
    await stop.reached;
    const later = await target.open(lane);
    await write(later, 1, put(1, "later"));
    stop.release();
    await expect(writing).rejects.toMatchObject({ code: "TARGET_OUTCOME_UNKNOWN" });
    await expect(write(zombie, 1, put(1, "zombie"))).rejects.toMatchObject({ code: "FENCED" });
    await zombie.close();
    expect(await target.rows(table)).toEqual(["1 7 later"]);
    expect(await target.applied(lane.lane)).toEqual(["1-1"]);
    await later.close();
  });

  test("A7: a later applier waits for the locks of a transaction that it may not end", async () => {
    const stop = stopAt("apply.before-commit");
    const earlier = await target.open(lane, stop.probe);
    const writing = write(earlier, 1, put(1, "earlier"));
    await stop.reached;
    // As if another account had opened them: nothing stored matches, nothing is killed.
    const applier = quoteTable(target.dray, "applier");
    const clear = `UPDATE ${applier} SET connections = '[]' WHERE lane = '${lane.lane}'`;
    const cleared = neighbour.run(clear);
    setTimeout(() => stop.release(), 200);
    await writing;
    await cleared;
    const later = await target.open(lane);
    expect((await later.progress(soon())).applied).toMatchObject([{ first: 1, last: 1 }]);
    await expect(write(earlier, 2, put(1, "zombie"))).rejects.toMatchObject({ code: "FENCED" });
    await earlier.close();
    await later.close();
  });

  test("A7: no connection is ended whose server, start or attributes are not the stored ones", async () => {
    const bystander = await connectMysql(mysql.b, {
      side: "source",
      attributes: { dray_lane: "other", dray_epoch: "1" },
    });
    const first = await target.open(lane);
    const applier = quoteTable(target.dray, "applier");
    const stored = JSON.stringify([
      { uuid: bystander.serverUuid, startedAtS: 1, id: neighbour.connectionId },
      { uuid: "00000000-0000-0000-0000-000000000000", startedAtS: 1, id: bystander.connectionId },
    ]);
    await neighbour.execute(`UPDATE ${applier} SET connections = ? WHERE lane = ?`, [stored, lane.lane]);
    const later = await target.open(lane);
    await bystander.run("DO 1");
    await neighbour.run("DO 1");
    await bystander.close();
    await first.close();
    await later.close();
  });

  describe("A8: a connection killed around COMMIT", () => {
    for (const place of ["apply.before-commit", "apply.after-commit"] as const) {
      test(`${place}: the target says what happened, and nothing is applied twice or lost`, async () => {
        const stop = stopAt(place);
        const sink = await target.open(lane, stop.probe);
        const writing = write(sink, 1, put(1, "a"), put(2, "b"));
        const outcome = writing.then(
          () => null,
          (error: unknown) => error,
        );
        await stop.reached;
        await killSessions(sink);
        stop.release();
        const error = await outcome;
        if (place === "apply.before-commit") expect(error).toMatchObject({ code: "TARGET_OUTCOME_UNKNOWN" });
        const { applied } = await withBackoff(() => sink.progress(soon()), { signal: soon(), onRetry: () => {} });
        expect(applied.length).toBe(place === "apply.after-commit" ? 1 : 0);
        if (applied.length === 0)
          await withBackoff(() => write(sink, 1, put(1, "a"), put(2, "b")), { signal: soon(), onRetry: () => {} });
        expect(await target.rows(table)).toEqual(["1 7 a", "2 7 b"]);
        expect(await target.applied(lane.lane)).toEqual(["1-1"]);
        await sink.close();
      });
    }
  });

  test("A8: a deadlock is transient, has changed nothing, and its repeat succeeds", async () => {
    const sink = await target.open(lane);
    await write(sink, 1, put(1, "a"), put(2, "b"));
    await neighbour.run("START TRANSACTION");
    // Heavier than the sink's transaction, so that the server picks that one as the victim.
    await neighbour.run(`INSERT INTO ${quoted()} (tenant, v) VALUES ${Array.from({ length: 50 }, () => "(8, 'x')")}`);
    await neighbour.run(`UPDATE ${quoted()} SET v = 'n' WHERE id = 2`);
    const order = [target.change(table, "delete", put(1, "")), target.change(table, "update", put(2, "c"))];
    const writing = sink.applyChanges(batch(2, order), soon());
    const outcome = writing.then(
      () => null,
      (error: unknown) => error,
    );
    await lockWait();
    await neighbour.run(`UPDATE ${quoted()} SET v = 'n' WHERE id = 1`);
    expect(await outcome).toMatchObject({ code: "MYSQL_TRANSIENT", facts: { error: "ER_LOCK_DEADLOCK" } });
    await neighbour.run("ROLLBACK");
    expect(await target.rows(table)).toEqual(["1 7 a", "2 7 b"]);
    await sink.applyChanges(batch(2, order), soon());
    expect(await target.rows(table)).toEqual(["2 7 c"]);
    await sink.close();
  });

  test("A8: a schema that is read-only is waited for, not given up", async () => {
    const sink = await target.open(lane);
    const schema = quoteIdentifier(target.schema);
    await neighbour.run(`ALTER SCHEMA ${schema} READ ONLY = 1`);
    try {
      const error = { code: "MYSQL_TRANSIENT", facts: { error: "ER_SCHEMA_READ_ONLY" } };
      await expect(write(sink, 1, put(1, "a"))).rejects.toMatchObject(error);
      const chunk = target.chunk({ table, rows: [put(1, "a")] });
      await expect(sink.applyChunk(chunk, soon())).rejects.toMatchObject(error);
    } finally {
      await neighbour.run(`ALTER SCHEMA ${schema} READ ONLY = 0`);
    }
    await write(sink, 1, put(1, "a"));
    expect(await target.rows(table)).toEqual(["1 7 a"]);
    await sink.close();
  });

  test("A7: sessions lost while idle are replaced without an error", async () => {
    const sink = await target.open(lane);
    await write(sink, 1, put(1, "a"));
    await killSessions(sink);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await write(sink, 2, put(1, "b"));
    expect(await target.rows(table)).toEqual(["1 7 b"]);
    const applier = quoteTable(target.dray, "applier");
    const [row] = await neighbour.query(
      `SELECT JSON_LENGTH(connections) AS n FROM ${applier} WHERE lane = '${lane.lane}'`,
    );
    expect(Number(row?.["n"])).toBe(1);
    await sink.close();
  });

  test("a call that is aborted ends its transaction", async () => {
    const sink = await target.open(lane);
    await neighbour.run("START TRANSACTION");
    await neighbour.run(`INSERT INTO ${quoted()} (id, tenant) VALUES (1, 7)`);
    const abort = new AbortController();
    const writing = sink.applyChanges(batch(1, [target.change(table, "update", put(1, "a"))]), abort.signal);
    const outcome = writing.then(
      () => null,
      (error: unknown) => error,
    );
    await lockWait();
    abort.abort();
    expect(await outcome).toMatchObject({ problem: { retry: "backoff" } });
    await neighbour.run("ROLLBACK");
    await write(sink, 1, put(1, "b"));
    expect(await target.rows(table)).toEqual(["1 7 b"]);
    await sink.close();
  });

  test("A6: neighbours in the gaps and at the end never wait for load, replacement, deletes or clean-up", async () => {
    const sink = await target.open(lane);
    const session = await connectMysql(mysql.b, { side: "source" });
    await session.run(`INSERT INTO ${quoted()} VALUES (100001, 8, 'the end')`);
    let going = true;
    let rounds = 0;
    // Ids of the tenant are even; neighbours take the odd ones between, and ever higher ones.
    const working = (async () => {
      for (let id = 1; going; id = (id + 98) % 20_000, rounds++) {
        await session.run(`INSERT INTO ${quoted()} (tenant, v) VALUES (8, 'end')`);
        await session.run(`INSERT INTO ${quoted()} VALUES (${id}, 8, 'gap') ON DUPLICATE KEY UPDATE v = 'again'`);
        await session.run(`DELETE FROM ${quoted()} WHERE id = ${id} AND tenant = 8`);
      }
    })();
    const waits = new WaitWatch(neighbour, session.connectionId);
    const watching = (async () => {
      while (going) await waits.look();
    })();
    const rows = Array.from({ length: 5_000 }, (_, i) => put(2 + 2 * i, "copied"));
    const some = rows.filter((_, i) => i % 2 === 0);
    const range = { after: put(0, ""), upTo: put(12_000, "") };
    await sink.applyChunk(target.chunk({ ...range, table, rows, seq: 1 }), soon());
    await sink.applyChunk(target.chunk({ ...range, table, rows: some, seq: 2, pass: 1 }), soon());
    const deletes = some.map((row) => target.change(table, "delete", row));
    await sink.applyChanges(batch(3, deletes), soon());
    await sink.applyChunk(target.chunk({ ...range, table, rows, seq: 4 }), soon());
    expect((await sink.clearTable(target.id(table), soon())).rows).toBe(5_000);
    going = false;
    await Promise.all([working, watching]);
    await session.close();
    expect(rounds).toBeGreaterThan(20);
    expect(waits.looks).toBeGreaterThan(5);
    expect(waits.longestMs).toBeLessThan(100);
    await sink.close();
  });

  async function lockWait(): Promise<void> {
    for (;;) {
      const [row] = await target.sql.query(
        `SELECT COUNT(*) AS n FROM performance_schema.data_lock_waits w JOIN performance_schema.data_locks l
         ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID WHERE l.OBJECT_SCHEMA = '${target.schema}'`,
      );
      if (Number(row?.["n"]) > 0) return;
    }
  }
});

/** How long one connection was seen to wait for one and the same lock. */
class WaitWatch {
  readonly #watcher: MysqlSession;
  readonly #connection: number;
  readonly #since = new Map<string, number>();
  looks = 0;
  longestMs = 0;

  constructor(watcher: MysqlSession, connection: number) {
    this.#watcher = watcher;
    this.#connection = connection;
  }

  async look(): Promise<void> {
    const atMs = performance.now();
    const rows = await this.#watcher.query(
      `SELECT w.REQUESTING_ENGINE_LOCK_ID AS id FROM performance_schema.data_lock_waits w
       JOIN performance_schema.threads t ON t.THREAD_ID = w.REQUESTING_THREAD_ID
       WHERE t.PROCESSLIST_ID = ${this.#connection}`,
    );
    this.looks++;
    const ids = new Set(rows.map((row) => String(row["id"])));
    for (const id of this.#since.keys()) if (!ids.has(id)) this.#since.delete(id);
    for (const id of ids) {
      const since = this.#since.get(id) ?? atMs;
      this.#since.set(id, since);
      this.longestMs = Math.max(this.longestMs, atMs - since);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
