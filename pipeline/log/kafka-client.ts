import kafkajs, { type Admin, type Kafka, type KafkaConfig } from "kafkajs";
import { DrayError } from "../errors.ts";
import { quietRequestTimers } from "./kafkajs-timer.ts";

/** How the brokers are reached; `ssl` and `sasl` are kafkajs' own options. */
export type KafkaConnection = {
  readonly brokers: readonly string[];
  readonly ssl?: KafkaConfig["ssl"];
  readonly sasl?: KafkaConfig["sasl"];
  /** After this a request's outcome is unknown; 10 s by default. */
  readonly requestTimeoutMs?: number;
};

const REQUEST_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

export function kafkaClient(connection: KafkaConnection): Kafka {
  quietRequestTimers();
  const { brokers, ssl, sasl } = connection;
  return new kafkajs.Kafka({
    clientId: "drayage",
    brokers: [...brokers],
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl === undefined ? {} : { sasl }),
    requestTimeout: connection.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    // Said in full: kafkajs has other defaults where NODE_ENV is "test".
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 2, factor: 0.2, multiplier: 2 },
    // Errors reach us as errors; its own lines would stand between the product's.
    logLevel: kafkajs.logLevel.NOTHING,
  });
}

/**
 * A connection for one piece of work. kafkajs asks again and again for every topic an admin has ever named, which makes
 * a dropped one come back where the broker creates topics by itself: so none is kept.
 */
export async function withAdmin<Result>(kafka: Kafka, work: (admin: Admin) => Promise<Result>): Promise<Result> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    return await work(admin);
  } catch (error) {
    throw kafkaError(error, {});
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

/** kafkajs wraps what happened in what it made of it. */
export function rootCause(error: unknown): unknown {
  let cause = error;
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause;
  return cause;
}

/** The broker's own name of an error, such as UNKNOWN_TOPIC_OR_PARTITION. */
export function brokerErrorType(error: unknown): string | null {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ("type" in cause && typeof cause.type === "string") return cause.type;
  }
  return null;
}

/** Trying again cannot help against these. */
const DENIED: ReadonlySet<string> = new Set([
  "SASL_AUTHENTICATION_FAILED",
  "ILLEGAL_SASL_STATE",
  "UNSUPPORTED_SASL_MECHANISM",
  "TOPIC_AUTHORIZATION_FAILED",
  "GROUP_AUTHORIZATION_FAILED",
  "CLUSTER_AUTHORIZATION_FAILED",
]);

export function kafkaError(error: unknown, facts: Readonly<Record<string, unknown>>): DrayError {
  if (error instanceof DrayError) return error;
  const cause = rootCause(error);
  const reason = cause instanceof Error ? cause.message : String(cause);
  const isSaslError = cause instanceof Error && cause.name === "KafkaJSSASLAuthenticationError";
  if (isSaslError || DENIED.has(brokerErrorType(error) ?? "")) {
    return new DrayError("LOG_DENIED", { ...facts, reason }, error);
  }
  return new DrayError("LOG_UNAVAILABLE", { ...facts, reason }, error);
}
