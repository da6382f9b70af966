import { reasonOf } from "../../pipeline/backoff.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import { BinlogStream } from "./binlog-stream.ts";
import { connectMysql, type MysqlAddress, type MysqlSession } from "./client.ts";
import type { MarkRow } from "./dray-rows.ts";
import { GtidSet } from "./gtid-set.ts";
import type { LaneCursor } from "./lane-cursor.ts";
import { mysqlError } from "./mysql-errors.ts";
import { PlainTables } from "./plain-tables.ts";
import type { MysqlPosition } from "./position.ts";
import { checkHistory, freeServerId } from "./source-history.ts";
import { tableSpec } from "./table-spec.ts";
import { TransactionReader } from "./transaction-reader.ts";

export type ReaderEnvironment = {
  readonly address: MysqlAddress;
  readonly draySchema: string;
  readonly clock: Clock;
  readonly isOurs: (row: MarkRow) => boolean;
  /** How long a commit may take to be counted after its event was read. */
  readonly visibleWithinMs: number;
};

export type ReaderKind = "shared" | "detached";

/** Of lanes that begin together: one that is further behind than this reads alone first (M9). */
const CATCH_UP_TRANSACTIONS = 50_000n;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 2_000;
const REBALANCE_MS = 500;
/** ER_SOURCE_FATAL_ERROR_READING_BINLOG: M6 says on the next connect whether it was a purge; else it is a setting. */
const DUMP_REFUSED = 1236;
const MOST_REFUSALS = 3;

/**
 * One binlog connection and the lanes on it: connects, checks each lane's history (M6), reads, and connects again from
 * where its lanes stand. It pauses only where every lane waits for the log; it never waits for one of several (M9).
 */
export class ServerReader {
  readonly kind: ReaderKind;
  readonly #environment: ReaderEnvironment;
  readonly #onLeft: (lane: LaneCursor) => void;
  readonly #onTransaction: (() => void) | undefined;
  readonly #lanes = new Set<LaneCursor>();
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  /** Holds its lanes from the moment the dump is asked for; is of use to others once that has answered. */
  #transactions: TransactionReader | null = null;
  #isConnected = false;
  #stream: BinlogStream | null = null;
  #serverUuid: string | null = null;
  #needsBalance = false;
  #timer: NodeJS.Timeout | null = null;
  #wake: (() => void) | null = null;
  #refusals = 0;
  #failures = 0;

  constructor(options: {
    readonly kind: ReaderKind;
    readonly environment: ReaderEnvironment;
    /** A lane that is slow, or too far behind, goes on elsewhere. It has left already, at a place that it knows. */
    readonly onLeft: (lane: LaneCursor) => void;
    readonly onTransaction?: () => void;
  }) {
    this.kind = options.kind;
    this.#environment = options.environment;
    this.#onLeft = options.onLeft;
    this.#onTransaction = options.onTransaction;
    this.#running = this.#run();
  }

  get lanes(): ReadonlySet<LaneCursor> {
    return this.#lanes;
  }

  /** Null unless it is connected now. */
  get serverUuid(): string | null {
    return this.#isConnected ? this.#serverUuid : null;
  }

  /** Set while connected: what has been read to its end. */
  get completed(): GtidSet | null {
    return this.#isConnected ? (this.#transactions?.completed ?? null) : null;
  }

