import type { LaneId, Position } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { LaneFeed, LaneSource } from "../../pipeline/source.ts";
import { LaneCursor } from "./lane-cursor.ts";
import { FeedBuffer } from "./lane-feed.ts";
import type { Marks } from "./marks.ts";
import { formatPosition, type MysqlPosition, parsePosition } from "./position.ts";
import { type ReaderEnvironment, ServerReader } from "./server-reader.ts";
import type { SessionPool } from "./session-pool.ts";
import { executedSet } from "./source-history.ts";

/** M9: how many lanes of one server may read by themselves at once; others wait for a place. */
const MOST_DETACHED = 8;
const CONNECT_POLL_MS = 20;

/**
 * All lanes of one source server. They share one reader; a lane that is slow or behind reads by itself until it stands
 * exactly where the shared reader does, and then joins it again without missing or repeating anything (M9).
 */
export class ReaderHub {
  readonly #environment: ReaderEnvironment;
  readonly #pool: SessionPool;
  readonly #readers = new Map<LaneCursor, ServerReader>();
  readonly #detached = new Set<ServerReader>();
  readonly #queue: LaneCursor[] = [];
  /** Lanes in cutover, and how often each was named. */
  readonly #priority = new Map<LaneId, number>();
  #shared: ServerReader | null = null;
  #closed = false;

  constructor(options: { readonly environment: ReaderEnvironment; readonly pool: SessionPool }) {
    this.#environment = options.environment;
    this.#pool = options.pool;
  }

