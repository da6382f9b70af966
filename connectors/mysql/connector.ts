import type { Clock } from "../../pipeline/clock.ts";
import type { Bound } from "../../pipeline/coverage.ts";
import type { KeyBytes, LaneId, Mark, MarkKind, Position } from "../../pipeline/entry.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { ChunkBudget, ChunkRows, Connector, LaneFeed, LaneSource, TableRange } from "../connector.ts";
import { Chunks } from "./chunks.ts";
import type { MysqlAddress } from "./client.ts";
import { estimateRows, retentionSeconds } from "./estimates.ts";
import { ensureDraySchema } from "./installation.ts";
import { Marks } from "./marks.ts";
import { parsePosition } from "./position.ts";
import { ReaderHub } from "./reader-hub.ts";
import { SessionPool } from "./session-pool.ts";
import { fingerprintOf, VISIBLE_WITHIN_MS } from "./source-history.ts";

export type MysqlConnectorOptions = {
  readonly address: MysqlAddress;
  /** Drayage's own schema on this server, `dray` unless the cluster's configuration names another. */
  readonly draySchema: string;
  readonly installationId: string;
  readonly clock: Clock;
  /**
   * Where every lane of this server stands in its log, lanes that are not attached too: marks below the lowest are
   * deleted (M1). Without it none ever is.
   */
  readonly lanePositions?: () => Promise<readonly Position[]>;
  readonly heartbeatMs?: number;
  readonly trimEveryMs?: number;
  /** Sessions for chunk reads. */
  readonly readers?: number;
  /** How long a commit may take to be counted in gtid_executed after its event was read: semi-sync's timeout. */
  readonly visibleWithinMs?: number;
};

const HEARTBEAT_MS = 250;
const HEARTBEAT_TIMEOUT_MS = 5_000;
const TRIM_MS = 10_000;
const TRIM_ROUNDS = 3;
const MARK_SESSIONS = 3;
const READERS = 4;

/** Reads one MySQL server for all moves that begin there. Connects when first used; `close` ends every feed. */
export class MysqlConnector implements Connector {
  readonly kind = "mysql";
  readonly #options: MysqlConnectorOptions;
  readonly #marking: SessionPool;
  readonly #reading: SessionPool;
  readonly #marks: Marks;
  readonly #hub: ReaderHub;
  readonly #chunks: Chunks;
  readonly #closing = new AbortController();
  #prepared: Promise<void> | null = null;
  #beating: Promise<void> | null = null;
  #trimmedAtMs: number;
  readonly #lowest: bigint[] = [];

  constructor(options: MysqlConnectorOptions) {
    const { address, draySchema, clock } = options;
    this.#options = options;
    this.#trimmedAtMs = clock.monotonicMs();
    const pool = (size: number, dray_role: string) =>
      new SessionPool({ address, size, attributes: { dray_role }, readServerUuid: () => this.#hub.serverUuid });
    this.#marking = pool(MARK_SESSIONS, "marks");
    this.#reading = pool(options.readers ?? READERS, "snapshot");
    this.#marks = new Marks({ pool: this.#marking, draySchema, clock });
    this.#hub = new ReaderHub({
      pool: this.#marking,
      environment: {
        address,
        draySchema,
        clock,
        isOurs: (row) => this.#marks.isOurs(row),
        visibleWithinMs: options.visibleWithinMs ?? VISIBLE_WITHIN_MS,
      },
    });
    this.#chunks = new Chunks({ pool: this.#reading });
  }

  async attach(source: LaneSource, from: Position | null, epoch: number, signal: AbortSignal): Promise<LaneFeed> {
    this.#beating ??= this.#beat();
    if (from !== null) return this.#hub.resume(source, from);
    await this.#prepare(signal);
    return await this.#hub.begin(source, epoch, this.#marks, signal);
  }

  /** M9. */
  prioritise(lane: LaneId): () => void {
    return this.#hub.prioritise(lane);
  }

  async mark(scope: LaneId, epoch: number, kind: MarkKind, signal: AbortSignal): Promise<Mark> {
    // M6: a server whose history is not known to be ours may be one that replicates, and a row of ours would break that.
    await this.#hub.connected(scope, signal);
    await this.#prepare(signal);
    return await this.#marks.commit({ scope, epoch, kind }, signal);
  }

