import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { LaneId } from "../entry.ts";
import { DrayError } from "../errors.ts";
import type { SealedEntry } from "./lane-writer.ts";
import type { SqliteFileOptions } from "./sqlite-file.ts";
import type {
  AppendBatch,
  BatchAnswer,
  Failure,
  SqliteAnswers,
  SqliteReply,
  SqliteRequest,
} from "./sqlite-requests.ts";

const SMALLEST_BUFFER_BYTES = 256 * 1024;
const SPARE_BYTES = 16 * 1024 * 1024;
/** It makes next to no objects; without a limit the engine gives it as much room as the main thread. */
const YOUNG_MEBIBYTES = 8;

type Asked = { readonly resolve: (answer: unknown) => void; readonly reject: (error: DrayError) => void };
type WaitingBatch = {
  readonly lane: LaneId;
  readonly epoch: number;
  readonly nonce: string;
  readonly entries: readonly SealedEntry[];
  readonly resolve: (firstId: number) => void;
  readonly reject: (error: DrayError) => void;
};

/** The log's side of its writing thread. Appends that wait together, of any lanes, become one transaction. */
export class SqliteThread {
  readonly #file: SqliteFileOptions;
  /** Started at the first request, and again where it failed. */
  #worker: Worker | null = null;
  readonly #asked = new Map<number, Asked>();
  #waiting: WaitingBatch[] = [];
  #isAppending = false;
  #nextId = 1;
  /** One buffer goes to and fro: new ones would be garbage in the other thread, which notices late. */
  #spare: ArrayBuffer | null = null;
  #isClosed = false;

  constructor(file: SqliteFileOptions) {
    this.#file = file;
  }

  /** Resolves with the first entry's id once all are durable; the others follow it. */
  append(lane: LaneId, epoch: number, nonce: string, entries: readonly SealedEntry[]): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ lane, epoch, nonce, entries, resolve, reject });
      void this.#appendAll();
    });
  }

  ask<Op extends SqliteRequest["op"]>(request: SqliteRequest & { op: Op }): Promise<SqliteAnswers[Op]> {
    return this.#post(request, []) as Promise<SqliteAnswers[Op]>;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    const worker = this.#worker;
    if (worker) await this.ask({ op: "close" });
    this.#isClosed = true;
    await worker?.terminate();
  }

  async #appendAll(): Promise<void> {
    if (this.#isAppending) return;
    this.#isAppending = true;
    while (this.#waiting.length > 0) {
      const batches = this.#waiting;
      this.#waiting = [];
      await this.#appendTogether(batches);
    }
    this.#isAppending = false;
  }

  async #appendTogether(waiting: readonly WaitingBatch[]): Promise<void> {
    try {
      const bytes = this.#joined(waiting);
      const request = { op: "append", batches: waiting.map(asBatch), bytes } as const;
      const answers = (await this.#post(request, [bytes])) as readonly BatchAnswer[];
      waiting.forEach((batch, i) => {
        const answer = answers[i] as BatchAnswer;
        if ("failure" in answer) batch.reject(toError(answer.failure));
        else batch.resolve(answer.firstId);
      });
    } catch (error) {
      for (const batch of waiting) batch.reject(error as DrayError);
    }
  }

  /** A buffer of its own, to be handed over without a copy: a view into a shared pool could not be. */
  #joined(batches: readonly WaitingBatch[]): ArrayBuffer {
    let sizeBytes = 0;
    for (const { entries } of batches) for (const e of entries) sizeBytes += e.headerBytes.length + e.stored.length;
    const spare = this.#spare;
    this.#spare = null;
    const isEnough = spare !== null && spare.byteLength >= sizeBytes;
    const buffer = isEnough ? spare : new ArrayBuffer(Math.max(sizeBytes, SMALLEST_BUFFER_BYTES));
    const bytes = new Uint8Array(buffer);
    let at = 0;
    for (const { entries } of batches) {
      for (const { headerBytes, stored } of entries) {
        bytes.set(headerBytes, at);
        bytes.set(stored, at + headerBytes.length);
        at += headerBytes.length + stored.length;
      }
    }
    return buffer;
  }

  #post(request: SqliteRequest, transfer: readonly ArrayBuffer[]): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new DrayError("LOG_UNAVAILABLE", { reason: "the log is closed" }));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#worker ??= this.#start();
      this.#asked.set(id, { resolve, reject });
      // Held only while something is asked: an idle log does not keep a process alive.
      if (this.#asked.size === 1) this.#worker.ref();
      this.#worker.postMessage({ id, request }, [...transfer]);
    });
  }

  #start(): Worker {
    // The same extension as this file's: TypeScript in a checkout, JavaScript in the package.
    const script = new URL(`./sqlite-worker${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(script, {
      workerData: this.#file,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEBIBYTES },
    });
    worker.unref();
    worker.on("message", (reply: SqliteReply) => this.#settle(reply));
    worker.on("error", (error) => this.#end(worker, error));
    worker.on("exit", () => this.#end(worker, undefined));
    return worker;
  }

  #settle(reply: SqliteReply): void {
    if (reply.bytes !== null && reply.bytes.byteLength <= SPARE_BYTES) this.#spare = reply.bytes;
    const asked = this.#asked.get(reply.id);
    this.#asked.delete(reply.id);
    if (this.#asked.size === 0) this.#worker?.unref();
    if ("failure" in reply) asked?.reject(toError(reply.failure));
    else asked?.resolve(reply.answer);
  }

  #end(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    // What was asked may have been done before the thread ended.
    const unknown = new DrayError("LOG_OUTCOME_UNKNOWN", { reason: "the log's writing thread ended" }, cause);
    for (const asked of this.#asked.values()) asked.reject(unknown);
    this.#asked.clear();
  }
}

function asBatch(batch: WaitingBatch): AppendBatch {
  const { lane, epoch, nonce, entries } = batch;
  return {
    lane,
    epoch,
    nonce,
    firstSeq: entries[0]?.header.seq ?? 0,
    entries: entries.map(({ header, headerBytes, stored }) => ({
      headerBytes: headerBytes.length,
      storedBytes: stored.length,
      chunkKey: header.body.chunkKey,
    })),
  };
}

function toError(failure: Failure): DrayError {
  return new DrayError(failure.code, failure.facts);
}
