import mysql from "mysql2/promise";
import { DrayError } from "../../pipeline/errors.ts";
import { type LoadLink, LoadStream } from "./load-stream.ts";
import { classifyMysqlError, mysqlError } from "./mysql-errors.ts";
import { runPreparedWrite, type WriteLink, type WriteParameters } from "./prepared-write.ts";
import { readBackStatement, SESSION_SETTINGS, SINK_SETTINGS, setStatement, settingsNotTaken } from "./session.ts";
import { type PacketLink, SessionPackets } from "./session-packets.ts";
import { SessionSocket } from "./session-socket.ts";
import { readTextRows, type TextRowsRequest } from "./text-rows.ts";

export { quoteIdentifier, quoteTable } from "./identifier.ts";
export { classifyMysqlError, type MysqlFailure } from "./mysql-errors.ts";
export { SESSION_SETTINGS, SINK_SETTINGS } from "./session.ts";

export type MysqlAddress = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Undefined connects in plain text. Paths have been read: PEM text. */
  readonly tls?: { readonly ca?: string; readonly verify: boolean };
};

export type ConnectOptions = {
  /** `sink` sessions write tenants' rows: foreign key checks off, 30 s wait timeout (A6, A7). */
  readonly side: "source" | "sink";
  /** Seen in performance_schema.session_connect_attrs; a lane and an epoch let a later applier end this session (A7). */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly connectTimeoutMs?: number;
  readonly signal?: AbortSignal;
};

export type WriteResult = { readonly affectedRows: number; readonly changedRows: number; readonly warnings: number };
export type LoadResult = { readonly rows: number; readonly skipped: number; readonly warnings: number };
/** A value of a raw row: the server's text bytes. */
export type RawRow = readonly (Buffer | null)[];
/** BIGINT, DECIMAL and the like come as text, temporals as MySQL's text. */
export type TextRow = Readonly<Record<string, string | null>>;

const PREPARED_STATEMENTS = 200;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/**
 * One session with SESSION_SETTINGS, set and read back. Errors are DrayErrors that name the server, never the password:
 * MYSQL_UNREACHABLE, MYSQL_ACCESS_DENIED, MYSQL_SETTINGS.
 */
export async function connectMysql(address: MysqlAddress, options: ConnectOptions): Promise<MysqlSession> {
  options.signal?.throwIfAborted();
  const server = `${address.host}:${address.port}`;
  let connection: mysql.Connection;
  // TLS reads its own buffers.
  const socket = address.tls === undefined ? new SessionSocket(address) : null;
  try {
    connection = await mysql.createConnection({
      ...(socket !== null && { stream: () => socket.socket }),
      host: address.host,
      port: address.port,
      user: address.user,
      password: address.password,
      charset: "utf8mb4",
      timezone: "Z",
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      flags: ["+LOCAL_FILES"],
      // The server has 16,382 for all its clients, and refuses everybody once they are used up.
      maxPreparedStatements: PREPARED_STATEMENTS,
      connectTimeout: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      connectAttributes: { program_name: "drayage", ...options.attributes },
      ...(address.tls && {
        ssl: { rejectUnauthorized: address.tls.verify, ...(address.tls.ca !== undefined && { ca: address.tls.ca }) },
      }),
    });
  } catch (error) {
    throw mysqlError(error, server, "connect");
  }
  const settings = options.side === "sink" ? { ...SESSION_SETTINGS, ...SINK_SETTINGS } : SESSION_SETTINGS;
  const packets = SessionPackets.install((connection as unknown as { connection: PacketLink }).connection);
  socket?.installed(packets);
  const session = new MysqlSession({ connection, packets, server });
  try {
    await session.run(setStatement(settings));
    const [found] = await session.query(readBackStatement(settings));
    const problems = settingsNotTaken(settings, found ?? {});
    if (problems.length > 0) throw new DrayError("MYSQL_SETTINGS", { server, settings: problems });
    await session.readIdentity();
    options.signal?.throwIfAborted();
    return session;
  } catch (error) {
    session.destroy();
    throw error;
  }
}