  /** Of the server that is read now; null while nothing is connected. */
  get serverUuid(): string | null {
    if (this.#shared?.serverUuid) return this.#shared.serverUuid;
    for (const reader of this.#detached) if (reader.serverUuid) return reader.serverUuid;
    return null;
  }

  /**
   * Resolves once a reader is connected: every lane's history has been checked on the server it reads (M6). Throws what
   * has stopped this lane meanwhile.
   */
  async connected(lane: LaneId, signal: AbortSignal): Promise<void> {
    while (this.serverUuid === null) {
      const its = [...this.#readers.keys(), ...this.#queue].find(({ source }) => source.lane === lane);
      if (its === undefined) throw new DrayError("MYSQL_TRANSIENT", { lane, message: "nobody reads this lane" });
      if (its.feed.failure) throw its.feed.failure;
      await this.#environment.clock.sleep(CONNECT_POLL_MS, signal);
    }
  }

  /** Goes on behind a position. Whether the server can still serve it shows in the feed (M6). */
  resume(source: LaneSource, from: Position): LaneFeed {
    const lane = this.#newLane(source, parsePosition(from));
    // A running reader is past it: the lane catches up first.
    if (this.#shared?.completed) this.#detach(lane);
    else this.#share(lane);
    return lane.feed;
  }

  /** M5: registers the lane, then commits its start mark, before which it sees nothing. */
  async begin(source: LaneSource, epoch: number, marks: Marks, signal: AbortSignal): Promise<LaneFeed> {
    const known = this.#shared?.completed ?? (await this.#pool.use((session) => executedSet(session, signal), signal));
    const nonce = marks.newNonce();
    const lane = this.#newLane(source, { completed: known.clone(), partial: null, mark: null });
    lane.awaiting = nonce;
    this.#share(lane);
    try {
      // M6: every lane's history is checked on a connection before a mark is written there.
      while (this.#readers.get(lane)?.serverUuid === null) {
        if (lane.feed.failure) throw lane.feed.failure;
        await this.#environment.clock.sleep(CONNECT_POLL_MS, signal);
      }
      await marks.commit({ scope: source.lane, epoch, kind: "start", nonce }, signal);
      return lane.feed;
    } catch (error) {
      await lane.feed.close();
      throw error;
    }
  }

  /**
   * M9: until the returned function is called, nothing that other lanes do holds this one up: full ones read by
   * themselves at once, none comes back, and it waits for no place to read by itself. It keeps this over reconnects.
   */
  prioritise(lane: LaneId): () => void {
    const change = (by: 1 | -1) => {
      const times = (this.#priority.get(lane) ?? 0) + by;
      if (times > 0) this.#priority.set(lane, times);
      else this.#priority.delete(lane);
      for (const cursor of [...this.#readers.keys(), ...this.#queue])
        if (cursor.source.lane === lane) this.#ranked(cursor);
    };
    change(1);
    let released = false;
    return () => {
      if (!released) change(-1);
      released = true;
    };
  }

  #ranked(lane: LaneCursor): void {
    lane.hasPriority = this.#priority.has(lane.source.lane);
    const place = this.#queue.indexOf(lane);
    if (place < 0) this.#readers.get(lane)?.balanceSoon("priority");
    else if (lane.hasPriority) {
      this.#queue.splice(place, 1);
      this.#detach(lane);
    }
  }

  /** Shown in every lane's state: without heartbeats its lag is not known. */
  heartbeats(failure: Error | null): void {
    for (const lane of this.#readers.keys()) lane.feed.noHeartbeats(failure?.message ?? null);
  }

  stopAll(error: DrayError): void {
    for (const lane of [...this.#readers.keys(), ...this.#queue]) lane.stop(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const lane of [...this.#readers.keys(), ...this.#queue]) lane.feed.fail(new Error("the connector is closed"));
    const readers = [...this.#detached, ...(this.#shared ? [this.#shared] : [])];
    this.#readers.clear();
    await Promise.all(readers.map((reader) => reader.close()));
  }

  #newLane(source: LaneSource, from: MysqlPosition): LaneCursor {
    if (this.#closed) throw new Error("the connector is closed");
    const feed: FeedBuffer = new FeedBuffer({
      position: formatPosition(from),
      onFull: () => this.#readers.get(lane)?.balanceSoon("full"),
      onDrained: () => this.#readers.get(lane)?.balanceSoon("room"),
      onClose: () => this.#remove(lane),
    });
    const lane: LaneCursor = new LaneCursor({ source, feed, from });
    lane.hasPriority = this.#priority.has(source.lane);
    return lane;
  }

  #share(lane: LaneCursor): void {
    this.#shared ??= new ServerReader({
      kind: "shared",
      environment: this.#environment,
      onLeft: (left) => this.#detach(left),
    });
    this.#readers.set(lane, this.#shared);
    const running = this.#shared.completed !== null;
    this.#shared.join(lane);
    if (running) lane.feed.connected("shared");
  }

  #detach(lane: LaneCursor): void {
    this.#readers.delete(lane);
    if (this.#detached.size >= MOST_DETACHED && !lane.hasPriority) {
      lane.feed.waits(`waits until one of ${MOST_DETACHED} lanes that read by themselves has caught up`);
      this.#queue.push(lane);
      return;
    }
    const reader: ServerReader = new ServerReader({
      kind: "detached",
      environment: this.#environment,
      onLeft: () => {},
      onTransaction: () => this.#rejoin(lane, reader),
    });
    lane.feed.moved("detached");
    this.#detached.add(reader);
    this.#readers.set(lane, reader);
    reader.join(lane);
  }

  /** Between two transactions of the lane's own reader: the shared one takes over where it has read no further. */
  #rejoin(lane: LaneCursor, reader: ServerReader): void {
    const shared = this.#shared;
    const completed = reader.completed;
    if (shared === null || completed === null || lane.feed.isFull || lane.isStopped) return;
    // One that was sent away for another's cutover would only be in its way again.
    if (this.#priority.size > 0 && !lane.hasPriority) return;
    if (!shared.canTake(lane.position(completed))) return;
    reader.leave(lane);
    this.#readers.set(lane, shared);
    shared.join(lane);
    lane.feed.moved("shared");
    void this.#retire(reader);
  }

  async #remove(lane: LaneCursor): Promise<void> {
    const place = this.#queue.indexOf(lane);
    if (place >= 0) this.#queue.splice(place, 1);
    const reader = this.#readers.get(lane);
    this.#readers.delete(lane);
    reader?.leave(lane);
    if (reader && reader.lanes.size === 0) await this.#retire(reader);
  }

  async #retire(reader: ServerReader): Promise<void> {
    if (this.#shared === reader) this.#shared = null;
    this.#detached.delete(reader);
    const next = this.#queue.shift();
    if (next) this.#detach(next);
    await reader.close();
  }
}
