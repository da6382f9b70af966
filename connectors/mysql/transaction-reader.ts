import { DrayError, type ErrorCode } from "../../pipeline/errors.ts";
import { type BinlogEvent, EVENT, IGNORABLE_FLAG, isOnePhase, readGtid, readQuery } from "./binlog-events.ts";
import { type MarkRow, readAppliedMove, readMarkRows } from "./dray-rows.ts";
import { type Gtid, type GtidSet, gtidText } from "./gtid-set.ts";
import type { LaneCursor } from "./lane-cursor.ts";
import { deliverRows } from "./lane-filter.ts";
import type { PlainTables } from "./plain-tables.ts";
import { classifyQuery, type QueryClass, type TableName } from "./query-classifier.ts";
import { statementHead } from "./sql-words.ts";
import { type RowsHeader, readRowsHeader } from "./table-map.ts";
import { type KnownTable, TableRoutes } from "./table-routes.ts";
import { type TableSpec, tableSpec } from "./table-spec.ts";

/** A table id that stands for no table: the end of a statement without rows. */
const NO_TABLE = 0xffffff;

export type TransactionReaderOptions = {
  /** Grows as transactions end. Owned by the reader from here on. */
  readonly completed: GtidSet;
  readonly serverUuid: string;
  readonly draySchema: string;
  /** M1: only marks that this process committed are marks. */
  readonly isOurs: (row: MarkRow) => boolean;
  /** Without it, a change as text stops every lane of its schema (M8). */
  readonly plainTables?: PlainTables;
  /** After each transaction, between two of them. */
  readonly onEnd?: () => void;
};

type Transaction = {
  gtid: Gtid;
  committedAtMs: number;
  serverUuid: string;
  ordinal: number;
  isXa: boolean;
  session: number | null;
  /** C7: the move whose applier wrote this, by its first rows event. */
  appliedMove: string | null;
  /** The first rows event was an INSERT into dray.applied. */
  isApplied: boolean;
  /** A row of Drayage's schema in a transaction that no applier began. */
  hasDrayRow: boolean;
  readonly touched: Set<LaneCursor>;
  readonly marks: MarkRow[];
};

/**
 * Cuts one stream of events into transactions and gives each lane what is its own (M4, M8, C7). Purely synchronous: it
 * never waits, and one lane's stop is no other's.
 */
export class TransactionReader {
  readonly #options: TransactionReaderOptions;
  readonly #lanes = new Set<LaneCursor>();
  /** Lanes that have something to step over; the others cost nothing until a row of theirs comes. */
  readonly #special = new Set<LaneCursor>();
  readonly #routes: TableRoutes;
  #open: Transaction | null = null;

  constructor(options: TransactionReaderOptions) {
    this.#options = options;
    this.#routes = new TableRoutes(options.draySchema);
  }

  get completed(): GtidSet {
    return this.#options.completed;
  }

  get lanes(): ReadonlySet<LaneCursor> {
    return this.#lanes;
  }

  /** The transaction under way, if any. */
  get inside(): Gtid | null {
    return this.#open?.gtid ?? null;
  }

