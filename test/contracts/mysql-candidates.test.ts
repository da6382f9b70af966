import type { Connection } from "mysql2/promise";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { connectMysql, type MysqlAddress } from "../../connectors/mysql/client.ts";
import { GtidSet } from "../../connectors/mysql/gtid-set.ts";
import { ensureDraySchema } from "../../connectors/mysql/installation.ts";
import { type MysqlServer, openServers, type Servers } from "../../docker/servers.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { MysqlTargetControl } from "../../sinks/mysql/target-control.ts";
import { executedBy, Replica, uuidOf } from "../setup/replica.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { connect, INSTALLATION } from "./preflight-system.ts";

const signal = AbortSignal.timeout(300_000);
const LANE = "shop-acme.app.f1" as LaneId;

describeWithOwnServers("C6: a target's history and its failover candidates", ["mysql"], () => {
  let all: Servers;
  let target: MysqlServer;
  let admin: Connection;
  let replica: Replica;
  let other: MysqlServer;
  const open: { close(): Promise<void> }[] = [];

  beforeAll(async () => {
    all = await openServers();
    [target, other] = await Promise.all([all.mysql({ name: "c6-target" }), all.mysql({ name: "c6-other" })]);
    replica = await Replica.start(all, "c6-replica", target);
    admin = await connect(target);
    for (const address of [target, other]) {
      const session = await connectMysql(address, { side: "source" });
      await ensureDraySchema(session, { schema: "dray", installationId: INSTALLATION });
      await session.close();
    }
  });
  beforeEach(async () => {
    await admin.query("REPLACE INTO dray.watermark (lane, seq) VALUES (?, 10)", [LANE]);
    await replica.waitFor(await executedBy(admin));
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((control) => control.close()));
  });
  afterAll(async () => {
    admin?.destroy();
    replica?.close();
    await all?.close();
  });

  const history = (candidates: readonly MysqlAddress[] = [], address: MysqlAddress = target) => {
    const control = new MysqlTargetControl({ address, draySchema: "dray", candidates });
    open.push(control);
    return control.history;
  };
  const write = async (): Promise<string> => {
    const before = GtidSet.parse(await executedBy(admin));
    await admin.query("UPDATE dray.watermark SET seq = seq + 1 WHERE lane = ?", [LANE]);
    return `${GtidSet.parse(await executedBy(admin)).minus(before)}`;
  };
  const name = ({ host, port }: MysqlAddress) => `${host}:${port}`;
  const soon = (ms: number) => AbortSignal.timeout(ms);

  test("what is acknowledged holds the watermark, and is told with the server that has it", async () => {
    const gtid = await write();
    const { serverUuid, set } = await history().acknowledged([{ lane: LANE, seq: 11 }], signal);
    expect(serverUuid).toBe(await uuidOf(admin));
    expect(GtidSet.parse(gtid).isSubsetOf(GtidSet.parse(set ?? ""))).toBe(true);
  });

  test("a server that lacks what a lane has applied is not the one that said so", async () => {
    const up = (seq: number) => history().acknowledged([{ lane: LANE, seq }], signal);
    await expect(up(11)).rejects.toMatchObject({ code: "TARGET_CHANGED", facts: { watermark: 10, applied: 11 } });
    const elsewhere = history([], other).acknowledged([{ lane: LANE, seq: 10 }], signal);
    await expect(elsewhere).rejects.toMatchObject({ code: "TARGET_CHANGED", facts: { watermark: 0 } });
  });

  test("without named candidates nobody is asked, and nothing is waited for", async () => {
    await history().confirmCandidates(null, signal);
    expect(await history().candidates(1_000, signal)).toEqual([]);
  });

  test("a candidate that follows is confirmed as soon as it has everything", async () => {
    const asked = history([replica.server]);
    expect(await asked.candidates(5_000, signal)).toEqual([
      { candidate: name(replica.server), verdict: "yes", value: expect.stringContaining("has all after") },
    ]);
    for (let round = 0; round < 10; round++) {
      await write();
      const { set } = await asked.acknowledged([{ lane: LANE, seq: 10 }], signal);
      await asked.confirmCandidates(set, signal);
      expect(GtidSet.parse(set ?? "").isSubsetOf(GtidSet.parse(await executedBy(replica.admin)))).toBe(true);
    }
  });

  test("a candidate that is behind when the time ends is named, with what it lacks; once it has it, it is confirmed", async () => {
    const asked = history([replica.server]);
    await replica.stopApplying();
    const gtids = GtidSet.parse(await write());
    gtids.addAll(GtidSet.parse(await write()));
    const { set } = await asked.acknowledged([], signal);
    await expect(asked.confirmCandidates(set, soon(500))).rejects.toMatchObject({
      code: "TARGET_CANDIDATE_BEHIND",
      facts: { candidate: name(replica.server), why: "it lacks transactions", missing: "2", set: `${gtids}` },
    });
    let isConfirmed = false;
    const confirmed = asked.confirmCandidates(set, signal).then(() => {
      isConfirmed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isConfirmed).toBe(false);
    await replica.startApplying();
    await confirmed;
  });

  test("of several, the one that is not reached is named at once, however long another may still take", async () => {
    await replica.stopApplying();
    await write();
    const nobody = { ...other, port: 1 };
    const asked = history([replica.server, nobody]);
    const { set } = await asked.acknowledged([], signal);
    await expect(asked.confirmCandidates(set, signal)).rejects.toMatchObject({
      code: "TARGET_CANDIDATE_BEHIND",
      facts: {
        candidate: name(nobody),
        why: "it does not answer",
        error: expect.stringContaining("MYSQL_UNREACHABLE"),
      },
    });
    await replica.startApplying();
  });

  test("a candidate that hangs is waited for until the time ends, and one whose idle session was ended is asked anew", async () => {
    const asked = history([replica.server]);
    await asked.candidates(5_000, signal);
    const { set } = await asked.acknowledged([], signal);
    const [rows] = await replica.admin.query(
      `SELECT PROCESSLIST_ID AS id FROM performance_schema.session_connect_attrs
        WHERE ATTR_NAME = 'dray_role' AND ATTR_VALUE = 'candidate'`,
    );
    const ids = (rows as { id: number }[]).map(({ id }) => id);
    expect(ids).toHaveLength(1);
    await replica.admin.query(`KILL ${ids[0]}`);
    await asked.confirmCandidates(set, signal);
    replica.server.pause();
    const hanging = asked.confirmCandidates(set, soon(500)).finally(() => replica.server.resume());
    await expect(hanging).rejects.toMatchObject({
      code: "TARGET_CANDIDATE_BEHIND",
      facts: { candidate: name(replica.server), why: "it does not answer" },
    });
  });

  test("the gate is told of each candidate what is wrong with it", async () => {
    const nobody = { ...other, port: 1 };
    const asked = history([replica.server, target, other, nobody]);
    const states = async (withinMs = 1_000) => {
      const found = await asked.candidates(withinMs, signal);
      return found.map(({ candidate, verdict, value }) => `${candidate} ${verdict}: ${value}`);
    };
    const [follows, ...others] = await states();
    expect(follows).toContain(`${name(replica.server)} yes: has all after`);
    expect(others).toEqual([
      `${name(target)} no: is the target itself`,
      expect.stringMatching(new RegExp(`^${name(other)} no: has \\d+ transactions that the target never executed: `)),
      expect.stringContaining(`${name(nobody)} unknown: MYSQL_UNREACHABLE`),
    ]);
    await replica.stopApplying();
    const self = name(replica.server);
    await replica.stopApplying();
    expect((await states())[0]).toBe(`${self} no: executes nothing of what it receives: its replication is stopped`);
    await replica.admin.query("STOP REPLICA IO_THREAD");
    await replica.startApplying();
    expect((await states())[0]).toBe(`${self} no: receives nothing: its replication is stopped`);
    await replica.delay(3600);
    await write();
    await expect
      .poll(async () => (await states(300))[0], { timeout: 20_000 })
      .toBe(`${self} no: lacks 1 of the target's transactions after 300 ms`);
    await replica.delay(0);
  });

  test("what the server that answers now lacks is counted and named", async () => {
    const { set } = await history().acknowledged([], signal);
    await replica.waitFor(set ?? "");
    const there = history([], replica.server);
    const serverUuid = await uuidOf(replica.admin);
    expect(await there.holds(set, signal)).toEqual({ serverUuid, missing: null });
    await replica.stopApplying();
    const gtid = await write();
    const now = await history().acknowledged([], signal);
    expect(await there.holds(now.set, signal)).toEqual({ serverUuid, missing: { count: 1n, set: gtid } });
    expect(await there.holds(null, signal)).toEqual({ serverUuid, missing: null });
    await replica.startApplying();
    const nowhere = history([], { ...target, port: 1 });
    await expect(nowhere.holds(set, signal)).rejects.toMatchObject({ code: "MYSQL_UNREACHABLE" });
  });

  test("a target that gives out no GTIDs has no set, and no candidate of it counts", async () => {
    const plain = await all.mysql({ name: "c6-plain", flags: ["--gtid-mode=OFF_PERMISSIVE"] });
    const session = await connectMysql(plain, { side: "source" });
    await ensureDraySchema(session, { schema: "dray", installationId: INSTALLATION });
    await session.close();
    const asked = history([replica.server], plain);
    expect(await asked.acknowledged([], signal)).toMatchObject({ set: null });
    const why = "the target gives out no GTIDs (gtid_mode, log_bin)";
    await expect(asked.confirmCandidates(null, signal)).rejects.toMatchObject({ facts: { why } });
    expect(await asked.candidates(1_000, signal)).toMatchObject([{ verdict: "no", value: why }]);
    await plain.stop("kill");
  });
});
