import type { Bound } from "../../pipeline/coverage.ts";
import type { KeyBytes } from "../../pipeline/entry.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { ChunkBudget, ChunkRows, LaneSource, TableRange } from "../../pipeline/source.ts";
import { BufferPool } from "./buffer-pool.ts";
import { type MysqlSession, quoteIdentifier, quoteTable } from "./client.ts";
import { anyOfKeys, boundFromKey, boundLiterals } from "./key-bytes.ts";
import { ChunkText, selectList } from "./load-text.ts";
import type { SessionPool } from "./session-pool.ts";
import { keyColumns, type TableSpec, tableSpec } from "./table-spec.ts";
import { tenantPredicate } from "./tenant-key.ts";
import { type SelectMode, selectExpression } from "./values.ts";

/** Until a table's rows have been seen, and where the server does not know either. */
const GUESSED_ROW_BYTES = 256;
const GUESSED_CHUNK_BYTES = 1024 * 1024;

/** The tenant's rows by the paging key (W7): index-only probes for the next bound, and one statement a range. */
export class Chunks {
  readonly #pool: SessionPool;
  readonly #buffers = new BufferPool();
  readonly #rowBytes = new Map<string, number>();
  /** What the last chunk came to, and a little more: the next one then grows into its buffer without a copy. */
  readonly #chunkBytes = new Map<string, number>();
  /** Tables with a JSON value that only the server itself can prove. */
  readonly #proving = new Set<string>();

  constructor(options: { readonly pool: SessionPool }) {
    this.#pool = options.pool;
  }

  async nextBound(
    source: LaneSource,
    table: string,
    after: Bound | null,
    budget: ChunkBudget,
    signal: AbortSignal,
  ): Promise<Bound | null> {
    const spec = specOf(source, table);
    return await this.#pool.use(async (session) => {
      const rowBytes = this.#rowBytes.get(table) ?? (await averageRowBytes(session, spec, signal));
      this.#rowBytes.set(table, rowBytes);
      const rows = Math.max(1, Math.min(budget.rows, Math.floor(budget.bytes / rowBytes)));
      const keys = keyColumns(spec);
      const names = keys.map((column) => quoteIdentifier(column.name));
      const places = where(spec, source.tenant, { after, upTo: null });
      const [last] = await session.queryRaw(
        `SELECT ${keys.map((column) => selectExpression(column)).join(", ")} FROM (` +
          `SELECT ${names.join(", ")} ${from(spec)} WHERE ${places} ORDER BY ${names.join(", ")} LIMIT ${rows}` +
          `) AS page ORDER BY ${names.map((name) => `${name} DESC`).join(", ")} LIMIT 1`,
        signal,
      );
      if (last === undefined) return null;
      const bound = boundFromKey(spec, last);
      const behind = where(spec, source.tenant, { after: bound, upTo: null });
      const more = await session.queryRaw(`SELECT 1 ${from(spec)} WHERE ${behind} LIMIT 1`, signal);
      return more.length === 0 ? null : bound;
    }, signal);
  }

  async readRange(source: LaneSource, range: TableRange, signal: AbortSignal): Promise<ChunkRows> {
    const spec = specOf(source, range.table);
    const rows = `${from(spec)} WHERE ${where(spec, source.tenant, range)}`;
    const text = await this.#proven(spec, range.table, rows, signal);
    this.#chunkBytes.set(range.table, Math.ceil(text.bytes * 1.1) + 1024);
    if (text.rows > 0) this.#rowBytes.set(range.table, Math.max(1, text.bytes / text.rows));
    return text;
  }

  /** By primary key; a collation may find rows with other bytes too. */
  async readKeys(
    source: LaneSource,
    table: string,
    keys: readonly KeyBytes[],
    signal: AbortSignal,
  ): Promise<ChunkRows> {
    const spec = specOf(source, table);
    const rows = `FROM ${quoteTable(spec.schema, spec.name)} FORCE INDEX (PRIMARY) WHERE ${anyOfKeys(spec, keys)}`;
    return await this.#proven(spec, table, `${rows} AND ${tenantPredicate(spec, source.tenant)}`, signal);
  }

  async countRows(source: LaneSource, signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    const counts: Record<string, number> = {};
    for (const table of source.tables) {
      const spec = tableSpec(table);
      const rows = await this.#pool.use(
        (session) =>
          session.queryRaw(`SELECT COUNT(*) ${from(spec)} WHERE ${tenantPredicate(spec, source.tenant)}`, signal),
        signal,
      );
      counts[table.id] = Number(rows[0]?.[0]);
    }
    return counts;
  }

  async #proven(spec: TableSpec, table: string, rows: string, signal: AbortSignal): Promise<ChunkText> {
    if (!this.#proving.has(table)) {
      try {
        return await this.#read(spec, table, rows, "plain", signal);
      } catch (error) {
        if (!isDrayError(error, "JSON_NEEDS_PROOF")) throw error;
        this.#proving.add(table);
      }
    }
    return await this.#read(spec, table, rows, "proving", signal);
  }

  async #read(spec: TableSpec, table: string, rows: string, mode: SelectMode, signal: AbortSignal): Promise<ChunkText> {
    const expectedBytes = this.#chunkBytes.get(table) ?? GUESSED_CHUNK_BYTES;
    const text = new ChunkText({ spec, mode, expectedBytes, pool: this.#buffers });
    const sql = `SELECT ${selectList(spec, mode)} ${rows}`;
    const onRow = (packet: Buffer, start: number, end: number) => text.addPacket(packet, start, end);
    await this.#pool.use((session) => session.eachRow({ sql, onRow }, signal), signal);
    return text;
  }
}

