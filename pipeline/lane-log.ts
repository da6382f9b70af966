import { ByteBudget } from "./byte-budget.ts";
import { encodeChanges, encodeChunk } from "./change-codec.ts";
import type { Coverage, KeyRange } from "./coverage.ts";
import type { Change, EntryDetail, EntryHeader, KeyBytes, Mark, Position } from "./entry.ts";
import type { LogWriter } from "./log/log.ts";
import type { EncodedRows } from "./source.ts";

/**
 * Slices that waited together become one entry of about this size before compression; a larger slice is one by itself
 * (L6). An entry is applied whole (A2), and one of thousands of keys would always meet another that is under way.
 */
const ENTRY_BYTES = 64 * 1024;
const IN_FLIGHT_BYTES = 8 * 1024 * 1024;

export type Appended = { readonly header: EntryHeader; readonly offset: string };

type Counts = Record<string, { insert: number; update: number; delete: number }>;

/**
 * The writing end of a lane: gathers changes into entries and appends everything in stream order, each entry with the
 * position and the coverage that hold behind it. All methods but `room` and `settled` return at once, so that a caller
 * that does not await stays at one place of the stream; a failed append surfaces in the next `room` or `settled`.
 */
export class LaneLog {
  readonly #writer: LogWriter;
  readonly #onChangesAppended: (appended: Appended) => void;
  readonly #budget = new ByteBudget({ limitBytes: IN_FLIGHT_BYTES });
  #position: Position;
  #committedAtMs: number;
  #coverage: Coverage;
  #changes: Change[] = [];
  #changeBytes = 0;
  #endsTransaction = true;
  #failure: unknown = null;
  #last: Promise<unknown> = Promise.resolve();
  #inFlight = 0;

  constructor(options: {
    readonly writer: LogWriter;
    readonly position: Position;
    readonly coverage: Coverage;
    readonly committedAtMs: number;
    readonly onChangesAppended: (appended: Appended) => void;
  }) {
    this.#onChangesAppended = options.onChangesAppended;
    this.#writer = options.writer;
    this.#position = options.position;
    this.#coverage = options.coverage;
    this.#committedAtMs = options.committedAtMs;
  }

  get coverage(): Coverage {
    return this.#coverage;
  }

  get position(): Position {
    return this.#position;
  }

  /** The stream has come to here; what is appended next stands behind it. */
  reached(position: Position, committedAtMs: number): void {
    this.#position = position;
    this.#committedAtMs = committedAtMs;
  }

  /** Keeps a change until `flush`, or until an entry's worth has gathered. Call `reached` with its slice's end after. */
  add(change: Change): void {
    this.#changes.push(change);
    this.#changeBytes += change.key.length + change.row.length + 8;
  }

  /** Call behind each slice: entries end where slices end, for a position stands only between slices. */
  endSlice(endsTransaction: boolean): void {
    this.#endsTransaction = endsTransaction;
    if (this.#changeBytes >= ENTRY_BYTES) this.flush();
  }

  /**
   * Call behind each batch of slices. Goes out at once where nothing is on its way, else together with what comes until
   * then: under load entries grow by themselves, and a lone change never waits (L6).
   */
  flushSoon(): void {
    if (this.#inFlight === 0) this.flush();
  }

  flush(): void {
    if (this.#changes.length === 0) return;
    const changes = this.#changes;
    this.#changes = [];
    this.#changeBytes = 0;
    void this.#append(
      { kind: "changes", tables: countByTable(changes), endsTransaction: this.#endsTransaction },
      encodeChanges(changes),
    ).then(this.#onChangesAppended, () => {}); // the failure is kept for `room`
  }

  mark(mark: Mark): Promise<Appended> {
    this.flush();
    return this.#append({ kind: "mark", mark }, new Uint8Array());
  }

  range(range: KeyRange, coverage: Coverage): Promise<Appended> {
    this.flush();
    this.#coverage = coverage;
    return this.#append({ kind: "range", range }, new Uint8Array());
  }

  chunk(
    chunk: { readonly range: KeyRange; readonly encoded: EncodedRows },
    leftOut: readonly KeyBytes[],
    coverage: Coverage,
  ): Promise<Appended> {
    const { range, encoded } = chunk;
    this.flush();
    this.#coverage = coverage;
    return this.#append(
      { kind: "chunk", range, rows: encoded.rows, leftOut: leftOut.length },
      encodeChunk({ leftOut, rows: encoded.body, headroomBytes: encoded.headroomBytes }),
      encoded.release,
    );
  }

  verify(detail: EntryDetail & { readonly kind: "verify" }, body: Uint8Array): Promise<Appended> {
    this.flush();
    return this.#append(detail, body);
  }

  /** The coverage from the next entry on: a recopy begins (W4). */
  resetCoverage(coverage: Coverage): void {
    this.flush();
    this.#coverage = coverage;
  }

  /** Waits while too many bytes are on their way to the log: this is what holds the source back. */
  async room(signal: AbortSignal): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    await this.#budget.room(signal);
    if (this.#failure !== null) throw this.#failure;
  }

  async settled(): Promise<void> {
    await this.#last.catch(() => {});
    if (this.#failure !== null) throw this.#failure;
  }

  async #append(detail: EntryDetail, body: Uint8Array, release?: () => void): Promise<Appended> {
    const appended = this.#writer.append({
      position: this.#position,
      committedAtMs: this.#committedAtMs,
      coverage: this.#coverage,
      detail,
      body,
      ...(release && { release }),
    });
    this.#last = appended;
    this.#inFlight++;
    this.#budget.take(body.length);
    try {
      return await appended;
    } catch (error) {
      this.#failure ??= error;
      throw error;
    } finally {
      this.#budget.release(body.length);
      this.#inFlight--;
      if (this.#failure === null) this.flushSoon();
    }
  }
}

function countByTable(changes: readonly Change[]): Counts {
  const counts: Counts = {};
  for (const change of changes) {
    let table = counts[change.table];
    if (table === undefined) {
      table = { insert: 0, update: 0, delete: 0 };
      counts[change.table] = table;
    }
    table[change.op]++;
  }
  return counts;
}