  /** The caller has made sure that the lane misses nothing of the transaction under way. */
  add(lane: LaneCursor): void {
    this.#lanes.add(lane);
    this.#special.add(lane);
    this.#routes.setLanes(this.#lanes);
    if (this.#open) lane.beginTransaction(this.#open.gtid);
  }

  remove(lane: LaneCursor): void {
    if (!this.#lanes.delete(lane)) return;
    this.#special.delete(lane);
    this.#open?.touched.delete(lane);
    this.#routes.setLanes(this.#lanes);
  }

  take(event: BinlogEvent): void {
    switch (event.type) {
      case EVENT.gtid:
      case EVENT.taggedGtid:
        return this.#begin(event);
      case EVENT.tableMap:
        return this.#routes.learn(event);
      case EVENT.writeRows:
      case EVENT.updateRows:
      case EVENT.deleteRows:
      case EVENT.writeRowsV1:
      case EVENT.updateRowsV1:
      case EVENT.deleteRowsV1:
      case EVENT.partialUpdateRows:
        return this.#rows(event);
      case EVENT.xid:
        return this.#end();
      case EVENT.query:
      case EVENT.executeLoadQuery:
        return this.#query(event);
      case EVENT.xaPrepare:
        return this.#prepared(event);
      case EVENT.formatDescription:
        return this.#routes.forgetTables(); // table ids begin anew with a server
      case EVENT.stop:
      case EVENT.intvar: // these announce a statement that is judged itself
      case EVENT.rand:
      case EVENT.userVar:
      case EVENT.beginLoadQuery:
      case EVENT.appendBlock:
      case EVENT.deleteFile:
      case EVENT.ignorable:
      case EVENT.rowsQuery:
      case EVENT.previousGtids:
      case EVENT.transactionContext:
      case EVENT.viewChange:
        return;
      default:
        if (event.flags & IGNORABLE_FLAG) return;
        this.#stopAll("EVENT_NOT_UNDERSTOOD", { event: event.type, why: unknownEvent(event.type) });
    }
  }

  #begin(event: BinlogEvent): void {
    this.#end(); // a group without an end of its own: DDL
    const { gtid, committedAtMs } = readGtid(event);
    this.#open = {
      gtid,
      committedAtMs,
      serverUuid: this.#options.serverUuid,
      ordinal: 0,
      isXa: false,
      session: null,
      appliedMove: null,
      isApplied: false,
      hasDrayRow: false,
      touched: new Set(),
      marks: [],
    };
    for (const lane of this.#special) lane.beginTransaction(gtid);
    this.#routes.trim();
  }

  #end(): void {
    const open = this.#open;
    if (!open) return;
    this.#open = null;
    const completed = this.#options.completed;
    const taking = open.marks.length > 0 ? new Set([...this.#lanes].filter((lane) => !lane.stepsOver)) : null;
    completed.add(open.gtid);
    for (const lane of open.touched) this.#special.add(lane);
    for (const lane of firstThoseInCutover(this.#special)) lane.endTransaction(open, completed);
    for (const row of open.marks) {
      for (const lane of firstThoseInCutover(this.#lanes)) {
        const begins = lane.awaiting !== null && lane.awaiting === row.mark.nonce;
        if (begins) lane.awaiting = null;
        const meant = row.mark.scope === "server" || row.mark.scope === lane.source.lane;
        if (begins || (meant && taking?.has(lane))) lane.takeMark(row, open, completed);
      }
    }
    for (const lane of this.#special) if (lane.isOrdinary) this.#special.delete(lane);
    this.#options.onEnd?.();
  }

  #rows(event: BinlogEvent): void {
    const open = this.#open;
    if (!open) throw new RangeError("a rows event outside any transaction");
    const header = readRowsHeader(event);
    open.ordinal++;
    if (header.tableId === NO_TABLE) return;
    const table = this.#routes.known(header.tableId);
    if (table.kind === "dray") this.#drayRows(event, header, table, open);
    else if (table.kind === "covered") this.#coveredRows(event, header, table, open);
  }

  #drayRows(event: BinlogEvent, header: RowsHeader, table: KnownTable & { kind: "dray" }, open: Transaction): void {
    const { map } = table;
    if (event.type === EVENT.partialUpdateRows) throw new RangeError(`a partial update of ${map.schema}.${map.table}`);
    if (open.ordinal === 1 && map.table === "applied" && header.op === "insert") {
      open.isApplied = true;
      open.appliedMove = readAppliedMove(event, header, map);
      return;
    }
    if (map.table === "mark" && header.op === "insert") {
      for (const row of readMarkRows(event, header, map)) {
        // Where a way back begins is told by its nonce, which the committed outcome keeps: by any process (C7).
        if (row.mark.kind === "reverse" || this.#options.isOurs(row)) open.marks.push(row);
      }
    }
    if (open.isApplied) return;
    open.hasDrayRow = true;
    for (const lane of open.touched) this.#stop(lane, "FOREIGN_DRAY_WRITE", { table: `${map.schema}.${map.table}` });
  }

  #coveredRows(event: BinlogEvent, header: RowsHeader, table: KnownTable & { kind: "covered" }, open: Transaction) {
    for (const group of table.groups) {
      deliverRows({
        event,
        header,
        group,
        ordinal: open.ordinal,
        touch: (lane) => {
          if (open.appliedMove !== null && open.appliedMove === lane.source.move) return false; // C7
          if (open.hasDrayRow) {
            this.#stop(lane, "FOREIGN_DRAY_WRITE", { table: group.id });
            return false;
          }
          open.touched.add(lane);
          lane.beginRowsEvent(open, this.#options.completed, event.end - header.rowsAt);
          return !lane.isStopped;
        },
        stop: (lane, code, facts) => this.#stop(lane, code, facts),
      });
    }
  }

  #query(event: BinlogEvent): void {
    const query = readQuery(event);
    const found = classifyQuery(query);
    this.#options.plainTables?.saw(found, query.text);
    switch (found.kind) {
      case "begin":
        if (this.#open) this.#open.session = query.session;
        return;
      case "nothing":
      case "xa-other":
        return;
      case "xa-start":
        if (this.#open) this.#open.isXa = true;
        return;
      case "commit":
        return this.#end();
      case "rollback":
        for (const lane of this.#open?.touched ?? []) {
          this.#stop(lane, "EVENT_NOT_UNDERSTOOD", { event: "ROLLBACK", why: "rows were logged and then rolled back" });
        }
        return this.#end();
      default:
        return this.#judge(found, () => statementHead(query));
    }
  }

  #judge(found: QueryClass & { kind: "ddl" | "text" | "unknown" }, statement: () => string): void {
    const only = found.kind === "text" ? this.#onlyTable(found) : null;
    for (const lane of this.#lanes) {
      if (lane.stepsOver) continue;
      const hit = lane.source.tables.find((table) => concerns(found, tableSpec(table), only));
      if (!hit) continue;
      const code =
        found.kind === "ddl" ? "DDL_ON_COVERED_TABLE" : found.kind === "text" ? "STATEMENT_BASED_CHANGE" : null;
      this.#stop(lane, code ?? "EVENT_NOT_UNDERSTOOD", { event: "Query", table: hit.id, statement: statement() });
    }
  }

  /** M8: the one table that a change as text can have changed, where that is certain. */
  #onlyTable({ only, schemas }: QueryClass & { kind: "text" }): TableName | null {
    const gtid = this.#open?.gtid;
    if (only === null || gtid === undefined || !this.#options.plainTables?.has(only, gtid)) return null;
    // What the server says it wrote to, triggers' and functions' effects included, is this table's schema alone.
    return schemas?.length === 1 && schemas[0] === only.schema ? only : null;
  }

  #prepared(event: BinlogEvent): void {
    if (!isOnePhase(event)) {
      for (const lane of this.#open?.touched ?? []) this.#stop(lane, "XA_NOT_YET", { event: "XA_PREPARE" });
    }
    this.#end();
  }

  #stopAll(code: ErrorCode, facts: Record<string, unknown>): void {
    for (const lane of this.#lanes) {
      if (this.#open === null || !lane.stepsOver) this.#stop(lane, code, facts);
    }
  }

  #stop(lane: LaneCursor, code: ErrorCode, facts: Record<string, unknown>): void {
    const transaction = this.#open ? gtidText(this.#open.gtid) : null;
    lane.stop(new DrayError(code, { lane: lane.source.lane, transaction, ...facts }));
  }
}

/** M9: whoever takes an event goes on in the order in which they were given out. */
function* firstThoseInCutover(lanes: ReadonlySet<LaneCursor>): Generator<LaneCursor> {
  for (const lane of lanes) if (lane.hasPriority) yield lane;
  for (const lane of lanes) if (!lane.hasPriority) yield lane;
}

/** Names are compared without their case: on some servers it says nothing. */
function concerns(
  found: QueryClass & { kind: "ddl" | "text" | "unknown" },
  spec: TableSpec,
  only: TableName | null,
): boolean {
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
  if (only !== null) return same(only.schema, spec.schema) && same(only.table, spec.name);
  const schemaHit = found.schemas?.some((schema) => same(schema, spec.schema)) ?? true;
  if (found.kind !== "ddl") return schemaHit || found.schemas?.length === 0;
  return schemaHit || found.tables.some(({ schema, table }) => same(schema, spec.schema) && same(table, spec.name));
}

function unknownEvent(type: number): string {
  if (type === EVENT.incident) return "the server says that changes are missing from its binlog";
  if (type === EVENT.anonymousGtid) return "a transaction without GTID: gtid_mode is not ON";
  return "this version does not know it";
}
