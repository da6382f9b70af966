import kafkajs, { type Admin, type Kafka } from "kafkajs";
import type { Clock } from "../clock.ts";
import { DrayError } from "../errors.ts";
import { brokerErrorType, withAdmin } from "./kafka-client.ts";

/** A body of 8 MiB, its header, and room. */
const MAX_MESSAGE_BYTES = 9 * 1024 * 1024;
const WANTED_REPLICAS = 3;
const SETTLE_TRIES = 50;
const SETTLE_MS = 100;

export type TopicOptions = {
  readonly kafka: Kafka;
  readonly topic: string;
  readonly clock: Clock;
  /** Null: three, or as many as there are brokers. */
  readonly replicas: number | null;
  readonly warn: (message: string) => void;
};

export type TopicReach = {
  /** The first offset there is, and the one that the next message takes. */
  readonly low: number;
  readonly high: number;
};

/** L5: one topic a lane, of one partition, with settings under which the broker never removes or loses anything by itself. */
export class KafkaTopic {
  readonly name: string;
  readonly #options: TopicOptions;

  constructor(options: TopicOptions) {
    this.#options = options;
    this.name = options.topic;
  }

  /** Makes the topic where it is missing, and reads its settings back: LOG_TOPIC_SETTINGS names each that is wrong. */
  async ensure(): Promise<TopicReach> {
    return this.#with(async (admin) => {
      if (!(await this.#exists(admin))) await this.#create(admin);
      await this.#check(admin);
      return this.#reach(admin);
    });
  }

  /** Null where there is no such topic. */
  async reach(): Promise<TopicReach | null> {
    return this.#with(async (admin) => ((await this.#exists(admin)) ? this.#reach(admin) : null));
  }

  /** Messages below the offset are gone; the one at it is kept. */
  async deleteBelow(offset: number): Promise<void> {
    await this.#with(async (admin) => {
      const { low } = await this.#reach(admin);
      if (offset <= low) return;
      await admin.deleteTopicRecords({ topic: this.name, partitions: [{ partition: 0, offset: String(offset) }] });
    });
  }

  async delete(): Promise<void> {
    await this.#with(async (admin) => {
      if (!(await this.#exists(admin))) return;
      await admin.deleteTopics({ topics: [this.name] }).catch(unlessType("UNKNOWN_TOPIC_OR_PARTITION"));
      await this.#settle(async () => !(await this.#exists(admin)));
    });
  }

  async #create(admin: Admin): Promise<void> {
    const { brokers } = await admin.describeCluster();
    const replicas = this.#options.replicas ?? Math.min(WANTED_REPLICAS, brokers.length);
    const settings = wantedSettings(replicas).map(({ name, value }) => ({ name, value }));
    await admin
      .createTopics({
        topics: [{ topic: this.name, numPartitions: 1, replicationFactor: replicas, configEntries: settings }],
      })
      .catch(unlessType("TOPIC_ALREADY_EXISTS"));
    await this.#settle(() => this.#exists(admin));
  }

  async #check(admin: Admin): Promise<void> {
    const { topics } = await admin.fetchTopicMetadata({ topics: [this.name] });
    const partitions = topics[0]?.partitions ?? [];
    const replicas = partitions[0]?.replicas.length ?? 0;
    const wanted = wantedSettings(replicas);
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [
        { type: kafkajs.ConfigResourceTypes.TOPIC, name: this.name, configNames: wanted.map(({ name }) => name) },
      ],
    });
    const found = new Map(resources[0]?.configEntries.map((entry) => [entry.configName, entry.configValue]));
    const wrong = wanted
      .filter(({ name, value, atLeast }) => {
        const actual = found.get(name);
        return atLeast ? !(Number(actual) >= Number(value)) : actual !== value;
      })
      .map(({ name, value, atLeast }) => `${name}=${found.get(name)}, must be ${value}${atLeast ? " or more" : ""}`);
    if (partitions.length !== 1) wrong.push(`partitions=${partitions.length}, must be 1`);
    if (wrong.length > 0) throw new DrayError("LOG_TOPIC_SETTINGS", { topic: this.name, wrong });
    if (replicas < 2) {
      this.#options.warn(
        `topic ${this.name} has replication factor 1: a broker that loses its disk loses the log. Use two or more brokers.`,
      );
    }
  }

  async #exists(admin: Admin): Promise<boolean> {
    return (await admin.listTopics()).includes(this.name);
  }

  async #reach(admin: Admin): Promise<TopicReach> {
    const [partition] = await admin.fetchTopicOffsets(this.name);
    if (!partition) throw new DrayError("LOG_UNAVAILABLE", { topic: this.name, reason: "the topic has no partition" });
    return { low: Number(partition.low), high: Number(partition.high) };
  }

  /** What one broker did reaches the others a little later. */
  async #settle(isSettled: () => Promise<boolean>): Promise<void> {
    for (let i = 0; i < SETTLE_TRIES; i++) {
      if (await isSettled()) return;
      await this.#options.clock.sleep(SETTLE_MS);
    }
    throw new DrayError("LOG_UNAVAILABLE", { topic: this.name, reason: "the topic's state does not settle" });
  }

  #with<Result>(work: (admin: Admin) => Promise<Result>): Promise<Result> {
    return withAdmin(this.#options.kafka, work);
  }
}

function wantedSettings(replicas: number) {
  return [
    { name: "cleanup.policy", value: "delete", atLeast: false },
    { name: "retention.ms", value: "-1", atLeast: false },
    { name: "retention.bytes", value: "-1", atLeast: false },
    { name: "unclean.leader.election.enable", value: "false", atLeast: false },
    // With one replica there is nothing to wait for.
    { name: "min.insync.replicas", value: replicas < 2 ? "1" : "2", atLeast: true },
    { name: "max.message.bytes", value: String(MAX_MESSAGE_BYTES), atLeast: true },
  ] as const;
}

function unlessType(type: string): (error: unknown) => void {
  return (error) => {
    if (brokerErrorType(error) === type) return;
    // Several topics' errors come as a list; ours is always one.
    const errors = error instanceof Error && "errors" in error && Array.isArray(error.errors) ? error.errors : [];
    if (errors.length > 0 && errors.every((one) => brokerErrorType(one) === type)) return;
    throw error;
  };
}