function specOf(source: LaneSource, id: string): TableSpec {
  const table = source.tables.find((candidate) => candidate.id === id);
  if (!table) throw new Error(`${id} is not a table of lane ${source.lane}`);
  return tableSpec(table);
}

function from(spec: TableSpec): string {
  return `FROM ${quoteTable(spec.schema, spec.name)} FORCE INDEX (${quoteIdentifier(spec.pagingIndex)})`;
}

type Ends = { readonly after: Bound | null; readonly upTo: Bound | null };

function where(spec: TableSpec, tenant: string, { after, upTo }: Ends): string {
  const parts = [tenantPredicate(spec, tenant)];
  if (after) parts.push(beyond(spec, after, ">"));
  if (upTo) parts.push(`NOT ${beyond(spec, upTo, ">")}`, reach(spec, upTo));
  return parts.join(" AND ");
}

/** `(a > x OR (a = x AND (b > y)))`: a row comparison would not use the index. Order is the column's own collation. */
function beyond(spec: TableSpec, bound: Bound, operator: ">"): string {
  const names = keyColumns(spec).map((column) => quoteIdentifier(column.name));
  const values = boundLiterals(spec, bound);
  let text = "";
  for (let i = names.length - 1; i >= 0; i--) {
    const more = `${names[i]} ${operator} ${values[i]}`;
    text = text === "" ? `(${more})` : `(${more} OR (${names[i]} = ${values[i]} AND ${text}))`;
  }
  return text;
}

/** The first key column's end, by which the index scan stops. */
function reach(spec: TableSpec, upTo: Bound): string {
  const [first] = keyColumns(spec);
  if (!first) throw new Error(`${spec.name} has no key`);
  return `${quoteIdentifier(first.name)} <= ${boundLiterals(spec, upTo)[0]}`;
}

async function averageRowBytes(session: MysqlSession, spec: TableSpec, signal: AbortSignal): Promise<number> {
  const [row] = await session.executeQuery<{ bytes: string | null }>(
    "SELECT AVG_ROW_LENGTH AS bytes FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
    [spec.schema, spec.name],
    signal,
  );
  return Math.max(Number(row?.bytes ?? 0), GUESSED_ROW_BYTES);
}
