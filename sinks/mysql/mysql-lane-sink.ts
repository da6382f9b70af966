import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { keyColumns, type TableSpec, tableSpec } from "../../connectors/mysql/table-spec.ts";
import type { Clock } from "../../pipeline/clock.ts";
import type { LogAnchor } from "../../pipeline/entry.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { Probe } from "../../pipeline/probe.ts";
import type { AppliedRange, ChangeBatch, ChunkUnit, LaneSink, LaneTarget, Progress, ReadView } from "../sink.ts";
import type { AppliersRow } from "./applier-epoch.ts";
import { deleteAhead, deletesAny, worthTheOrder, writeCoalesced, writeInOrder } from "./change-writer.ts";
import { clearStale, LoadNotTaken, loadChunk, replaceRange } from "./chunk-writer.ts";
import { removeTenantRows } from "./cleanup.ts";
import { Contenders } from "./contenders.ts";
import { LaneBook } from "./lane-book.ts";
import { LaneProgress } from "./lane-progress.ts";
import { LaneTransaction } from "./lane-transaction.ts";
import { openMysqlReadView } from "./mysql-read-view.ts";
import type { SinkSessions } from "./sink-sessions.ts";
import { TableStatements } from "./table-statements.ts";

/** A2: keys of these types alone are compared by the bytes that also tell them apart in the target. */
const OVERTAKING_KEYS: readonly string[] = ["tinyint", "smallint", "mediumint", "int", "bigint", "binary", "varbinary"];

export type MysqlLaneSinkOptions = {
  readonly target: LaneTarget;
  readonly epoch: number;
  readonly schema: string;
  readonly appliers: AppliersRow;
  /** Lent to transactions that write rows. */
  readonly writers: SinkSessions;
  /** For progress and the watermark, so that neither waits behind a chunk. */
  readonly control: SinkSessions;
  /** For read views, which each hold one until they are closed. */
  readonly views: SinkSessions;
  /** The uuid of the target's server. */
  readonly server: string;
  readonly sessions: number;
  readonly load: "allowed" | "refused";
  readonly clock: Clock;
  readonly probe: Probe;
  readonly onClose: () => Promise<void>;
};

/** One lane's end in a MySQL target (A1 to A8). */
export class MysqlLaneSink implements LaneSink {
  readonly epoch: number;
  readonly sessions: number;
  readonly server: string;
  readonly #options: MysqlLaneSinkOptions;
  readonly #tables: ReadonlyMap<string, TableStatements>;
  readonly #transaction: LaneTransaction;
  readonly #progress: LaneProgress;
  readonly #book: LaneBook;
  readonly #contenders: Contenders;
  readonly #comparing = new Set<string>();

  constructor(options: MysqlLaneSinkOptions) {
    const { target, epoch, schema, appliers, probe } = options;
    const lane = target.lane;
    this.#options = options;
    this.epoch = epoch;
    this.sessions = options.sessions;
    this.server = options.server;
    this.#tables = tableStatements(target);
    this.#transaction = new LaneTransaction({ schema, lane, epoch, appliers, lanes: "open", probe });
    this.#progress = new LaneProgress({ schema, lane, epoch, appliers });
    this.#book = new LaneBook(schema);
    this.#contenders = new Contenders({ target, book: this.#book });
  }

  mayOvertake(table: string): boolean {
    const { spec } = this.#table(table);
    return !this.hasOtherUnique(table) && areComparedByBytes(spec);
  }

  hasOtherUnique(table: string): boolean {
    return this.#table(table).spec.uniqueIndexes.length > 0;
  }

