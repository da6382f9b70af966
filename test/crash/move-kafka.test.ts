import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LogConfig } from "../../cutover/server-settings.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql, sharedKafka } from "../setup/shared-servers.ts";
import { ledgerProblems } from "../whole/world/compare.ts";
import { World } from "../whole/world/world.ts";
import { crashRound } from "./crash-round.ts";

/** Around the commit point, where what the log says decides whether a cutover may go on. */
const PLACES: readonly ProbeName[] = [
  "log.epoch-appended",
  "cutover.after-s1",
  "cutover.after-s2",
  "cutover.before-commit",
  "cutover.after-home-commit",
  "cutover.after-target-commit",
  "cutover.after-route",
];

describeWithMysql("C2, L2: the process of a move is killed, on the Kafka log", ({ a, b }) => {
  let world: World;
  let log: LogConfig;
  let next = 0;

  beforeAll(async () => {
    const { brokers } = await sharedKafka();
    const topicPrefix = `c${randomBytes(4).toString("hex")}`;
    log = { kind: "kafka", brokers, topicPrefix, replicationFactor: 1, tls: null, sasl: null };
    const moved = PLACES.map((_, i) => [`t${i}`, "a"] as const);
    const homes = Object.fromEntries([...moved, ["ACME", "a"], ["delta", "b"]] as [string, "a" | "b"][]);
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 70, workers: 2 });
  });
  afterAll(() => world?.close());

  test.each(PLACES)("at %s", async (place) => {
    const own: LogConfig = log.kind === "kafka" ? { ...log, topicPrefix: `${log.topicPrefix}-${next}` } : log;
    const round = { world, tenant: `t${next++}`, place, hit: 1, route: "forward" as const, log: own };
    expect(await crashRound(round), `${place} was reached`).toBe(true);
  });

  test("T1, A1: neighbours keep every row on both sides", async () => {
    const moved = Array.from({ length: next }, (_, i) => `t${i}`);
    expect(await ledgerProblems(world, "a", moved)).toEqual([]);
    expect(await ledgerProblems(world, "b")).toEqual([]);
  });
});
