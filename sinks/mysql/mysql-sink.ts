import { connectMysql, type MysqlAddress, type MysqlSession } from "../../connectors/mysql/client.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { LaneSink, LaneTarget, Removal, RemovedRows, Sink } from "../sink.ts";
import { AppliersRow, isSameLife, serverLife } from "./applier-epoch.ts";
import { removeTenantRows } from "./cleanup.ts";
import { LaneBook } from "./lane-book.ts";
import { LaneTransaction } from "./lane-transaction.ts";
import { MysqlLaneSink, tableStatements } from "./mysql-lane-sink.ts";
import { SinkSessions } from "./sink-sessions.ts";

export type MysqlSinkOptions = {
  readonly address: MysqlAddress;
  /** The schema of Drayage's own tables in this cluster; it must exist (M). */
  readonly draySchema: string;
  readonly clock: Clock;
  readonly probe: Probe;
  /** Connections that write at once. */
  readonly sessions?: number;
  /** Why opening a lane waits. */
  readonly onRetry?: (error: Error) => void;
};

const DEFAULT_SESSIONS = 4;
/** One for a range that is compared, one for the next, and one for single keys or the gate's count. */
const READ_VIEWS = 3;

/** Writes MySQL targets. One per target server; each lane has its own sessions, which a later applier can end (A7). */
export class MysqlSink implements Sink {
  readonly kind = "mysql";
  readonly #options: MysqlSinkOptions;
  readonly #lanes = new Set<LaneSink>();

  constructor(options: MysqlSinkOptions) {
    this.#options = options;
  }

  async open(target: LaneTarget, signal: AbortSignal): Promise<LaneSink> {
    const { address, draySchema: schema, clock, probe, sessions = DEFAULT_SESSIONS } = this.#options;
    const { lane } = target;
    const appliers = new AppliersRow({ schema, lane });
    const { epoch, load, life } = await this.#once(async (session) => {
      const onRetry = (error: Error) => this.#options.onRetry?.(error);
      const since = await serverLife(session, signal);
      const taker = { lastEpoch: target.lastEpoch ?? null, claim: target.claim ?? null };
      const raised = await appliers.raise(session, taker, signal, onRetry);
      await new LaneBook(schema).record(session, target, signal);
      return { epoch: raised, load: await loadSupport(session, signal), life: since };
    }, signal);
    await probe("apply.after-epoch", { lane, epoch });
    const living = new Set<MysqlSession>();
    let registering: Promise<unknown> = Promise.resolve();
    const onConnected = async (session: MysqlSession, until: AbortSignal): Promise<void> => {
      // A8: a failover, or a crash, may have lost what this lane has seen committed; only an opening asks for that.
      if (!isSameLife(life, await serverLife(session, until)))
        throw new DrayError("TARGET_CHANGED", { server: session.server, lane, epoch });
      for (const other of living) if (other.isLost) living.delete(other);
      living.add(session);
      // One after the other, so that an older list never replaces a newer one.
      const mine = registering.then(() => appliers.register(session, epoch, [...living], until));
      registering = mine.catch(() => {});
      await mine;
    };
    const attributes = { dray_lane: lane, dray_epoch: String(epoch) };
    const writers = new SinkSessions({ address, size: sessions, attributes, clock, onConnected });
    const control = new SinkSessions({ address, size: 1, attributes, clock, onConnected });
    const views = new SinkSessions({ address, size: READ_VIEWS, attributes, clock, onConnected });
    const onClose = async () => {
      this.#lanes.delete(sink);
      await Promise.all([writers.close(), control.close(), views.close()]);
    };
    const connections = { writers, control, views, sessions, server: life.uuid };
    const sink = new MysqlLaneSink({ target, epoch, schema, appliers, load, clock, probe, ...connections, onClose });
    this.#lanes.add(sink);
    try {
      await control.connectAll(signal);
      await writers.connectAll(signal);
    } catch (error) {
      await onClose();
      throw error;
    }
    return sink;
  }

  /** Table by table, the last one first; only after the lane was closed for good (C5). */
  async removeRows(target: LaneTarget, removal: Removal, signal: AbortSignal): Promise<RemovedRows> {
    const { draySchema: schema, clock, probe } = this.#options;
    const appliers = new AppliersRow({ schema, lane: target.lane });
    return this.#once(async (session) => {
      const epoch = await closedEpoch(session, appliers, target.lane, signal);
      const transaction = new LaneTransaction({ schema, lane: target.lane, epoch, appliers, lanes: "closed", probe });
      const removed: Record<string, number> = {};
      for (const [id, table] of [...tableStatements(target)].reverse()) {
        const use = <T>(work: (one: MysqlSession) => Promise<T>) => work(session);
        const onBatch = (rows: number) => removal.onBatch(id, rows);
        const spare = removal.spare === undefined ? {} : { spare: removal.spare };
        const { rows, left } = await removeTenantRows(
          { table, transaction, use, clock, probe, onBatch, ...spare },
          signal,
        );
        removed[id] = rows;
        removal.onLeft?.(id, left);
      }
      await new LaneBook(schema).forget(session, target.lane, signal);
      return removed;
    }, signal);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#lanes].map((lane) => lane.close()));
  }

  async #once<T>(work: (session: MysqlSession) => Promise<T>, signal: AbortSignal): Promise<T> {
    const attributes = { dray_role: "sink" };
    const session = await connectMysql(this.#options.address, { side: "sink", attributes, signal });
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  }
}

async function closedEpoch(
  session: MysqlSession,
  appliers: AppliersRow,
  lane: LaneId,
  signal: AbortSignal,
): Promise<number> {
  const row = await appliers.read(session, signal);
  if (row?.closed !== "1") throw new DrayError("LANE_NOT_CLOSED", { lane });
  return Number(row.epoch);
}

/** With another autoinc lock mode a load would keep neighbours' inserts waiting until it ends. */
async function loadSupport(session: MysqlSession, signal: AbortSignal): Promise<"allowed" | "refused"> {
  const [row] = await session.query(
    "SELECT @@local_infile AS load_local, @@innodb_autoinc_lock_mode AS autoinc",
    signal,
  );
  return row?.["load_local"] === "1" && row["autoinc"] === "2" ? "allowed" : "refused";
}