/**
 * A thin wrapper: one statement at a time, in call order. Values go by `execute` only (binary parameters) or as
 * `literal()` hex inside the text; nothing is ever escaped on the client (A6). A statement whose signal fires destroys
 * the connection: the server rolls its transaction back, and the call throws MYSQL_TRANSIENT.
 */
export class MysqlSession {
  /** `host:port`, for errors and status. */
  readonly server: string;
  readonly #connection: mysql.Connection;
  readonly #packets: SessionPackets;
  #uuid = "";
  #connectionId = 0;
  #lost: unknown = null;

  constructor(options: {
    readonly connection: mysql.Connection;
    readonly packets: SessionPackets;
    readonly server: string;
  }) {
    this.#connection = options.connection;
    this.#packets = options.packets;
    this.server = options.server;
    this.#connection.on("error", (error: unknown) => {
      this.#lost ??= error;
    });
  }

  get serverUuid(): string {
    return this.#uuid;
  }
  get connectionId(): number {
    return this.#connectionId;
  }
  /** The connection broke or was destroyed: nothing more can be sent on it. */
  get isLost(): boolean {
    return this.#lost !== null;
  }

  async readIdentity(): Promise<void> {
    const [row] = await this.query<{ uuid: string; id: string }>("SELECT @@server_uuid AS uuid, CONNECTION_ID() AS id");
    this.#uuid = row?.uuid ?? "";
    this.#connectionId = Number(row?.id);
  }

  /** Rows as objects of text. */
  async query<Row extends TextRow = TextRow>(sql: string, signal?: AbortSignal): Promise<Row[]> {
    const typeCast = (field: { string(encoding?: BufferEncoding): string | null }) => field.string("utf8");
    const [rows] = await this.#send(() => this.#connection.query<mysql.RowDataPacket[]>({ sql, typeCast }), signal);
    return rows as unknown as Row[];
  }

  /** Rows as arrays of Buffers: each value the server's own bytes, nothing parsed. The whole result is in memory. */
  async queryRaw(sql: string, signal?: AbortSignal): Promise<RawRow[]> {
    const typeCast = (field: { buffer(): Buffer | null }) => field.buffer();
    const [rows] = await this.#send(
      () => this.#connection.query<mysql.RowDataPacket[][]>({ sql, rowsAsArray: true, typeCast }),
      signal,
    );
    return rows as unknown as RawRow[];
  }

  /** As `queryRaw`, for many rows: each is handed over as it lies in its packet. */
  async eachRow(request: TextRowsRequest, signal?: AbortSignal): Promise<void> {
    await this.#send(() => readTextRows(this.#connection, this.#packets, request), signal);
  }

  /** A statement without values that returns no rows. */
  async run(sql: string, signal?: AbortSignal): Promise<WriteResult> {
    return writeResult(await this.#send(() => this.#written((inner, done) => inner.query(sql, done)), signal));
  }

  /** A prepared statement; parameters are bytes (as `parameter()` says per column), text, safe integers or null. */
  async execute(
    sql: string,
    parameters: readonly (Uint8Array | string | number | bigint | null)[],
    signal?: AbortSignal,
  ): Promise<WriteResult> {
    const values = parameters.map((value) => (value instanceof Uint8Array ? asBuffer(value) : value));
    return writeResult(
      await this.#send(() => this.#written((inner, done) => inner.execute(sql, values, done)), signal),
    );
  }

  /** A prepared statement that writes rows, with bytes and NULLs as its parameters; the number of affected rows. */
  async write(sql: string, parameters: WriteParameters, signal?: AbortSignal): Promise<number> {
    const { connection: link } = this.#connection as unknown as { connection: WriteLink };
    return await this.#send(() => runPreparedWrite(link, this.#packets.toPacket, sql, parameters), signal);
  }

  /** As `execute`, for a statement that returns rows. */
  async executeQuery<Row extends TextRow = TextRow>(
    sql: string,
    parameters: readonly (Uint8Array | string | number | bigint | null)[],
    signal?: AbortSignal,
  ): Promise<Row[]> {
    const values = parameters.map((value) => (value instanceof Uint8Array ? asBuffer(value) : value));
    const [rows] = await this.#send(() => this.#connection.execute<mysql.RowDataPacket[]>(sql, values), signal);
    return rows.map((row) => asText(row)) as Row[];
  }

  /**
   * LOAD DATA LOCAL from a body that is complete and checked (A5). What the server skipped or warned of is in the
   * result; the caller rolls back unless rows = sent, skipped = 0, warnings = 0. Any throw destroys the connection.
   */
  async loadData(sql: string, body: Uint8Array, signal?: AbortSignal): Promise<LoadResult> {
    const { connection: link } = this.#connection as unknown as { connection: LoadLink };
    const infileStreamFactory = () => new LoadStream({ link, body: asBuffer(body) });
    let info: string;
    let warnings: number;
    try {
      const [result] = await this.#send(
        () =>
          this.#connection.query<mysql.ResultSetHeader>({ sql, infileStreamFactory } as object as mysql.QueryOptions),
        signal,
      );
      info = result.info;
      warnings = result.warningStatus;
    } catch (error) {
      this.destroy();
      throw error;
    }
    const match = /Records: (\d+)\s+Deleted: \d+\s+Skipped: (\d+)\s+Warnings: (\d+)/.exec(info);
    if (!match) {
      this.destroy();
      throw new DrayError("MYSQL_REFUSED", { server: this.server, error: "LOAD DATA answered without its counts" });
    }
    return { rows: Number(match[1]), skipped: Number(match[2]), warnings: Math.max(Number(match[3]), warnings) };
  }

  async close(): Promise<void> {
    if (this.#lost !== null) return this.destroy();
    this.#lost = new Error("closed");
    await this.#connection.end().catch(() => this.#connection.destroy());
  }

  destroy(): void {
    this.#lost ??= new Error("destroyed");
    this.#connection.destroy();
  }

  /** mysql2's promises take a stack trace for every statement, which is a twentieth of a small transaction's CPU. */
  #written(start: (inner: CallbackConnection, done: Written) => unknown): Promise<mysql.ResultSetHeader> {
    const { connection: inner } = this.#connection as unknown as { connection: CallbackConnection };
    return new Promise((resolve, reject) => {
      start(inner, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  async #send<T>(statement: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#lost !== null) throw mysqlError(lost(), this.server, "run");
    if (signal?.aborted) throw mysqlError(aborted(), this.server, "run");
    let onAbort: (() => void) | undefined;
    try {
      if (!signal) return await statement();
      const abort = new Promise<never>((_, reject) => {
        onAbort = () => {
          this.destroy();
          reject(aborted());
        };
        signal.addEventListener("abort", onAbort, { once: true });
      });
      return await Promise.race([statement(), abort]);
    } catch (error) {
      if (classifyMysqlError(error).connectionLost) this.#lost ??= error;
      throw mysqlError(error, this.server, "run");
    } finally {
      if (onAbort) signal?.removeEventListener("abort", onAbort);
    }
  }
}

type Written = (error: Error | null, result: mysql.ResultSetHeader) => void;
type CallbackConnection = {
  query(options: object | string, done?: Written): unknown;
  execute(sql: string, values: readonly unknown[], done: Written): unknown;
};

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function asText(row: Readonly<Record<string, unknown>>): TextRow {
  const text = (value: unknown) => (value === null ? null : Buffer.isBuffer(value) ? value.toString() : String(value));
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, text(value)]));
}

function writeResult(result: mysql.ResultSetHeader): WriteResult {
  return {
    affectedRows: result.affectedRows,
    changedRows: result.changedRows ?? 0,
    warnings: result.warningStatus ?? 0,
  };
}

function lost(): Error {
  return Object.assign(new Error("the connection is closed"), { code: "PROTOCOL_CONNECTION_LOST" });
}

function aborted(): Error {
  return Object.assign(new Error("the statement was aborted"), { code: "MYSQL_STATEMENT_ABORTED" });
}
