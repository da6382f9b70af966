import { systemClock } from "../../../pipeline/clock.ts";
import type { LaneId } from "../../../pipeline/entry.ts";
import { DrayError } from "../../../pipeline/errors.ts";
import { type BinlogEvent, EVENT } from "../binlog-events.ts";
import { BinlogStream } from "../binlog-stream.ts";
import type { Chunks } from "../chunks.ts";
import type { MysqlAddress, MysqlSession } from "../client.ts";
import { sourceTable, targetTable } from "../foreign-rows.ts";
import { quoteIdentifier } from "../identifier.ts";
import { loadStatement } from "../load-text.ts";
import { type CanonicalRow, decodeRow } from "../row-codec.ts";
import { buildPlan, type RowPlan } from "../row-decoder.ts";
import { executedSet, freeServerId } from "../source-history.ts";
import { isComplete, readRowsHeader, readTableMap, readTableMapName } from "../table-map.ts";
import { type ColumnSpec, carriedColumns, keyColumns, type TableSpec } from "../table-spec.ts";
import type { GuardedUpsert } from "./context.ts";
import type { Side } from "./server-view.ts";
import type { Twin } from "./twin-tables.ts";

/** A row that the target's own statement meets for the second time takes its other half: the update. */
const TIMES = 2;

/** The rows of a source twin as the copy carries them: read in chunks, written by LOAD DATA (A5). */
export async function bySnapshot(
  { chunks, target, tenant }: { readonly chunks: Chunks; readonly target: MysqlSession; readonly tenant: string },
  { spec, id }: Twin,
  signal: AbortSignal,
): Promise<void> {
  const table = { id, root: spec.belonging.kind === "root", ordered: false, definition: spec };
  const lane = { lane: "preflight" as LaneId, move: "preflight", tenant, tables: [table] };
  const range = { table: id, pass: 0, after: null, upTo: null, announces: "end" as const };
  const read = await chunks.readRange(lane, range, signal);
  const { body, rows } = read.encode(new Set());
  if (rows === 0) return;
  const loaded = await target.loadData(loadStatement(spec), body, signal);
  if (loaded.rows === rows && loaded.skipped === 0 && loaded.warnings === 0) return;
  throw new DrayError("VALUE_REFUSED", {
    table: id,
    reason: `of ${rows} rows LOAD DATA took ${loaded.rows}, skipped ${loaded.skipped} and warned ${loaded.warnings} times`,
  });
}

/** The same rows as the stream carried them: as parameters of the target's guarded statement (A1). */
export async function byStream(
  {
    target,
    tenant,
    upsert,
  }: { readonly target: MysqlSession; readonly tenant: string; readonly upsert: GuardedUpsert },
  { spec, id }: Twin,
  rows: readonly CanonicalRow[],
  signal: AbortSignal,
): Promise<void> {
  const sql = upsert({ id, spec, tenant });
  for (let time = 0; time < TIMES; time++) for (const row of rows) await target.execute(sql, row, signal);
}

export type TwinStreamOptions = {
  readonly address: MysqlAddress;
  readonly session: MysqlSession;
  readonly twins: readonly Twin[];
  /** How long the rows may take to come once they are committed. */
  readonly withinMs?: number;
};

/** A server may have to read through a binary log of a GiB to where the reader begins. */
const WITHIN_MS = 10_000;

/** A reader of the source's binlog from now on, for the twins' rows alone. */
export class TwinStream {
  readonly #stream: BinlogStream;
  readonly #specs: ReadonlyMap<string, Twin>;
  readonly #plans = new Map<number, { readonly id: string; readonly plan: RowPlan }>();
  readonly #rows = new Map<string, CanonicalRow[]>();
  readonly #refused = new Map<string, Error>();
  readonly #schema: string;
  readonly #withinMs: number;
  readonly #failed = Promise.withResolvers<never>();
  #arrived: (() => void) | null = null;

  static async open(
    { address, session, twins, withinMs = WITHIN_MS }: TwinStreamOptions,
    signal: AbortSignal,
  ): Promise<TwinStream> {
    const completed = await executedSet(session, signal);
    const serverId = await freeServerId(session, signal);
    return new TwinStream({ address, twins, withinMs, completed: `${completed}`, serverId });
  }

