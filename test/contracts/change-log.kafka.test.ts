import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Admin } from "kafkajs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KafkaServer, openServers, type Servers } from "../../docker/servers.ts";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId, LogAnchor } from "../../pipeline/entry.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import { kafkaClient } from "../../pipeline/log/kafka-client.ts";
import { KafkaLog } from "../../pipeline/log/kafka-log.ts";
import { quietRequestTimers } from "../../pipeline/log/kafkajs-timer.ts";
import { laneName } from "../../pipeline/log/lane-name.ts";
import type { ChangeLog, LogWriter } from "../../pipeline/log/log.ts";
import type { Probe } from "../../pipeline/probe.ts";
import { describeWithOwnServers } from "../setup/shared-servers.ts";
import { changeLogContract, type LogHarness } from "./change-log.contract.ts";
import { bodiesContract } from "./change-log-bodies.contract.ts";
import { fencingContract } from "./change-log-fencing.contract.ts";
import {
  appendMany,
  changesDraft,
  keysOf,
  lateClock,
  newLane,
  noise,
  openOptions,
  readSome,
  upTo,
} from "./log-drafts.ts";

let broker: KafkaServer;
let folder: string;

function chunkStore() {
  return new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
}

type OpenOptions = {
  readonly probe?: Probe;
  readonly requestTimeoutMs?: number;
  readonly warn?: (message: string) => void;
};

function openLog(options: OpenOptions = {}): KafkaLog {
  const { probe, requestTimeoutMs, warn } = options;
  return new KafkaLog({
    connection: { brokers: broker.brokers, ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }) },
    chunkStore: chunkStore(),
    clock: systemClock,
    ...(probe === undefined ? {} : { probe }),
    ...(warn === undefined ? {} : { warn }),
  });
}

