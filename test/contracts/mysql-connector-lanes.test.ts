import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { parsePosition } from "../../connectors/mysql/position.ts";
import type { Position } from "../../pipeline/entry.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { drain, NEVER, Replay, StreamHarness, until } from "./mysql-stream.ts";

const DDL = [
  `CREATE TABLE orders (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, tenant VARCHAR(40) NOT NULL, body MEDIUMTEXT, n INT, KEY (tenant, id))`,
];

describeWithMysql("lanes on one MySQL reader (M9)", ({ a }) => {
  let harness: StreamHarness;
  beforeAll(async () => {
    harness = await StreamHarness.open(a, DDL, { orders: "tenant" });
  });
  afterAll(() => harness?.close());

  test("a lane that does not take is detached, the other never waits, and both end exact on one reader", async () => {
    const connector = harness.connector();
    const [slow, quick] = [harness.lane("slow"), harness.lane("quick")];
    const slowFeed = await connector.attach(slow, null, 1, NEVER);
    const quickFeed = await connector.attach(quick, null, 1, NEVER);
    const quickReplay = new Replay(harness.tables);
    const stop = new AbortController();
    let quickBeats = 0;
    const taking = (async () => {
      for (;;) {
        const events = await quickFeed.next(stop.signal);
        quickBeats += events.filter((event) => event.type === "mark").length;
        quickReplay.apply(events);
      }
    })().catch(() => {});
    const sql = await harness.client();
    for (let i = 0; i < 12; i++) {
      await sql.run("START TRANSACTION");
      for (let k = 0; k < 8; k++)
        await sql.run("INSERT INTO orders (tenant, body, n) VALUES ('slow', REPEAT('b', 400000), 1)");
      await sql.run("INSERT INTO orders (tenant, body, n) VALUES ('quick', 'q', 1)");
      await sql.run("COMMIT");
    }
    await vi.waitFor(() => expect(slowFeed.state().state).toBe("detached"), 20_000);
    await vi.waitFor(() => expect(quickReplay.rows.size).toBe(12), 20_000);
    const beats = quickBeats;
    await vi.waitFor(() => expect(quickBeats).toBeGreaterThan(beats + 2), 20_000);
    expect(quickFeed.state()).toMatchObject({ state: "shared", connects: 1 });

    const slowReplay = new Replay(harness.tables);
    slowReplay.apply(await drain(connector, slowFeed, slow));
    expect(slowReplay.rows).toEqual(await harness.rowsBySql("slow"));
    // It takes again, stands where the shared reader stands, and joins it without a new connection of that one.
    const finish = drain(connector, slowFeed, slow);
    slowReplay.apply(await finish);
    await vi.waitFor(async () => {
      slowReplay.apply(await drain(connector, slowFeed, slow));
      expect(slowFeed.state().state).toBe("shared");
    }, 20_000);
    await sql.run("UPDATE orders SET n = n + 1, body = 'small'");
    slowReplay.apply(await drain(connector, slowFeed, slow));
    expect(slowReplay.rows).toEqual(await harness.rowsBySql("slow"));
    stop.abort();
    await taking;
    quickReplay.apply(await drain(connector, quickFeed, quick));
    expect(quickReplay.rows).toEqual(await harness.rowsBySql("quick"));
    await connector.close();
  });

  test("where nobody takes, the reader is paused, nobody is detached, and nothing is lost", async () => {
    const connector = harness.connector();
    const lanes = ["jam1", "jam2"].map((tenant) => harness.lane(tenant));
    const feeds = await Promise.all(lanes.map((lane) => connector.attach(lane, null, 1, NEVER)));
    const sql = await harness.client();
    for (let i = 0; i < 12; i++) {
      for (const tenant of ["jam1", "jam2"]) {
        await sql.run(
          `INSERT INTO orders (tenant, body, n) SELECT '${tenant}', REPEAT('c', 400000), n FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) AS five`,
        );
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    for (const feed of feeds) expect(feed.state()).toMatchObject({ state: "shared", connects: 1 });
    await Promise.all(
      feeds.map(async (feed, i) => {
        const lane = lanes[i];
        if (!lane) throw new Error("no lane");
        const replay = new Replay(harness.tables);
        replay.apply(await drain(connector, feed, lane));
        expect(replay.rows).toEqual(await harness.rowsBySql(lane.tenant));
        expect(replay.rows.size).toBe(60);
      }),
    );
    await connector.close();
  });

  test("M9: a lane in cutover waits for no slow one, even while nobody takes", async () => {
    const connector = harness.connector();
    const [slow, moving] = [harness.lane("heavy"), harness.lane("moving")];
    const slowFeed = await connector.attach(slow, null, 1, NEVER);
    const movingFeed = await connector.attach(moving, null, 1, NEVER);
    const sql = await harness.client();
    const release = connector.prioritise(moving.lane);
    await fill(sql, "heavy");
    await sql.run("INSERT INTO orders (tenant, n) VALUES ('moving', 1)");
    const mark = await connector.mark(moving.lane, 1, "sentinel", NEVER);
    await vi.waitFor(() => expect(slowFeed.state().state).toBe("detached"), 20_000);
    // It is all there already: nothing waited for the slow one, nor for this one to ask.
    const [row] = await sql.query(`SELECT id FROM ${harness.draySchema}.mark WHERE nonce = UNHEX('${mark.nonce}')`);
    const taken = () => parsePosition(movingFeed.state().position).mark?.id ?? 0n;
    await vi.waitFor(() => expect(taken()).toBeGreaterThanOrEqual(BigInt(row?.["id"] ?? "0")), 2_000);
    const replay = new Replay(harness.tables);
    replay.apply(await until(movingFeed, mark.nonce, 5_000));
    expect(replay.rows).toEqual(await harness.rowsBySql("moving"));
    expect(movingFeed.state()).toMatchObject({ state: "shared", connects: 1 });

    // The slow one catches up, and comes back only when the cutover is over.
    const slowReplay = new Replay(harness.tables);
    for (let i = 0; i < 3; i++) slowReplay.apply(await drain(connector, slowFeed, slow));
    expect(slowReplay.rows).toEqual(await harness.rowsBySql("heavy"));
    expect(slowFeed.state().state).toBe("detached");
    release();
    release();
    await vi.waitFor(async () => {
      await drain(connector, slowFeed, slow);
      expect(slowFeed.state().state).toBe("shared");
    }, 20_000);
    await connector.close();
  });

  test("M9: a jam that stands when a cutover begins is dissolved at once", async () => {
    const connector = harness.connector();
    const [slow, moving] = [harness.lane("heavy2"), harness.lane("moving2")];
    const slowFeed = await connector.attach(slow, null, 1, NEVER);
    const movingFeed = await connector.attach(moving, null, 1, NEVER);
    const sql = await harness.client();
    await fill(sql, "heavy2");
    const mark = await connector.mark(moving.lane, 1, "sentinel", NEVER);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(slowFeed.state().state).toBe("shared");
    const release = connector.prioritise(moving.lane);
    expect(slowFeed.state().state).toBe("detached");
    await until(movingFeed, mark.nonce, 5_000);
    release();
    await connector.close();
  });

  test("M9: while a lane in cutover is full itself the others wait, and it is not sent away", async () => {
    const connector = harness.connector();
    const [moving, other] = [harness.lane("moving3"), harness.lane("other3")];
    const movingFeed = await connector.attach(moving, null, 1, NEVER);
    const otherFeed = await connector.attach(other, null, 1, NEVER);
    const release = connector.prioritise(moving.lane);
    const sql = await harness.client();
    const stop = new AbortController();
    const taking = (async () => {
      for (;;) await otherFeed.next(stop.signal);
    })().catch(() => {});
    await fill(sql, "moving3");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(movingFeed.state()).toMatchObject({ state: "shared", connects: 1 });
    const replay = new Replay(harness.tables);
    replay.apply(await drain(connector, movingFeed, moving));
    expect(replay.rows).toEqual(await harness.rowsBySql("moving3"));
    release();
    stop.abort();
    await taking;
    await connector.close();
  });

  test("M9: a lane in cutover reads by itself at once where eight others do already", async () => {
    const first = harness.connector();
    const lanes = Array.from({ length: 10 }, (_, i) => harness.lane(`many${i}`));
    const [moving, ...others] = lanes;
    const last = others.at(-1);
    if (!moving || !last) throw new Error("no lanes");
    const begun = new Map<string, Position | null>();
    for (const lane of others) {
      const feed = await first.attach(lane, null, 1, NEVER);
      begun.set(lane.lane, (await drain(first, feed, lane)).at(-1)?.position ?? null);
    }
    await first.close();
    const sql = await harness.client();
    await sql.run(`INSERT INTO orders (tenant, n) VALUES ${others.map(({ tenant }) => `('${tenant}', 1)`).join(", ")}`);
    const connector = harness.connector();
    const movingFeed = await connector.attach(moving, null, 1, NEVER);
    await drain(connector, movingFeed, moving);
    // Nobody comes back to the shared reader meanwhile, so the eight places stay taken.
    const release = connector.prioritise(moving.lane);
    const feeds = new Map<string, Awaited<ReturnType<typeof connector.attach>>>();
    for (const lane of others)
      feeds.set(lane.lane, await connector.attach(lane, begun.get(lane.lane) ?? null, 2, NEVER));
    expect(feeds.get(last.lane)?.state().reason).toMatch(/waits until one of 8 lanes/);
    const releaseLast = connector.prioritise(last.lane);
    const lastFeed = feeds.get(last.lane);
    if (!lastFeed) throw new Error("no feed");
    const replay = new Replay(harness.tables);
    replay.apply(await drain(connector, lastFeed, last));
    expect(replay.rows).toEqual(await harness.rowsBySql(last.tenant));
    releaseLast();
    release();
    await connector.close();
  });

  test("M9: a reader begins where a lane in cutover stands, and whoever is behind it reads by itself", async () => {
    const sql = await harness.client();
    const first = harness.connector();
    const [moving, behind] = [harness.lane("moving5"), harness.lane("behind5")];
    const behindFeed = await first.attach(behind, null, 1, NEVER);
    const movingFeed = await first.attach(moving, null, 1, NEVER);
    const behindFrom = (await drain(first, behindFeed, behind)).at(-1)?.position ?? null;
    await sql.run("INSERT INTO orders (tenant, n) VALUES ('behind5', 1), ('moving5', 1)");
    const movingFrom = (await drain(first, movingFeed, moving)).at(-1)?.position ?? null;
    await first.close();
    const second = harness.connector();
    const release = second.prioritise(moving.lane);
    const feeds = [
      await second.attach(behind, behindFrom, 2, NEVER),
      await second.attach(moving, movingFrom, 2, NEVER),
    ];
    const [behindAgain, movingAgain] = feeds as [(typeof feeds)[number], (typeof feeds)[number]];
    const changes = (await drain(second, movingAgain, moving)).filter((event) => event.type === "changes");
    expect(changes).toHaveLength(0);
    expect([movingAgain.state().state, behindAgain.state().state]).toEqual(["shared", "detached"]);
    const replay = new Replay(harness.tables);
    replay.apply(await drain(second, behindAgain, behind));
    expect(replay.rows).toEqual(await harness.rowsBySql("behind5"));
    release();
    await second.close();
  });

  test("lanes that come back at once share one reader from the lane that is furthest behind", async () => {
    const first = harness.connector();
    const lanes = ["back1", "back2", "back3"].map((tenant) => harness.lane(tenant));
    const sql = await harness.client();
    const positions: (Position | undefined)[] = [];
    const replays = lanes.map(() => new Replay(harness.tables));
    for (const [i, lane] of lanes.entries()) {
      const feed = await first.attach(lane, null, 1, NEVER);
      await sql.run(`INSERT INTO orders (tenant, n) VALUES ('${lane.tenant}', 1), ('back1', 7)`);
      const events = await drain(first, feed, lane);
      replays[i]?.apply(events);
      positions.push(events.at(-1)?.position);
      await feed.close();
    }
    await first.close();
    for (const lane of lanes) await sql.run(`INSERT INTO orders (tenant, n) VALUES ('${lane.tenant}', 2)`);
    const second = harness.connector();
    const feeds = await Promise.all(lanes.map((lane, i) => second.attach(lane, positions[i] ?? null, 2, NEVER)));
    for (const [i, lane] of lanes.entries()) {
      const feed = feeds[i];
      if (!feed) throw new Error("no feed");
      replays[i]?.apply(await drain(second, feed, lane));
      expect(replays[i]?.rows).toEqual(await harness.rowsBySql(lane.tenant));
      expect(feed.state()).toMatchObject({ state: "shared", connects: 1 });
    }
    // One that comes later has to catch up by itself, and then joins.
    const late = await second.attach(lanes[0] ?? harness.lane("back1"), positions[0] ?? null, 3, NEVER);
    const lane = lanes[0] ?? harness.lane("back1");
    await vi.waitFor(async () => {
      await drain(second, late, lane);
      expect(late.state().state).toBe("shared");
    }, 20_000);
    await second.close();
  });

  test("M4: a lane that comes at any moment of its reader's connecting misses nothing", async () => {
    const sql = await harness.client();
    const first = harness.connector();
    const [behind, ahead] = [harness.lane("behind"), harness.lane("ahead")];
    const behindFeed = await first.attach(behind, null, 1, NEVER);
    const aheadFeed = await first.attach(ahead, null, 1, NEVER);
    const behindFrom = (await drain(first, behindFeed, behind)).at(-1)?.position ?? null;
    for (let i = 0; i < 5; i++) await sql.run("INSERT INTO orders (tenant, n) VALUES ('behind', 1), ('ahead', 1)");
    const replay = new Replay(harness.tables);
    const taken = await drain(first, aheadFeed, ahead);
    replay.apply(taken);
    const aheadFrom = taken.at(-1)?.position ?? null;
    await first.close();
    for (let delayMs = 0; delayMs <= 64; delayMs += 8) {
      const connector = harness.connector();
      const one = await connector.attach(ahead, aheadFrom, 2, NEVER);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      const other = await connector.attach(behind, behindFrom, 2, NEVER);
      const again = new Replay(harness.tables);
      again.apply(await drain(connector, other, behind));
      expect(again.rows).toEqual(await harness.rowsBySql("behind"));
      const more = await drain(connector, one, ahead);
      expect(more.filter((event) => event.type === "changes")).toHaveLength(0);
      await connector.close();
    }
    expect(replay.rows).toEqual(await harness.rowsBySql("ahead"));
  });

  test("M3, M4: a lane without changes goes on with the heartbeats, and resumes behind them", async () => {
    const connector = harness.connector();
    const lane = harness.lane("idle");
    const feed = await connector.attach(lane, null, 1, NEVER);
    const sql = await harness.client();
    const before = feed.state().position;
    await sql.run("INSERT INTO orders (tenant, n) VALUES ('neighbour', 1)");
    const events = await drain(connector, feed, lane);
    for (let beats = 0; beats < 2; ) {
      const more = await feed.next(NEVER);
      beats += more.filter((event) => event.type === "mark" && event.mark.scope === "server").length;
      events.push(...more);
    }
    const beat = events.findLast((event) => event.type === "mark" && event.mark.kind === "heartbeat");
    if (beat?.type !== "mark") throw new Error("no heartbeat");
    expect(connector.markedAtMs(beat.mark.nonce)).toBeLessThan(performance.now());
    expect(beat.position).not.toBe(before);
    await connector.close();
    const again = harness.connector();
    const resumed = await again.attach(lane, beat.position, 2, NEVER);
    await sql.run("INSERT INTO orders (tenant, n) VALUES ('idle', 1)");
    const mark = await again.mark(lane.lane, 2, "sentinel", NEVER);
    const taken = await until(resumed, mark.nonce);
    expect(taken.filter((event) => event.type === "changes")).toHaveLength(1);
    await again.close();
  });
});

/** More than a lane's buffer holds. */
async function fill(sql: Awaited<ReturnType<StreamHarness["client"]>>, tenant: string): Promise<void> {
  for (let i = 0; i < 12; i++) {
    await sql.run(
      `INSERT INTO orders (tenant, body, n) SELECT '${tenant}', REPEAT('c', 400000), n FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) AS five`,
    );
  }
}