  /** While connected: whether a lane at this position would miss nothing here. */
  canTake(position: MysqlPosition): boolean {
    const transactions = this.#transactions;
    if (transactions === null || !this.#isConnected || position.partial !== null) return false;
    const { inside, completed } = transactions;
    return completed.isSubsetOf(position.completed) && (inside === null || position.completed.has(inside));
  }

  /** Before it is connected, any lane; from then on, one that `canTake` or that still awaits its start mark. */
  join(lane: LaneCursor): void {
    this.#lanes.add(lane);
    if (this.#isConnected) this.#transactions?.add(lane);
    if (lane.hasPriority) this.#balance();
    this.#wake?.();
  }

  /** The lane keeps what it was given; it stands at a place from where any reader can go on. */
  leave(lane: LaneCursor): void {
    if (!this.#lanes.has(lane)) return;
    this.#drop(lane);
    this.#balance();
  }

  /** A lane's buffer became full, or has room again; or its cutover begins or ends. */
  balanceSoon(change: "full" | "room" | "priority"): void {
    if (change === "full") this.#needsBalance = true;
    else this.#balance();
    this.#wake?.();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the reader is closed"));
    if (this.#timer) clearTimeout(this.#timer);
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#laneWithRoom(signal);
        await this.#readOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#failed(error instanceof Error ? error : new Error(String(error)), signal);
      }
    }
  }

  async #laneWithRoom(signal: AbortSignal): Promise<void> {
    while (![...this.#lanes].some((lane) => !lane.isStopped && !lane.feed.isFull)) {
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async #failed(error: Error, signal: AbortSignal): Promise<void> {
    const known = this.#described(error);
    if (known.problem.retry !== "backoff") {
      for (const lane of this.#lanes) lane.stop(known);
      return;
    }
    for (const lane of this.#lanes) lane.feed.waits(known.message);
    const delayMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    await this.#environment.clock.sleep(delayMs * (0.5 + Math.random() / 2), signal).catch(() => {});
  }

  #described(error: Error): DrayError {
    if (isDrayError(error)) return error;
    const { host, port } = this.#environment.address;
    const server = `${host}:${port}`;
    const { errno, code } = error as { errno?: number; code?: string };
    if (errno === DUMP_REFUSED && ++this.#refusals < MOST_REFUSALS) {
      return new DrayError("MYSQL_TRANSIENT", { server, message: error.message }, error);
    }
    if (code === undefined) return new DrayError("MYSQL_TRANSIENT", { server, message: reasonOf(error) }, error);
    return mysqlError(error, server, "run");
  }

  async #readOnce(signal: AbortSignal): Promise<void> {
    const { address, clock } = this.#environment;
    const session = await connectMysql(address, { side: "source", signal });
    const checked = new Set<LaneCursor>();
    let serverId: number;
    let plainTables: PlainTables;
    try {
      serverId = await freeServerId(session, signal);
      await this.#checkLanes(session, checked, signal);
      // After the lanes' own places were seen to be executed: what changes these tables later comes in the stream.
      plainTables = await PlainTables.read(session, this.#schemas(), signal);
      this.#serverUuid = session.serverUuid;
    } finally {
      session.destroy();
    }
    const start = this.#start(checked);
    if (start === null) return;
    const transactions = new TransactionReader({
      completed: start,
      serverUuid: this.#serverUuid,
      draySchema: this.#environment.draySchema,
      isOurs: this.#environment.isOurs,
      plainTables,
      ...(this.#onTransaction && { onEnd: this.#onTransaction }),
    });
    for (const lane of this.#lanes) if (checked.has(lane) && !lane.isStopped) transactions.add(lane);
    this.#transactions = transactions;
    const ended = Promise.withResolvers<never>();
    const onAbort = () => ended.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const stream = new BinlogStream({
      server: address,
      draySchema: this.#environment.draySchema,
      serverId,
      completed: start.toString(),
      clock,
      onEvent: (event) => {
        if (!this.#isConnected) this.#connected(transactions);
        transactions.take(event);
        if (this.#needsBalance) this.#balance();
      },
      onFailure: (error) => ended.reject(error),
    });
    this.#stream = stream;
    try {
      await ended.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      // Not the lanes that came too late for this connection: what it has read is not theirs.
      for (const lane of transactions.lanes) lane.rebase(transactions.completed);
      this.#isConnected = false;
      this.#transactions = null;
      this.#stream = null;
      await stream.close();
    }
  }

  #schemas(): readonly string[] {
    const tables = [...this.#lanes].flatMap((lane) => lane.source.tables);
    return [...new Set(tables.map((table) => tableSpec(table).schema))];
  }

  #connected(transactions: TransactionReader): void {
    this.#isConnected = true;
    // Lanes that joined while the dump was being asked for: one that begins loses nothing here, one that goes on has
    // a history that was not checked on this connection (M6).
    for (const lane of this.#lanes) {
      if (transactions.lanes.has(lane) || lane.isStopped) continue;
      if (lane.awaiting !== null) transactions.add(lane);
      else {
        this.#lanes.delete(lane);
        this.#onLeft(lane);
      }
    }
    this.#failures = 0;
    this.#refusals = 0;
    for (const lane of this.#lanes) lane.feed.connected(this.kind);
  }

  async #checkLanes(session: MysqlSession, checked: Set<LaneCursor>, signal: AbortSignal): Promise<void> {
    for (;;) {
      const lane = [...this.#lanes].find((one) => !checked.has(one) && !one.isStopped);
      if (lane === undefined) return;
      checked.add(lane);
      try {
        await checkHistory(session, lane.position(new GtidSet()), this.#environment, signal);
      } catch (error) {
        // A position that the server cannot serve fails that lane only (M9).
        if (!isDrayError(error) || error.problem.retry === "backoff") throw error;
        lane.stop(error);
      }
    }
  }

  /** What every lane here has; lanes far behind the foremost are sent away first. Null where no lane is left. */
  #start(checked: ReadonlySet<LaneCursor>): GtidSet | null {
    const lanes = [...this.#lanes].filter((lane) => checked.has(lane) && !lane.isStopped);
    const positions = new Map(lanes.map((lane) => [lane, lane.position(new GtidSet()).completed]));
    const foremost = new GtidSet();
    const inCutover = new GtidSet();
    for (const [lane, completed] of positions) {
      foremost.addAll(completed);
      if (lane.hasPriority) inCutover.addAll(completed);
    }
    let start: GtidSet | null = null;
    for (const [lane, completed] of positions) {
      const isFarBehind = foremost.minus(completed).count() > CATCH_UP_TRANSACTIONS;
      // M9: a lane in cutover does not read again what another one missed.
      const isInTheWay = !lane.hasPriority && !inCutover.minus(completed).isEmpty;
      if (this.kind === "shared" && (isFarBehind || isInTheWay)) {
        this.#lanes.delete(lane);
        this.#onLeft(lane);
      } else start = start === null ? completed.clone() : start.intersection(completed);
    }
    return start;
  }

  #balance(): void {
    this.#needsBalance = false;
    const lanes = [...this.#lanes].filter((lane) => !lane.isStopped);
    const full = lanes.filter((lane) => lane.feed.isFull);
    if (full.length === 0) return this.#stream?.resume();
    const first = lanes.filter((lane) => lane.hasPriority);
    // M9: a lane in cutover has not to be seen taking; while it is full itself, everybody waits with it.
    const goesOn = (lane: LaneCursor) => !lane.feed.isFull && (lane.hasPriority || lane.feed.isTaking);
    if (this.kind === "shared" && (first.length > 0 ? first : lanes).some(goesOn)) {
      for (const lane of full) {
        this.#drop(lane);
        this.#onLeft(lane);
      }
      return this.#stream?.resume();
    }
    // Nobody takes: the log itself refuses, and every lane waits together (M9: LOG_FULL).
    this.#stream?.pause();
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#balance();
    }, REBALANCE_MS);
    this.#timer.unref();
  }

  #drop(lane: LaneCursor): void {
    this.#lanes.delete(lane);
    const reads = this.#transactions?.lanes.has(lane) ? this.#transactions : null;
    lane.rebase(reads?.completed ?? new GtidSet());
    reads?.remove(lane);
  }
}