// A broker of its own: it is paused and killed.
describeWithOwnServers("kafka log", ["kafka"], () => {
  let servers: Servers;
  beforeAll(async () => {
    servers = await openServers();
    broker = await servers.kafka();
    folder = mkdtempSync(join(tmpdir(), "dray-kafka-log-"));
  });
  afterAll(async () => {
    await servers?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const harness = async (): Promise<LogHarness> => ({
    chunkStore: chunkStore(),
    childOptions: { kind: "kafka", folder, brokers: broker.brokers },
    open: async (options) => openLog(options),
    close: async () => {},
  });
  describe("order and opening", () => changeLogContract(harness));
  describe("fencing", () => fencingContract(harness));
  describe("bodies", () => bodiesContract(harness));

  describe("its own", () => {
    test("L4: a send whose outcome is unknown ends the writer; reopened, nothing is lost and nothing counts twice", async () => {
      const lane = newLane();
      const log = openLog({ requestTimeoutMs: 1_500 });
      let writer = await log.openWriter(openOptions(lane));
      await appendMany(writer, 5);
      broker.pause();
      // The signal reaches the broker's threads a little later.
      await systemClock.sleep(300);
      const cut = writer.append(changesDraft("p6"));
      await expect(cut).rejects.toMatchObject({ code: "LOG_OUTCOME_UNKNOWN" });
      await expect(writer.append(changesDraft("p7"))).rejects.toMatchObject({ code: "LOG_OUTCOME_UNKNOWN" });
      broker.resume();
      writer = await reopen(log, lane, writer.epoch);
      const tailSeq = writer.tail?.seq ?? 0;
      expect([5, 6]).toContain(tailSeq);
      await appendMany(writer, 3, tailSeq + 1);
      const entries = await readSome(log, lane, tailSeq + 3);
      expect(entries.map((e) => e.header.position)).toEqual(upTo(tailSeq + 3).map((n) => `p${n}`));
      await writer.close();
      await log.close();
    });

    test("a broker killed and started again in the middle of writing and reading", async () => {
      const lane = newLane();
      const log = openLog({ requestTimeoutMs: 2_000 });
      const stop = new AbortController();
      const seen: string[] = [];
      const total = Promise.withResolvers<void>();
      const isUnderWay = Promise.withResolvers<void>();
      const reading = (async () => {
        for await (const batch of log.read({ lane, after: null, signal: stop.signal })) {
          seen.push(...batch.map((entry) => entry.header.position));
          if (seen.length >= 400) total.resolve();
        }
      })();
      const writing = (async () => {
        let writer = await reopen(log, lane, 0);
        let interruptions = 0;
        for (let n = 1; n <= 400; ) {
          try {
            const count = Math.min(10, 401 - n);
            await appendMany(writer, count, n);
            n += count;
            if (n > 50) isUnderWay.resolve();
          } catch (error) {
            interruptions++;
            if (!isDrayError(error) || error.problem.retry !== "backoff") throw error;
            writer = await reopen(log, lane, writer.epoch);
            n = (writer.tail?.seq ?? 0) + 1;
          }
          await systemClock.sleep(20);
        }
        await writer.close();
        return interruptions;
      })();
      await isUnderWay.promise;
      await broker.stop("kill");
      await broker.start();
      expect(await writing).toBeGreaterThan(0);
      await Promise.race([total.promise, reading]);
      stop.abort();
      await reading;
      expect(seen).toEqual(upTo(400).map((n) => `p${n}`));
      await log.close();
    });

    test("L5: each setting changed behind our back is refused by name", async () => {
      const lane = newLane();
      const log = openLog();
      await (await log.openWriter(openOptions(lane))).close();
      const wrong: Readonly<Record<string, string>> = {
        "cleanup.policy": "compact",
        "retention.ms": "604800000",
        "retention.bytes": "1000000000",
        "unclean.leader.election.enable": "true",
        "max.message.bytes": "1000000",
      };
      await withAdmin(async (admin) => {
        for (const [name, value] of Object.entries(wrong)) {
          await setTopic(admin, lane, { ...RIGHT_SETTINGS, [name]: value });
          const refused = await log.openWriter(openOptions(lane)).catch((error: unknown) => error);
          expect(refused).toMatchObject({ code: "LOG_TOPIC_SETTINGS" });
          expect(String(refused)).toContain(`${name}=${value}, must be`);
        }
        await setTopic(admin, lane, RIGHT_SETTINGS);
        await admin.createPartitions({ topicPartitions: [{ topic: topicOf(lane), count: 2 }] });
        await systemClock.sleep(300);
        await expect(log.openWriter(openOptions(lane))).rejects.toThrow("partitions=2, must be 1");
      });
      await log.close();
    });

    test("L5: one replica is a warning, said once a topic", async () => {
      const warnings: string[] = [];
      const log = openLog({ warn: (message) => warnings.push(message) });
      const lane = newLane();
      for (let i = 0; i < 2; i++) await (await log.openWriter(openOptions(lane))).close();
      expect(warnings).toEqual([expect.stringContaining(topicOf(lane))]);
      expect(warnings[0]).toContain("replication factor 1");
      await log.close();
    });

    test("L7: a topic that lost its tail under a target that is ahead is LOG_TRUNCATED", async () => {
      const lane = newLane();
      const log = openLog();
      const writer = await log.openWriter(openOptions(lane));
      const anchors = await appendMany(writer, 10);
      const messages = await rawMessages(lane, 11);
      await writer.close();
      await withAdmin(async (admin) => {
        await admin.deleteTopics({ topics: [topicOf(lane)] });
        await systemClock.sleep(500);
        await admin.createTopics({
          topics: [{ topic: topicOf(lane), numPartitions: 1, configEntries: asEntries(RIGHT_SETTINGS) }],
        });
        await systemClock.sleep(500);
      });
      await produceRaw(lane, messages.slice(0, 6));
      const anchor = anchors[9] as LogAnchor;
      await expect(readSome(log, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await expect(log.openWriter(openOptions(lane, { anchor }))).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await expect(log.openWriter(openOptions(lane, { checkpoint: anchor }))).rejects.toMatchObject({
        code: "LOG_TRUNCATED",
      });
      // It grows past the anchor's place with other entries: still not the log that the target knows.
      const other = await log.openWriter(openOptions(lane, { aboveEpoch: writer.epoch + 1 }));
      expect(other.tail?.seq).toBe(5);
      await appendMany(other, 10, 6);
      await expect(readSome(log, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await expect(log.openWriter(openOptions(lane, { anchor }))).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await other.close();
      await log.close();
    });

    test("L6: a process that never read the lane trims its objects too, and what a dead writer left", async () => {
      const lane = newLane();
      const store = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: lateClock });
      const first = openLog();
      const old = await first.openWriter(openOptions(lane));
      const trimmed = await old.append(changesDraft("p1", noise(9_000_000)));
      const orphan = await store.put(lane, old.epoch, noise(100));
      await old.close();
      const writer = await first.openWriter(openOptions(lane, { aboveEpoch: old.epoch }));
      const kept = await writer.append(changesDraft("p2", noise(9_000_000)));
      await writer.close();
      await first.close();
      const keys = [trimmed.header.body.chunkKey, orphan.key, kept.header.body.chunkKey];
      expect(await keysOf(store, lane)).toEqual(keys.sort());
      const other = new KafkaLog({ connection: { brokers: broker.brokers }, chunkStore: store, clock: systemClock });
      const { seq, epoch, nonce } = kept.header;
      await other.trim(lane, { offset: kept.offset, seq, epoch, nonce });
      expect(await keysOf(store, lane)).toEqual([kept.header.body.chunkKey]);
      expect(await other.stats(lane)).toMatchObject({ firstSeq: 2, lastSeq: 2, entries: 1 });
      await other.drop(lane);
      await other.close();
    });

    test("kafkajs neither prints nor wakes an idle process", async () => {
      expect(quietRequestTimers()).toBe(true);
      const lane = newLane();
      const script = new URL("./kafka-idle-child.ts", import.meta.url).pathname;
      const child = spawn(process.execPath, [script, JSON.stringify({ lane, folder, brokers: broker.brokers })], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      const [out, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
      expect(errors).toBe("");
      const { idleCpuMs, idleMs } = JSON.parse(out) as { idleCpuMs: number; idleMs: number };
      expect(idleCpuMs / idleMs).toBeLessThan(0.05);
    });
  });
});

const RIGHT_SETTINGS = {
  "cleanup.policy": "delete",
  "retention.ms": "-1",
  "retention.bytes": "-1",
  "unclean.leader.election.enable": "false",
  "min.insync.replicas": "1",
  "max.message.bytes": "9437184",
};

function asEntries(settings: Readonly<Record<string, string>>) {
  return Object.entries(settings).map(([name, value]) => ({ name, value }));
}

function topicOf(lane: LaneId): string {
  return `dray.${laneName(lane)}`;
}

function client() {
  return kafkaClient({ brokers: broker.brokers });
}

async function withAdmin(work: (admin: Admin) => Promise<void>): Promise<void> {
  const admin = client().admin();
  await admin.connect();
  await work(admin);
  await admin.disconnect();
}

async function setTopic(admin: Admin, lane: LaneId, settings: Readonly<Record<string, string>>): Promise<void> {
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: topicOf(lane), configEntries: asEntries(settings) }],
  });
  await systemClock.sleep(300);
}

async function produceRaw(lane: LaneId, values: readonly Buffer[]): Promise<void> {
  const producer = client().producer();
  await producer.connect();
  await producer.send({ topic: topicOf(lane), acks: -1, messages: values.map((value) => ({ partition: 0, value })) });
  await producer.disconnect();
}

async function rawMessages(lane: LaneId, count: number): Promise<Buffer[]> {
  const consumer = client().consumer({ groupId: `raw-${lane}`, maxWaitTimeInMs: 200 });
  const values: Buffer[] = [];
  const enough = Promise.withResolvers<void>();
  await consumer.connect();
  await consumer.subscribe({ topic: topicOf(lane), fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      if (message.value) values.push(message.value);
      if (values.length >= count) enough.resolve();
    },
  });
  await enough.promise;
  await consumer.disconnect();
  return values;
}

/** As capture does it: again and again until the log answers. */
async function reopen(log: ChangeLog, lane: LaneId, aboveEpoch: number): Promise<LogWriter> {
  for (;;) {
    try {
      return await log.openWriter(openOptions(lane, { aboveEpoch }));
    } catch (error) {
      if (!isDrayError(error) || error.problem.retry !== "backoff") throw error;
      await systemClock.sleep(200);
    }
  }
}
