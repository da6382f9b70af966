import { afterAll, beforeAll, expect, test } from "vitest";
import { connectMysql } from "../../connectors/mysql/client.ts";
import { MysqlConnector } from "../../connectors/mysql/connector.ts";
import { discoverTables } from "../../connectors/mysql/discover-tables.ts";
import { MysqlGenerationBook } from "../../connectors/mysql/generation-book.ts";
import { readTables } from "../../connectors/mysql/schema-reader.ts";
import { MysqlSourceControl } from "../../connectors/mysql/source-control.ts";
import { SqlAdapter } from "../../cutover/adapters/sql-adapter.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Change, LaneId } from "../../pipeline/entry.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { LaneSource, SourceEvent } from "../../pipeline/source.ts";
import { MysqlSink } from "../../sinks/mysql/mysql-sink.ts";
import { MysqlTargetControl } from "../../sinks/mysql/target-control.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { INSTALLATION, PreflightSystem, TENANT } from "./preflight-system.ts";

const signal = AbortSignal.timeout(120_000);

/** Whatever a move asks of two servers, asked under accounts that may do nothing else. */
describeWithMysql("the grants that preflight asks for are enough", (mysql) => {
  let system: PreflightSystem;
  let source: LaneSource;

  beforeAll(async () => {
    system = await PreflightSystem.create({ source: mysql.a, target: mysql.b });
    await system.install();
    const session = await connectMysql(system.address.source, { side: "source" });
    const live = new Map([[system.names.source, await readTables(session, system.names.source)]]);
    await session.close();
    const { tables } = discoverTables(system.schemas(), live, "source");
    source = { lane: `shop-${TENANT}.app.f1` as LaneId, move: `shop-${TENANT}`, tenant: TENANT, tables };
  });
  afterAll(() => system?.drop());

  test("T2: the root is copied last", () => {
    expect(source.tables.map((table) => table.id.split(".")[1])).toEqual(["users", "orders", "companies"]);
    expect(source.tables.map((table) => table.root)).toEqual([false, false, true]);
  });

  test("K5: capture, copy, apply and abort", async () => {
    const connector = new MysqlConnector({
      address: system.address.source,
      draySchema: system.names.dray,
      installationId: INSTALLATION,
      clock: systemClock,
    });
    const sink = new MysqlSink({
      address: system.address.target,
      draySchema: system.names.dray,
      clock: systemClock,
      probe: noProbe,
    });
    try {
      const feed = await connector.attach(source, null, 1, signal);
      const lane = await sink.open(source, signal);
      const { lane: name } = source;
      await system.run("source", [
        "INSERT INTO {s}.users (id, tenant_id, email) VALUES (9, 'acme', 'new@x'), (11, 'birch', 'new@x')",
      ]);
      const nonce = "ab".repeat(16);
      let seq = 0;
      for (const { id } of source.tables) {
        const bound = await connector.nextBound(source, id, null, { rows: 100, bytes: 1 << 20 }, signal);
        expect(bound).toBeNull();
        await connector.mark(name, 1, "low", signal);
        await connector.fingerprint(signal);
        const range = { table: id, pass: 0, after: null, upTo: null, announces: "end" } as const;
        const read = await connector.readRange(source, range, signal);
        await connector.mark(name, 1, "high", signal);
        const { body, rows } = read.encode(new Set());
        seq += 1;
        await lane.applyChunk({ seq, nonce, range, leftOut: [], body, rows }, signal);
      }
      const changes = await changesOf(feed, signal);
      expect(changes).toHaveLength(1);
      seq += 1;
      await lane.applyChanges({ seqs: { first: seq, last: seq, nonce }, changes: [changes] }, signal);
      expect(await connector.countRows(source, signal)).toEqual(
        Object.fromEntries([
          [`${system.names.source}.users`, 3],
          [`${system.names.source}.orders`, 1],
          [`${system.names.source}.companies`, 1],
        ]),
      );
      const [copied] = await system.admin.target.query(
        `SELECT COUNT(*) rows_ FROM ${system.names.target}.users WHERE CAST(tenant_id AS BINARY) = 'acme'`,
      );
      expect(copied).toEqual([{ rows_: 3 }]);
      await lane.closeForGood(signal);
      await lane.close();
      await sink.removeRows(source, { onBatch: () => {} }, signal);
      await feed.close();
    } finally {
      await sink.close();
      await connector.close();
    }
  });

  test("K5: outcome, quiesce, fence, closing a lane, failover candidates and an SQL adapter", async () => {
    const draySchema = system.names.dray;
    const control = new MysqlSourceControl({ address: system.address.source, draySchema });
    // The other server stands for a replica: what is asked of it is what a replica of the target would be asked.
    const candidates = [system.address.source];
    const target = new MysqlTargetControl({ address: system.address.target, draySchema, candidates });
    const book = new MysqlGenerationBook({ address: system.address.source, draySchema, cluster: "source" });
    const none = { fence: [], unfence: [], retire: [], route: [] };
    const adapter = new SqlAdapter({
      name: "sql",
      timeoutMs: 5_000,
      enforcedByDatabase: false,
      statements: { ...none, fence: ["SELECT 1"] },
      book,
      clock: systemClock,
    });
    try {
      const { uuid } = await control.outcomes.serverIdentity(signal);
      const draft = { move: source.move, generation: 1, outcome: "ABORTED", homeUuid: uuid, facts: {} } as const;
      for (const side of [control, target]) {
        expect(await side.outcomes.insertOutcome({ ...draft, expectServerUuid: null }, signal)).toEqual({
          result: "won",
        });
      }
      expect(await control.blockers(source.tables, signal)).toEqual([]);
      await control.quiesce(source.tables, { deadlineMs: systemClock.monotonicMs() + 5_000, signal });
      await system.run("source", [
        "DELETE FROM {s}.orders WHERE tenant_id <> 'acme'",
        "DELETE FROM {s}.users WHERE CAST(tenant_id AS BINARY) <> 'acme'",
        "DELETE FROM {s}.companies WHERE id <> 'acme'",
      ]);
      const fence = control.schemaFence({
        schema: system.names.source,
        tenant: TENANT,
        tables: source.tables,
        ownedByTenant: "yes",
        waitSeconds: 5,
      });
      await fence.fence(signal);
      expect(await fence.isFenced(signal)).toBe(true);
      await fence.unfence(signal);
      await target.closeLane(source.lane, signal);
      await control.insertBeginMark(source.lane, { generation: 1, nonce: "ab".repeat(16) }, signal);
      const { set } = await target.history.acknowledged([], signal);
      expect(await target.history.holds(set, signal)).toMatchObject({ missing: null });
      expect(await target.history.candidates(50, signal)).toMatchObject([{ verdict: "no" }]);
      const elsewhere = target.history.confirmCandidates(set, AbortSignal.timeout(500));
      await expect(elsewhere).rejects.toMatchObject({ facts: { why: "it lacks transactions" } });
      const call = { move: source.move, tenant: TENANT, to: "b", generation: 1, expiresInMs: null };
      expect(await adapter.dryRun(call, source.tables, signal)).toEqual([]);
      expect(await adapter.fence(call, signal)).toMatchObject({ kind: "done", by: "answer" });
    } finally {
      await Promise.all([control.close(), target.close(), adapter.close()]);
    }
  });
});

async function changesOf(
  feed: { next(signal: AbortSignal): Promise<readonly SourceEvent[]> },
  signal: AbortSignal,
): Promise<readonly Change[]> {
  const changes: Change[] = [];
  while (changes.length === 0) {
    for (const event of await feed.next(signal)) if (event.type === "changes") changes.push(...event.changes);
  }
  return changes;
}
