import type { Begin, CaptureState, LaneCaptureOptions, MarkPlace, Stray } from "./capture-options.ts";
import {
  type Coverage,
  CoverageIndex,
  completeCoverage,
  type KeyRange,
  startCoverage,
  tableIsComplete,
  withChunk,
  withRange,
  withRecopy,
} from "./coverage.ts";
import type { Change, Mark, MarkKind } from "./entry.ts";
import { LaneLog } from "./lane-log.ts";
import type { LogWriter } from "./log/log.ts";
import { MarkBook } from "./mark-book.ts";
import { OpenWindows, type ReadRows } from "./open-windows.ts";
import type { ChunkRows, LaneFeed, SourceEvent } from "./source.ts";
import { verifyBody, type WindowRows } from "./verify/window-body.ts";
import { waitFor } from "./wait.ts";
import type { Window, WindowScope } from "./window.ts";

/** While watching, one heartbeat in so many is kept, to move the place where a restart would begin. */
const WATCH_KEEPS_ONE_IN = 240;
/** Transactions, and rows of each, that are told by name where something came through a fence. */
const NOTED = 20;
const NO_ROW = new Uint8Array();

/**
 * One lane's capture: takes what the source's stream says, in its order, keeps what coverage wants, closes the windows of
 * chunks at their `high` marks, and appends. One instance is one writer epoch: any error ends it, and a new instance goes
 * on from the log's tail (L2), so that nothing is remembered in two places.
 */
export class LaneCapture {
  readonly #options: LaneCaptureOptions;
  readonly #writer: LogWriter;
  readonly #feed: LaneFeed;
  readonly #log: LaneLog;
  readonly #windows: OpenWindows;
  readonly #places = new MarkBook<MarkPlace>();
  readonly #chunkWaiters = new Set<() => void>();
  #index: CoverageIndex;
  /** Not null behind a seal: nothing of the tenant is appended. */
  #held: (SourceEvent & { type: "changes" })[] | null = null;
  /** Between `seal` and `release` or `watch`: only then does a seal's mark seal. */
  #sealing = false;
  #watching: boolean;
  /** Nothing is carried before its mark has come. */
  #isAhead: boolean;
  #begins: Begin | null;
  #heartbeats = 0;
  #sinceSentinel: Stray[] = [];
  #lastChangeSeq = 0;
  readonly #carried: Record<string, { insert: number; update: number; delete: number }> = {};

