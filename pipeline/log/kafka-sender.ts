import kafkajs, { type Kafka, type Producer } from "kafkajs";
import { DrayError } from "../errors.ts";
import { brokerErrorType, kafkaError, rootCause } from "./kafka-client.ts";

/** The broker refused before it wrote anything. Any other error leaves the outcome open. */
const NOT_WRITTEN: ReadonlySet<string> = new Set([
  "UNKNOWN_TOPIC_OR_PARTITION",
  "NOT_LEADER_FOR_PARTITION",
  "LEADER_NOT_AVAILABLE",
  "NOT_ENOUGH_REPLICAS",
  "POLICY_VIOLATION",
]);
const TOO_LARGE: ReadonlySet<string> = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);

export type SenderOptions = {
  readonly kafka: Kafka;
  readonly topic: string;
  /** How long the broker may wait for its replicas. */
  readonly ackTimeoutMs: number;
};

/**
 * L4: sends once and never again by itself. One sender a writer, as a dropped topic breaks the producers that have
 * written to it. Whoever calls waits for the answer before the next send.
 */
export class KafkaSender {
  readonly #options: SenderOptions;
  readonly #producer: Producer;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#producer = options.kafka.producer({
      allowAutoTopicCreation: false,
      maxInFlightRequests: 1,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      retry: { retries: 0 },
    });
  }

  async connect(): Promise<void> {
    await this.#producer.connect().catch((error: unknown) => {
      throw kafkaError(error, { topic: this.#options.topic });
    });
  }

  /** All are durable, one behind the other, from the offset it resolves with. */
  async send(values: readonly Uint8Array[]): Promise<number> {
    const { topic, ackTimeoutMs } = this.#options;
    try {
      const [answer] = await this.#producer.send({
        topic,
        acks: -1,
        timeout: ackTimeoutMs,
        messages: values.map((value) => ({ partition: 0, value: asBuffer(value) })),
      });
      if (answer?.baseOffset === undefined) throw new Error("the broker's answer has no offset");
      return Number(answer.baseOffset);
    } catch (error) {
      throw sendError(error, topic);
    }
  }

  async close(): Promise<void> {
    await this.#producer.disconnect().catch(() => {});
  }
}

function sendError(error: unknown, topic: string): DrayError {
  const type = brokerErrorType(error);
  const cause = rootCause(error);
  const facts = { topic, reason: cause instanceof Error ? cause.message : String(cause) };
  if (type !== null && TOO_LARGE.has(type)) return new DrayError("ENTRY_TOO_LARGE", facts, error);
  const known = kafkaError(error, { topic });
  if (known.code === "LOG_DENIED") return known;
  if (type !== null && NOT_WRITTEN.has(type)) return new DrayError("LOG_UNAVAILABLE", facts, error);
  return new DrayError("LOG_OUTCOME_UNKNOWN", facts, error);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
