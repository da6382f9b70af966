import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeChanges, encodeChunk } from "../../pipeline/change-codec.ts";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Bound, Coverage, KeyRange } from "../../pipeline/coverage.ts";
import type { Change, ChangeOp, EntryDraft, LaneId, LogAnchor, MarkKind, Position } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { LogWriter } from "../../pipeline/log/log.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { noProbe } from "../../pipeline/probe.ts";
import { DIGEST_KEY_BYTES, RowDigests } from "../../pipeline/verify/row-digests.ts";
import { encodeKeysBody, encodeRangeBody } from "../../pipeline/verify/verify-body.ts";
import { Applier } from "../../sinks/applier.ts";
import type { ApplierOptions } from "../../sinks/applier-options.ts";
import type { EntryFollower } from "../../sinks/follower.ts";
import type { AppliedRange, ChangeBatch, ChunkUnit, LaneSink, Progress, ReadView } from "../../sinks/sink.ts";

/** `<table>:<key>:<op>` is one change; tables: `free` may overtake, `uniq` has another unique index. */
export function change(text: string): Change {
  const [table = "", key = "", op = "update"] = text.split(":");
  return { table, op: op as ChangeOp, key: keyOf(Number(key)), row: Buffer.from(text) };
}

export function keyOf(key: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(key);
  return bytes;
}

function bound(key: number | null): Bound | null {
  return key === null ? null : { values: [String(key)], key: Buffer.from(keyOf(key)).toString("hex") };
}

export function range(table: string, after: number | null, upTo: number | null, pass = 0): KeyRange {
  return { table, pass, after: bound(after), upTo: bound(upTo), announces: "end" };
}

const NO_COVERAGE: Coverage = { tables: [] };

function draft(detail: EntryDraft["detail"], body: Uint8Array, coverage = NO_COVERAGE): EntryDraft {
  return { position: "p" as Position, committedAtMs: 0, coverage, detail, body };
}

export function changesEntry(...changes: string[]): EntryDraft {
  const all = changes.map(change);
  const tables = Object.fromEntries(all.map(({ table }) => [table, { insert: 0, update: 1, delete: 0 }]));
  return draft({ kind: "changes", tables, endsTransaction: true }, encodeChanges(all));
}

export function chunkEntry(at: KeyRange): EntryDraft {
  const body = encodeChunk({ leftOut: [], rows: Buffer.from("rows") });
  return draft({ kind: "chunk", range: at, rows: 1, leftOut: 0 }, body);
}

export function rangeEntry(at: KeyRange): EntryDraft {
  const table = { table: at.table, pass: at.pass, announced: "end", planned: "end", open: [at], rows: 0 } as const;
  return draft({ kind: "range", range: at }, new Uint8Array(0), { tables: [table] });
}

/** The same with the coverage that holds behind it: `table` in this pass, announced or not. */
export function inPass(entry: EntryDraft, table: string, pass: number, announced: "end" | null = "end"): EntryDraft {
  return { ...entry, coverage: { tables: [{ table, pass, announced, planned: announced, open: [], rows: 0 }] } };
}

export function verifyKeysEntry(table: string, ...keys: number[]): EntryDraft {
  const rows = keys.map((key) => ({ key: keyOf(key), row: null }));
  const scope = { form: "keys", table, keys: keys.length } as const;
  return draft({ kind: "verify", scope, rows: keys.length, leftOut: 0 }, encodeKeysBody({ leftOut: [], rows }));
}

export function verifyRangeEntry(table: string, after: number | null, upTo: number | null): EntryDraft {
  const scope = { form: "range", table, after: bound(after), upTo: bound(upTo) } as const;
  const body = { leftOut: [], digestKey: Buffer.alloc(DIGEST_KEY_BYTES), digests: new RowDigests(0) };
  return draft({ kind: "verify", scope, rows: 0, leftOut: 0 }, encodeRangeBody(body));
}

export function markEntry(kind: MarkKind): EntryDraft {
  const mark = { scope: "server", epoch: 1, nonce: "0".repeat(32), kind } as const;
  return draft({ kind: "mark", mark }, new Uint8Array(0));
}

/**
 * A target in memory, only to hold a transaction at an exact place or to force a fault; what a real target does is
 * tested in the sink's contract. A call stays under way until its gate opens.
 */
export class FakeSink implements LaneSink {
  readonly server = "fake";
  readonly epoch = 1;
  sessions = 4;
  readonly events: string[] = [];
  readonly applied: AppliedRange[] = [];
  anchor: LogAnchor | null = null;
  /** By `changes 1-3`, `chunk 4`, `clear uniq`, `advance`: awaited at the beginning of the call. */
  readonly gates = new Map<string, Promise<unknown>>();
  /** By the same names: thrown once each, before (or, `after`, behind) the effect. */
  readonly faults = new Map<string, { readonly error: Error; readonly when: "before" | "after" }[]>();
  #active = 0;
  maxActive = 0;

