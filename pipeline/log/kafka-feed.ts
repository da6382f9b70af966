import { randomBytes } from "node:crypto";
import type { Consumer, EachBatchPayload, Kafka } from "kafkajs";
import type { Clock } from "../clock.ts";
import { DrayError, isDrayError } from "../errors.ts";
import { kafkaError } from "./kafka-client.ts";
import type { KafkaTopic } from "./kafka-topic.ts";

/** The broker answers at once when there is something; this is how long an idle question stands. */
const IDLE_FETCH_MS = 500;
/** What one fetch brings, but for a single larger message. */
const FETCH_BYTES = 2 * 1024 * 1024;
const HEARTBEAT_MS = 3_000;
const SESSION_MS = 30_000;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 2_000;

export type FeedMessage = { readonly offset: number; readonly value: Uint8Array };

export type FeedOptions = {
  readonly kafka: Kafka;
  readonly topic: KafkaTopic;
  readonly clock: Clock;
  readonly fromOffset: number;
  readonly signal: AbortSignal;
};

/**
 * The messages of a topic from an offset on, in order, none twice and none left out: across lost connections and broker
 * restarts too, as every (re)connect goes on at the next offset that was not handed out. Ends with the signal.
 * LOG_TRUNCATED where the topic does not reach that offset (any more).
 */
export async function* kafkaFeed(options: FeedOptions): AsyncGenerator<readonly FeedMessage[], void> {
  const { topic, clock, signal } = options;
  let next = options.fromOffset;
  let backoffMs = FIRST_BACKOFF_MS;
  while (!signal.aborted) {
    const connection = new FeedConnection({ ...options, fromOffset: next });
    try {
      assertReach(await topic.reach(), topic.name, next);
      await connection.start();
      for (;;) {
        const messages = await connection.take();
        if (messages === null) return;
        backoffMs = FIRST_BACKOFF_MS;
        next = (messages.at(-1) as FeedMessage).offset + 1;
        yield messages;
      }
    } catch (error) {
      if (!isDrayError(error, "LOG_UNAVAILABLE")) throw error;
      await clock.sleep(backoffMs, signal).catch(() => {});
      backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS);
    } finally {
      connection.stop();
    }
  }
}

/** L7: the offset must lie in the topic, or be the very next one. */
function assertReach(
  reach: { readonly low: number; readonly high: number } | null,
  topic: string,
  offset: number,
): void {
  if (reach !== null && offset >= reach.low && offset <= reach.high) return;
  throw new DrayError("LOG_TRUNCATED", { topic, offset, low: reach?.low ?? null, high: reach?.high ?? null });
}

/** One consumer, alone in a group of its own that keeps no offsets. */
class FeedConnection {
  readonly #options: FeedOptions;
  readonly #consumer: Consumer;
  #next: number;
  /** One batch is handed over, one waits here, one may be on its way. */
  #ready: readonly FeedMessage[] | null = null;
  #failure: unknown = null;
  #isStopped = false;
  #onChange = Promise.withResolvers<void>();

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#next = options.fromOffset;
    this.#consumer = options.kafka.consumer({
      groupId: `drayage-${randomBytes(12).toString("hex")}`,
      allowAutoTopicCreation: false,
      minBytes: 1,
      maxWaitTimeInMs: IDLE_FETCH_MS,
      maxBytes: FETCH_BYTES,
      maxBytesPerPartition: FETCH_BYTES,
      heartbeatInterval: HEARTBEAT_MS,
      sessionTimeout: SESSION_MS,
      // The feed goes on by itself, at the offset it knows; the consumer's own restart would forget it.
      retry: { retries: 0, restartOnFailure: async () => false },
    });
    options.signal.addEventListener("abort", this.#wake, { once: true });
  }

  async start(): Promise<void> {
    const { topic } = this.#options;
    const { CRASH } = this.#consumer.events;
    this.#consumer.on(CRASH, ({ payload }) => this.#fail(payload.error));
    try {
      await this.#consumer.connect();
      await this.#consumer.subscribe({ topic: topic.name, fromBeginning: true });
      await this.#consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: (payload) => this.#take(payload),
      });
      this.#seek();
    } catch (error) {
      throw kafkaError(error, { topic: topic.name });
    }
  }

  /** Null when the signal ended it. */
  async take(): Promise<readonly FeedMessage[] | null> {
    for (;;) {
      if (this.#options.signal.aborted) return null;
      if (this.#ready !== null) {
        const messages = this.#ready;
        this.#ready = null;
        this.#wake();
        return messages;
      }
      if (this.#failure !== null) throw kafkaError(this.#failure, { topic: this.#options.topic.name });
      await this.#onChange.promise;
    }
  }

  /** Not awaited: a consumer that is stopped waits for its last fetch, and nobody needs its goodbye. */
  stop(): void {
    this.#isStopped = true;
    this.#options.signal.removeEventListener("abort", this.#wake);
    this.#wake();
    this.#consumer.disconnect().catch(() => {});
  }

  async #take({ batch, heartbeat, resolveOffset }: EachBatchPayload): Promise<void> {
    const messages: FeedMessage[] = [];
    for (const message of batch.messages) {
      const offset = Number(message.offset);
      // A record batch is fetched whole, also where its first messages were handed out before.
      if (offset < this.#next) continue;
      if (offset !== this.#next + messages.length) return this.#checkReach(offset);
      messages.push({ offset, value: message.value ?? new Uint8Array(0) });
    }
    // After a reset to the beginning, which kafkajs does by itself where the offset is not there.
    if (messages.length === 0) return this.#checkReach(Number(batch.lastOffset()));
    while (this.#ready !== null && !this.#isStopped) {
      await Promise.race([this.#onChange.promise, this.#pauseOf(HEARTBEAT_MS)]);
      await heartbeat();
    }
    if (this.#isStopped) return;
    this.#ready = messages;
    this.#next += messages.length;
    resolveOffset(String(this.#next - 1));
    this.#wake();
  }

  /** Another place than asked for: either the topic no longer has it, or the consumer has lost its place. */
  async #checkReach(foundOffset: number): Promise<void> {
    const { topic } = this.#options;
    try {
      assertReach(await topic.reach(), topic.name, this.#next);
      if (foundOffset > this.#next)
        throw new DrayError("LOG_TRUNCATED", { topic: topic.name, offset: this.#next, foundOffset });
      this.#seek();
    } catch (error) {
      this.#fail(error);
    }
  }

  #seek(): void {
    this.#consumer.seek({ topic: this.#options.topic.name, partition: 0, offset: String(this.#next) });
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake();
  }

  readonly #wake = (): void => {
    const { resolve } = this.#onChange;
    this.#onChange = Promise.withResolvers();
    resolve();
  };

  async #pauseOf(ms: number): Promise<void> {
    await this.#options.clock.sleep(ms, this.#options.signal).catch(() => {});
  }
}