  private constructor(options: {
    readonly address: MysqlAddress;
    readonly twins: readonly Twin[];
    readonly withinMs: number;
    readonly completed: string;
    readonly serverId: number;
  }) {
    const { address, twins, completed, serverId } = options;
    this.#schema = twins[0]?.spec.schema ?? "";
    this.#withinMs = options.withinMs;
    this.#specs = new Map(twins.map((twin) => [twin.spec.name, twin]));
    this.#failed.promise.catch(() => {}); // whoever waits meets it
    this.#stream = new BinlogStream({
      server: address,
      serverId,
      completed,
      clock: systemClock,
      onEvent: (event) => this.#take(event),
      onFailure: (error) => this.#failed.reject(error),
    });
  }

  /** Waits until so many rows of each twin have come; throws why they cannot be read. By the twin's id. */
  async rows(
    counts: ReadonlyMap<string, number>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, readonly CanonicalRow[] | Error>> {
    const aborted = Promise.withResolvers<never>();
    const late = AbortSignal.timeout(this.#withinMs);
    const either = AbortSignal.any([signal, late]);
    const why = `rows committed in ${this.#schema} did not come in the binary log within ${this.#withinMs} ms: see its format, its filters and its lag`;
    const onAbort = () => aborted.reject(signal.aborted ? signal.reason : new Error(why));
    either.addEventListener("abort", onAbort, { once: true });
    aborted.promise.catch(() => {}); // raced below
    try {
      signal.throwIfAborted();
      const here = (id: string) => this.#refused.has(id) || (this.#rows.get(id)?.length ?? 0) >= (counts.get(id) ?? 0);
      while (![...counts.keys()].every(here)) {
        const arrived = new Promise<void>((resolve) => {
          this.#arrived = resolve;
        });
        await Promise.race([arrived, this.#failed.promise, aborted.promise]);
      }
      return new Map([...counts.keys()].map((id) => [id, this.#refused.get(id) ?? this.#rows.get(id) ?? []]));
    } finally {
      either.removeEventListener("abort", onAbort);
    }
  }

  close(): Promise<void> {
    return this.#stream.close();
  }

  #take(event: BinlogEvent): void {
    if (event.type === EVENT.tableMap) {
      const { schema, table, tableId } = readTableMapName(event);
      const twin = schema === this.#schema ? this.#specs.get(table) : undefined;
      if (twin)
        this.#guarded(twin.id, () =>
          this.#plans.set(tableId, { id: twin.id, plan: buildPlan(twin.spec, readTableMap(event)) }),
        );
      return;
    }
    if (event.type !== EVENT.writeRows && event.type !== EVENT.writeRowsV1) return;
    const header = readRowsHeader(event);
    const known = this.#plans.get(header.tableId);
    if (!known) return;
    this.#guarded(known.id, () => {
      if (!isComplete(event.bytes, header)) throw new DrayError("INCOMPLETE_ROW_IMAGE", { table: known.id });
      const columns = carriedColumns(known.plan.spec).length;
      for (let at = header.rowsAt; at < event.end; ) {
        at = known.plan.locate(event.bytes, at, event.end);
        const rows = this.#rows.get(known.id) ?? [];
        rows.push(decodeRow(known.plan.row(), columns));
        this.#rows.set(known.id, rows);
      }
    });
    this.#arrived?.();
  }

  /** What one table's rows cannot be read for says nothing of the others. */
  #guarded(id: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#refused.set(id, error instanceof Error ? error : new Error(String(error)));
      this.#arrived?.();
    }
  }
}

/** Of each row, in key order, a digest of each column: generated ones too, as the target computed them. */
export async function digests(session: MysqlSession, side: Side, spec: TableSpec, signal: AbortSignal) {
  const order = keyColumns(spec).map((column) => quoteIdentifier(column.name));
  const values = spec.columns.map((column) => `SHA2(${plainValue(column)}, 256)`);
  const table = side === "source" ? sourceTable(spec) : targetTable(spec);
  const rows = await session.queryRaw(`SELECT ${values.join(", ")} FROM ${table} ORDER BY ${order.join(", ")}`, signal);
  return rows.map((row) => row.map((digest) => digest?.toString("latin1") ?? null));
}

/** A column's value by other means than the roads use, so that no mistake of theirs hides itself. */
function plainValue(column: ColumnSpec): string {
  const name = quoteIdentifier(column.name);
  if (column.dataType === "float" || column.dataType === "double") return `CAST(${name} * 1e0 AS CHAR)`;
  if (["enum", "set", "bit"].includes(column.dataType)) return `CAST(${name} + 0 AS CHAR)`;
  if (column.dataType === "json") return `CAST(${name} AS CHAR CHARACTER SET utf8mb4)`;
  return `CAST(${name} AS BINARY)`;
}

/** Names of the columns that differ in any row; null where not as many rows arrived as were sent. */
export function differingColumns(
  spec: TableSpec,
  sent: readonly (readonly (string | null)[])[],
  arrived: readonly (readonly (string | null)[])[],
): readonly string[] | null {
  if (sent.length !== arrived.length) return null;
  return spec.columns.flatMap((column, at) =>
    sent.some((row, i) => row[at] !== arrived[i]?.[at]) ? [column.name] : [],
  );
}