  /** Opens the log as its one writer (L2), then joins the source's stream behind the log's tail, or begins it (M5). */
  static async open(options: LaneCaptureOptions, signal: AbortSignal): Promise<LaneCapture> {
    const { memory, source } = options;
    const writer = await options.log.openWriter({
      lane: source.lane,
      aboveEpoch: (await memory.raiseEpoch()) - 1,
      checkpoint: await memory.checkpoint(),
      anchor: await memory.anchor(),
      saveCheckpoint: (place) => memory.saveCheckpoint(place),
      signal,
    });
    try {
      const feed = await options.stream.attach(source, writer.tail?.position ?? null, writer.epoch, signal);
      if (writer.tail === null) await options.probe("capture.after-start-mark");
      return new LaneCapture(options, writer, feed);
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  private constructor(options: LaneCaptureOptions, writer: LogWriter, feed: LaneFeed) {
    this.#options = options;
    this.#writer = writer;
    this.#feed = feed;
    this.#watching = options.mode === "watching";
    this.#begins = options.begins;
    const begun = writer.tail?.coverage.begun;
    this.#isAhead = options.leadsBack && (begun === undefined || begun !== options.begins?.generation);
    this.#log = new LaneLog({
      writer,
      position: writer.tail?.position ?? feed.state().position,
      coverage:
        writer.tail?.coverage ??
        (options.leadsBack ? completeCoverage : startCoverage)(
          options.source.tables.map((table) => table.id),
          options.firstPass,
        ),
      committedAtMs: writer.tail?.committedAtMs ?? 0,
      onChangesAppended: (appended) => {
        this.#lastChangeSeq = appended.header.seq;
      },
    });
    this.#index = new CoverageIndex(this.#log.coverage);
    this.#windows = new OpenWindows({
      connects: () => feed.state().connects,
      append: (window, rows) => this.#append(window, rows),
    });
  }

  get coverage(): Coverage {
    return this.#log.coverage;
  }

  state(): CaptureState {
    return {
      epoch: this.#writer.epoch,
      feed: this.#feed.state(),
      coverage: this.#log.coverage,
      carried: this.#carried,
      lastChangeSeq: this.#lastChangeSeq,
    };
  }

  /** Until aborted, or until an error ends this epoch. */
  async run(signal: AbortSignal): Promise<never> {
    try {
      for (;;) {
        const events = await this.#feed.next(signal);
        for (const event of events) {
          if (event.type === "changes" && this.#isAhead) this.#log.reached(event.position, event.committedAtMs);
          else if (event.type === "changes" && (this.#watching || this.#held !== null)) await this.#takeStray(event);
          else this.#take(event);
        }
        this.#log.flushSoon();
        await this.#log.room(signal);
      }
    } catch (error) {
      this.#places.fail(error);
      this.#windows.fail(error);
      signal.throwIfAborted();
      throw error;
    } finally {
      await this.#feed.close();
      await this.#log.settled().catch(() => {});
      await this.#writer.close();
    }
  }

  /** Commits a mark in the source; resolves once it stands in the log: all that was committed before it is before it. */
  async mark(kind: MarkKind, signal: AbortSignal): Promise<MarkPlace> {
    const mark = await this.#options.stream.mark(this.#options.source.lane, this.#writer.epoch, kind, signal);
    return await this.#places.expect(mark.nonce, signal);
  }

  /**
   * As `mark`, and from that mark's place in the stream on nothing is appended: what the tenant still writes is held and
   * told to `onStray`, until `release` or `watch`. This is S2.
   */
  seal(signal: AbortSignal): Promise<MarkPlace> {
    this.#sealing = true;
    return this.mark("seal", signal);
  }

  /** Changes held behind the seal. */
  get heldChanges(): number {
    return (this.#held ?? []).reduce((sum, event) => sum + event.changes.length, 0);
  }

  /** What came behind the last sentinel, carried or held; the first of it, where it is much. */
  get sinceSentinel(): readonly Stray[] {
    return this.#sinceSentinel;
  }

  /** The seal is lifted: what was held goes into the log, in order, and nothing is lost. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    this.#sealing = false;
    for (const event of held) this.#take(event);
    this.#log.flushSoon();
  }

  /** The commit point is behind us: the lane carries nothing any more (C5), and what still comes is an alarm. */
  watch(): void {
    this.#watching = true;
    this.#held = null;
    this.#sealing = false;
  }

  /** C7: the generation at whose mark the lane began; null while it is ahead of that. */
  get begunAt(): number | null {
    return this.#isAhead ? null : (this.#log.coverage.begun ?? null);
  }

  /** Resolves once a mark that somebody else commits in the source stands in the log. */
  async arrived(nonce: string, signal: AbortSignal): Promise<void> {
    await this.#places.expect(nonce, signal);
  }

  /** C7: told before the mark is committed, or after a restart that found its generation committed. */
  beginAt(begin: Begin): void {
    this.#begins = begin;
  }

  /** W3: appends the announcement here and now. The window is open from this place of the stream on. */
  async announce(range: KeyRange): Promise<Window> {
    const window = this.reopen(range);
    try {
      const appended = this.#log.range(range, withRange(this.#log.coverage, range));
      this.#index = new CoverageIndex(this.#log.coverage);
      await appended;
      await this.#options.probe("capture.after-range", { table: range.table });
    } catch (error) {
      this.discard(window);
      throw error;
    }
    return window;
  }

  /** Every range is in the log, so that every change of the table is too. */
  isFollowed(table: string): boolean {
    const covered = this.#log.coverage.tables.find((each) => each.table === table);
    return covered !== undefined && tableIsComplete(covered);
  }

  /** A range announced before a restart, or one whose window was discarded, is read again: its window opens here. */
  reopen(range: KeyRange): Window {
    return this.#windows.open({ purpose: "copy", range });
  }

  /** V1, V3: a window over what is copied already; null where the table is not, so that the target need not follow it. */
  open(scope: WindowScope & { readonly purpose: "verify" | "repair" }): Window | null {
    const table = scope.purpose === "verify" ? scope.scope.table : scope.range.table;
    return this.isFollowed(table) ? this.#windows.open(scope) : null;
  }

  /** Resolves when the next chunk is durable. */
  async chunkAppended(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const appended = Promise.withResolvers<void>();
    this.#chunkWaiters.add(appended.resolve);
    await waitFor(appended, signal);
  }

  discard(window: Window): void {
    this.#windows.discard(window);
  }

  /** Hands in what was read before `high`. The entry's seq once it is durable; null where it must be read again (M2). */
  finish(window: Window, read: ReadRows): Promise<number | null> {
    return this.#windows.finish(window, read);
  }

  /** W4: from a new start mark on, whose seq this is, nothing of the tables is covered until their ranges are announced. */
  async recopy(tables: readonly string[], signal: AbortSignal): Promise<number> {
    const read = tables.find((table) => this.#windows.isCopying(table));
    if (read !== undefined) throw new Error(`${read} is being read`);
    this.#windows.giveUp(tables);
    this.#log.resetCoverage(tables.reduce(withRecopy, this.#log.coverage));
    this.#index = new CoverageIndex(this.#log.coverage);
    return (await this.mark("start", signal)).header.seq;
  }

  #take(event: SourceEvent): void {
    if (event.type === "mark") {
      // Behind a seal the place stays at the seal: what is held must be read again after a crash.
      if (this.#held === null) this.#log.reached(event.position, event.committedAtMs);
      this.#takeMark(event.mark);
      return;
    }
    for (const change of event.changes) {
      if (this.#index.mayDrop(change.table, change.key)) continue;
      this.#windows.saw(change.table, change.key);
      this.#log.add(change);
      this.#count(change);
    }
    this.#note(event);
    this.#log.reached(event.position, event.committedAtMs);
    this.#log.endSlice(event.endsTransaction);
  }

  async #takeStray(event: SourceEvent & { type: "changes" }): Promise<void> {
    if (this.#held !== null) this.#held.push(event);
    this.#note(event);
    const { transaction, committedAtMs, session, changes } = event;
    await this.#options.onStray({ transaction, committedAtMs, session, changes });
    // Released meanwhile: `release` has taken it.
    if (this.#watching) this.#log.reached(event.position, event.committedAtMs);
  }

  #takeMark(mark: Mark): void {
    // Marks of this lane's earlier epochs were committed for windows and waiters that are gone.
    if (mark.kind === "reverse") return this.#takeBegin(mark);
    if (mark.kind === "low" || (mark.scope !== "server" && mark.epoch !== this.#writer.epoch)) return;
    if (mark.kind === "heartbeat" && this.#isQuiet()) return;
    // One that comes after its attempt was given up seals nothing; a second one keeps what the first holds back.
    if (mark.kind === "seal" && this.#sealing) this.#held ??= [];
    if (mark.kind === "high") {
      this.#windows.high(mark.nonce);
      return;
    }
    this.#appendMark(mark);
  }

  #appendMark(mark: Mark): void {
    // What comes behind S1 must be told by name (C).
    if (mark.kind === "sentinel") this.#sinceSentinel = [];
    const carried = structuredClone(this.#carried);
    void this.#log.mark(mark).then(
      (appended) => {
        const place = { ...appended, mark, carried };
        this.#options.onMark(place);
        if (mark.scope !== "server") this.#places.arrived(mark.nonce, place);
      },
      () => {}, // the run loop meets the same failure in `room`
    );
  }

  /** One of a generation that was aborted, or of another process, begins nothing. */
  #takeBegin(mark: Mark): void {
    const begins = this.#begins;
    if (!this.#isAhead || begins === null || mark.nonce !== begins.nonce) return;
    this.#isAhead = false;
    this.#log.resetCoverage({ ...this.#log.coverage, begun: begins.generation });
    this.#appendMark(mark);
  }

  #note({ transaction, committedAtMs, session, changes }: SourceEvent & { readonly type: "changes" }): void {
    if (this.#sinceSentinel.length >= NOTED) return;
    const some = changes.slice(0, NOTED).map((change) => ({ ...change, row: NO_ROW }));
    this.#sinceSentinel.push({ transaction, committedAtMs, session, changes: some });
  }

  #count(change: Change): void {
    this.#carried[change.table] ??= { insert: 0, update: 0, delete: 0 };
    (this.#carried[change.table] as { insert: number; update: number; delete: number })[change.op]++;
  }

  #isQuiet(): boolean {
    if (this.#held !== null) return true;
    return (this.#watching || this.#isAhead) && this.#heartbeats++ % WATCH_KEEPS_ONE_IN !== 0;
  }

  /** W1: what was read, less what changed, stands in the log at this place of the stream. */
  #append(window: Window, rows: WindowRows): Promise<number | null> {
    const { opened } = window;
    // Behind a seal nothing is appended; and changes of a table that is copied again are left out until it is announced.
    const isLate = opened.purpose !== "copy" && (this.#held !== null || !this.isFollowed(window.table));
    if (isLate) return Promise.resolve(null);
    if (opened.purpose === "verify") return this.#appendVerify(window, opened, rows);
    if ("digestKey" in rows) throw new Error("a chunk's rows cannot be digests");
    return this.#appendChunk(window, opened, rows);
  }

  async #appendChunk(
    window: Window,
    { purpose, range }: WindowScope & { readonly purpose: "copy" | "repair" },
    rows: ChunkRows,
  ): Promise<number> {
    const { probe } = this.#options;
    const kept = rows.encode(window.changed);
    void probe("capture.before-chunk-append", { table: range.table });
    const { coverage } = this.#log;
    const after = purpose === "copy" ? withChunk(coverage, range, kept.rows) : coverage;
    const { header } = await this.#log.chunk({ range, encoded: kept }, window.leftOut, after);
    this.#options.onChunk(header.seq, header.body.plainBytes);
    void probe("capture.after-chunk-append", { table: range.table });
    for (const wake of this.#chunkWaiters) wake();
    this.#chunkWaiters.clear();
    return header.seq;
  }

  /** V1: what the source holds at this place of the stream, for the target to be compared with. */
  async #appendVerify(
    window: Window,
    opened: WindowScope & { readonly purpose: "verify" },
    rows: WindowRows,
  ): Promise<number> {
    const { body, count } = verifyBody(window, opened, rows);
    const detail = { kind: "verify", scope: opened.scope, rows: count, leftOut: window.leftOut.length } as const;
    const { header } = await this.#log.verify(detail, body);
    void this.#options.probe("verify.after-append", { table: window.table });
    return header.seq;
  }
}