  mayOvertake(table: string): boolean {
    return table === "free";
  }
  hasOtherUnique(table: string): boolean {
    return table === "uniq";
  }
  meetsStaleRows(table: string): boolean {
    return table === "uniq";
  }
  isShared(table: string): Promise<boolean> {
    return Promise.resolve(table === "shared");
  }
  async progress(): Promise<Progress> {
    this.events.push("progress");
    return { watermark: this.anchor?.seq ?? 0, anchor: this.anchor, applied: [...this.applied], closed: false };
  }
  async applyChanges(batch: ChangeBatch, signal: AbortSignal): Promise<void> {
    const { first, last } = batch.seqs;
    await this.#effect(`changes ${first}-${last}`, batch.seqs, signal);
  }
  async applyChunk({ seq, nonce }: ChunkUnit, signal: AbortSignal): Promise<void> {
    await this.#effect(`chunk ${seq}`, { first: seq, last: seq, nonce }, signal);
  }
  async advance(anchor: LogAnchor): Promise<void> {
    await this.gates.get("advance");
    this.anchor = anchor;
    this.events.push(`advance ${anchor.seq}`);
  }
  async clearTable(
    table: string,
    _signal?: AbortSignal,
    onBatch?: (rows: number) => void,
  ): Promise<{ readonly rows: number }> {
    onBatch?.(7);
    await this.gates.get(`clear ${table}`);
    this.events.push(`clear ${table}`);
    return { rows: 0 };
  }
  async openReadView(): Promise<ReadView> {
    await this.gates.get("view");
    this.events.push("view");
    return {
      countRows: async () => ({}),
      digestRange: async () => new RowDigests(0),
      readKeys: async () => new Map(),
      close: async () => {},
    };
  }
  async closeForGood(): Promise<void> {}
  async close(): Promise<void> {}

  async #effect(name: string, seqs: AppliedRange, signal: AbortSignal): Promise<void> {
    this.#active++;
    this.maxActive = Math.max(this.maxActive, this.#active);
    try {
      this.events.push(`begin ${name}`);
      await Promise.race([this.gates.get(name), aborted(signal)]);
      signal.throwIfAborted();
      const fault = this.faults.get(name)?.shift();
      if (fault?.when === "before") throw fault.error;
      this.applied.push(seqs);
      this.events.push(name);
      if (fault) throw fault.error;
    } finally {
      this.#active--;
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

export function transient(): DrayError {
  return new DrayError("MYSQL_TRANSIENT", { server: "10.0.0.5:3306", error: "ER_LOCK_DEADLOCK" });
}

/** One that wants every entry whole, and to compare at every verify entry. */
export function wantsAll(compare: EntryFollower["compare"]): EntryFollower {
  return { needsBody: () => true, take: () => {}, wants: () => true, compare };
}

/** A real embedded log with one lane, and appliers on it. */
export class Lane {
  readonly lane = "m.db.f1" as LaneId;
  readonly sink = new FakeSink();
  readonly #folder = mkdtempSync(join(tmpdir(), "dray-applier-"));
  readonly chunks = join(this.#folder, "chunks");
  readonly chunkStore = new DirectoryChunkStore({ folder: this.chunks, clock: systemClock });
  readonly log = new SqliteLog({ folder: this.#folder, chunkStore: this.chunkStore, clock: systemClock });
  readonly #stop = new AbortController();
  readonly #runs: Promise<unknown>[] = [];
  #writer: LogWriter | null = null;

  /** Holds a call of the sink, by the name of its gate, until what is returned is called. */
  hold(name: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.sink.gates.set(name, promise);
    return resolve;
  }

  /** Another move's row keeps the first entry waiting, until what is returned is called; `table` is the entry's. */
  contendFirst(table: string): () => void {
    const { sink } = this;
    const applyChanges = sink.applyChanges.bind(sink);
    let isContended = true;
    sink.applyChanges = async (batch, signal) => {
      if (isContended && batch.seqs.first === 1) {
        batch.changedLater?.(table, "asked for");
        throw new DrayError("GUARD_CONTENDED", { tenant: "other", move: "m2" });
      }
      await applyChanges(batch, signal);
    };
    return () => {
      isContended = false;
    };
  }

  async append(...drafts: EntryDraft[]): Promise<void> {
    this.#writer ??= await this.reopen();
    const writer = this.#writer;
    await Promise.all(drafts.map((one) => writer.append(one)));
  }

  async reopen(): Promise<LogWriter> {
    const signal = AbortSignal.timeout(30_000);
    this.#writer = await this.log.openWriter({
      lane: this.lane,
      aboveEpoch: 0,
      checkpoint: null,
      anchor: null,
      signal,
    });
    return this.#writer;
  }

  applier(rest: Partial<ApplierOptions> = {}): Applier {
    const { lane, log, sink, chunkStore } = this;
    return new Applier({ lane, log, sink, chunkStore, clock: systemClock, probe: noProbe, ...rest });
  }

  /** Ends with the lane, or by `stop`. */
  run(applier: Applier): { readonly ended: Promise<unknown>; stop(): Promise<unknown> } {
    const stop = new AbortController();
    const ended = applier.run(AbortSignal.any([stop.signal, this.#stop.signal])).then(
      () => null,
      (error: unknown) => error,
    );
    this.#runs.push(ended);
    return {
      ended,
      stop: () => {
        stop.abort();
        return ended;
      },
    };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#runs);
    await this.log.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Resolves once `test` holds; the limit is a hang guard. */
export async function until(test: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !test(); ) {
    if (performance.now() > end) throw new Error(`never came true: ${test}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