  meetsStaleRows(table: string): boolean {
    return this.hasOtherUnique(table) || !areComparedByBytes(this.#table(table).spec);
  }

  async isShared(table: string, signal: AbortSignal): Promise<boolean> {
    const { target, control } = this.#options;
    const { spec } = this.#table(table);
    const lanes = await control.use((session) => this.#book.others(session, target.lane, spec, signal), signal);
    return lanes.some(({ state }) => state === "carrying");
  }

  progress(signal: AbortSignal): Promise<Progress> {
    return this.#options.control.use((session) => this.#progress.read(session, signal), signal);
  }

  async applyChanges(batch: ChangeBatch, signal: AbortSignal): Promise<void> {
    const tableOf = (id: string) => this.#table(id);
    try {
      await this.#write(batch.seqs, (session) => writeCoalesced(session, batch, tableOf, signal), signal);
    } catch (error) {
      if (!worthTheOrder(error)) throw error;
      // A3: what met in the coalesced batch may not have met as it happened; only here is the error real.
      const road = { tableOf, contenders: this.#contenders };
      const inOrder = this.#write(batch.seqs, (session) => writeInOrder(session, batch, road, signal), signal);
      await this.#givingWay(
        inOrder,
        deletesAny(batch),
        (session) => deleteAhead(session, batch, tableOf, signal),
        signal,
      );
    }
  }

  async applyChunk(chunk: ChunkUnit, signal: AbortSignal): Promise<void> {
    const table = this.#table(chunk.range.table);
    const seqs = { first: chunk.seq, last: chunk.seq, nonce: chunk.nonce };
    if (this.#options.load === "allowed" && chunk.range.pass === 0) {
      try {
        return await this.#write(seqs, (session) => loadChunk(session, table, chunk, signal), signal);
      } catch (error) {
        if (!(error instanceof LoadNotTaken) && !worthTheOrder(error)) throw error;
      }
    }
    const road = { chunk, contenders: this.#contenders };
    const replaced = this.#write(seqs, (session) => replaceRange(session, table, road, signal), signal);
    await this.#givingWay(
      replaced,
      chunk.range.pass > 0,
      (session) => clearStale(session, table, chunk, signal),
      signal,
    );
  }

  advance(anchor: LogAnchor, signal: AbortSignal): Promise<void> {
    return this.#options.control.use((session) => this.#progress.advance(session, anchor, signal), signal);
  }

  clearTable(
    table: string,
    signal: AbortSignal,
    onBatch: (rows: number) => void = () => {},
  ): Promise<{ readonly rows: number }> {
    const { writers, clock, probe } = this.#options;
    const use = <T>(work: (session: MysqlSession) => Promise<T>) => writers.use(work, signal);
    const cleanup = { table: this.#table(table), transaction: this.#transaction, use, clock, probe, onBatch };
    return removeTenantRows(cleanup, signal);
  }

  openReadView(signal: AbortSignal): Promise<ReadView> {
    const { views: sessions } = this.#options;
    return openMysqlReadView({ sessions, tables: this.#tables, comparing: this.#comparing }, signal);
  }

  async closeForGood(signal: AbortSignal): Promise<void> {
    const { appliers, control } = this.#options;
    await control.use((session) => appliers.close(session, signal, () => {}), signal);
  }

  async close(): Promise<void> {
    await this.#options.onClose();
  }

  /**
   * A8: two lanes may each stand in the other's way, as where two rows change hands in one transaction. What a unit takes
   * away in any case goes at once, so that the other can pass; it names no seq, as the unit is still to be applied (A2).
   */
  async #givingWay(
    unit: Promise<unknown>,
    takesAway: boolean,
    remove: (session: MysqlSession) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await unit;
    } catch (error) {
      if (takesAway && isDrayError(error, "GUARD_CONTENDED")) await this.#write(null, remove, signal);
      throw error;
    }
  }

  #write<T>(seqs: AppliedRange | null, work: (session: MysqlSession) => Promise<T>, signal: AbortSignal): Promise<T> {
    const { writers } = this.#options;
    return writers.use((session) => this.#transaction.run(session, seqs, work, signal), signal);
  }

  #table(id: string): TableStatements {
    const table = this.#tables.get(id);
    if (!table) throw new DrayError("TABLE_NOT_IN_LANE", { lane: this.#options.target.lane, table: id });
    return table;
  }
}

function areComparedByBytes(spec: TableSpec): boolean {
  return keyColumns(spec).every((key) => OVERTAKING_KEYS.includes(key.dataType));
}

export function tableStatements(target: LaneTarget): ReadonlyMap<string, TableStatements> {
  const { tables, tenant } = target;
  return new Map(
    tables.map((table) => [table.id, new TableStatements({ id: table.id, spec: tableSpec(table), tenant })]),
  );
}