  /** M3. */
  markedAtMs(nonce: string): number | null {
    return this.#marks.sentAtMs(nonce) ?? null;
  }

  async nextBound(
    source: LaneSource,
    table: string,
    after: Bound | null,
    budget: ChunkBudget,
    signal: AbortSignal,
  ): Promise<Bound | null> {
    await this.#hub.connected(source.lane, signal);
    return await this.#chunks.nextBound(source, table, after, budget, signal);
  }

  async readRange(source: LaneSource, range: TableRange, signal: AbortSignal): Promise<ChunkRows> {
    await this.#hub.connected(source.lane, signal);
    return await this.#chunks.readRange(source, range, signal);
  }

  async readKeys(
    source: LaneSource,
    table: string,
    keys: readonly KeyBytes[],
    signal: AbortSignal,
  ): Promise<ChunkRows> {
    await this.#hub.connected(source.lane, signal);
    return await this.#chunks.readKeys(source, table, keys, signal);
  }

  async fingerprint(signal: AbortSignal): Promise<string> {
    const read = this.#hub.serverUuid;
    const found = await this.#reading.use((session) => fingerprintOf(session, signal), signal);
    return `${found} reads=${read}`;
  }

  async countRows(source: LaneSource, signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    await this.#hub.connected(source.lane, signal);
    return await this.#chunks.countRows(source, signal);
  }

  async estimateRows(source: LaneSource, signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    return await this.#reading.use((session) => estimateRows(session, source, signal), signal);
  }

  async retentionSeconds(signal: AbortSignal): Promise<number | null> {
    return await this.#reading.use((session) => retentionSeconds(session, signal), signal);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the connector is closed"));
    await this.#beating;
    await this.#hub.close();
    await Promise.all([this.#marking.close(), this.#reading.close()]);
  }

  /** Once a process, unless it fails. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const { draySchema, installationId } = this.#options;
    this.#prepared ??= this.#marking.use(
      (session) => ensureDraySchema(session, { schema: draySchema, installationId }, signal),
      signal,
    );
    const prepared = this.#prepared;
    try {
      await prepared;
    } catch (error) {
      if (this.#prepared === prepared) this.#prepared = null;
      throw error;
    }
  }

  /** M3: one row a server, for all its lanes, while one of them is read (and its history checked: M6). */
  async #beat(): Promise<void> {
    const { clock, heartbeatMs = HEARTBEAT_MS } = this.#options;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const beganMs = clock.monotonicMs();
      if (this.#hub.serverUuid !== null) await this.#beatOnce(signal);
      const restMs = heartbeatMs - (clock.monotonicMs() - beganMs);
      await clock.sleep(Math.max(1, restMs), signal).catch(() => {});
    }
  }

  async #beatOnce(signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(HEARTBEAT_TIMEOUT_MS)]);
    try {
      await this.#prepare(limit);
      await this.#marks.commit({ scope: "server", epoch: 0, kind: "heartbeat" }, limit);
      await this.#trimSometimes(limit);
      this.#hub.heartbeats(null);
    } catch (error) {
      if (signal.aborted) return;
      // The stream may well go on; without heartbeats its lag is unknown, and the gate says so.
      if (isDrayError(error, "DRAY_SCHEMA_TAKEN")) this.#hub.stopAll(error);
      else this.#hub.heartbeats(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #trimSometimes(signal: AbortSignal): Promise<void> {
    const { clock, lanePositions, trimEveryMs = TRIM_MS } = this.#options;
    if (lanePositions === undefined || clock.monotonicMs() - this.#trimmedAtMs < trimEveryMs) return;
    this.#trimmedAtMs = clock.monotonicMs();
    const marks = (await lanePositions()).map((position) => parsePosition(position).mark);
    const ids = marks.map((mark) => mark?.id ?? 0n);
    const lowest = ids.reduce((low, id) => (id < low ? id : low), ids[0] ?? 0n);
    this.#lowest.push(lowest);
    // What was lowest some rounds ago: a lane that began since then, and is not listed yet, has only newer marks.
    const earlier = this.#lowest.length > TRIM_ROUNDS ? this.#lowest.shift() : undefined;
    if (earlier === undefined) return;
    const below = earlier < lowest ? earlier : lowest;
    if (below > 0n) await this.#marks.deleteBelow(below, signal);
  }
}
