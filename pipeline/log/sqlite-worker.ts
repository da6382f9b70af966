import { parentPort, workerData } from "node:worker_threads";
import { isDrayError } from "../errors.ts";
import { openSqliteFile, type SqliteFileOptions, sqliteError } from "./sqlite-file.ts";
import type { Failure, SqliteAnswers, SqliteMessage, SqliteReply, SqliteRequest } from "./sqlite-requests.ts";
import { SqliteStore } from "./sqlite-store.ts";

/*
 * The embedded log's writing thread: node:sqlite is synchronous, and a checkpoint behind chunk bodies takes tens of
 * milliseconds, which the event loop of capture and apply must not feel.
 */
const port = parentPort;
if (!port) throw new Error("this file runs as a worker thread");
const db = openSqliteFile(workerData as SqliteFileOptions);
const store = new SqliteStore(db);
let tidying: NodeJS.Immediate | null = null;

port.on("message", answer);

function answer({ id, request }: SqliteMessage): void {
  let reply: SqliteReply;
  const bytes = request.op === "append" ? request.bytes : null;
  try {
    reply = { id, bytes, answer: run(request) };
  } catch (error) {
    reply = { id, bytes, failure: failureOf(error) };
  }
  port?.postMessage(reply, bytes === null ? [] : [bytes]);
  // Behind the answer: whoever waits for it does not wait for the tidying.
  if (request.op !== "close") tidying ??= setImmediate(tidy);
}

function run(request: SqliteRequest): SqliteAnswers[SqliteRequest["op"]] {
  switch (request.op) {
    case "append":
      return store.append(request.batches, new Uint8Array(request.bytes));
    case "open":
      return store.open(request.lane, request.aboveEpoch, request.nonce, request.wallMs);
    case "trim":
      return store.trim(request.lane, request.anchor);
    case "drop":
      return store.drop(request.lane);
    case "close":
      if (tidying) clearImmediate(tidying);
      db.close();
      return null;
  }
}

function tidy(): void {
  tidying = null;
  try {
    store.tidy();
  } catch {
    // Nothing durable depends on it: a full disk is reported by the next append, a busy file is tidied next time.
  }
}

function failureOf(error: unknown): Failure {
  const known = isDrayError(error) ? error : sqliteError(error, {});
  return { code: known.code, facts: known.facts };
}
