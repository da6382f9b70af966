import { crc32 } from "node:zlib";
import ZongJi from "@vlasky/zongji";
import { reasonOf } from "../../pipeline/backoff.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import { type BinlogEvent, EVENT } from "./binlog-events.ts";
import type { MysqlAddress } from "./client.ts";
import { openPayload, readEvent } from "./transaction-payload.ts";

export type BinlogStreamOptions = {
  readonly server: MysqlAddress;
  readonly serverId: number;
  /** Shown in performance_schema.session_connect_attrs, so that the session can be told from another installation's. */
  readonly draySchema?: string;
  /** Transactions that are not sent again, as a GTID set. */
  readonly completed: string;
  readonly clock: Clock;
  /** One event, TRANSACTION_PAYLOADs already opened; its bytes are valid during the call only. A throw ends the stream. */
  readonly onEvent: (event: BinlogEvent) => void;
  /** Once, unless `close` came first: whatever it was, the connection is gone. */
  readonly onFailure: (error: Error) => void;
};

/** The server speaks at least this often; a link that is silent for five times as long is dead. */
const HEARTBEAT_SECONDS = 2;
const SILENCE_MS = 10_000;
/** How long a paused reader may leave the server's send buffer full before the server hangs up. */
const NET_WRITE_TIMEOUT_SECONDS = 3_600;
const CHECKSUM_BYTES = 4;

/** The parts of mysql2's packet and connection that a dump command meets; zongji hands them on untyped. */
type Packet = { readonly buffer: Buffer; readonly offset: number; readonly end: number };
type DumpConnection = {
  query(sql: string, done: (error: Error | null) => void): void;
  pause(): void;
  resume(): void;
};
type Internals = {
  readonly connection: DumpConnection | null;
  readonly isMariaDb: boolean;
  readonly BinlogClass: {
    prototype: { binlogData: (packet: Packet) => unknown; onResult?: (error: Error | null) => void };
  };
};

/**
 * One binlog dump. zongji connects, agrees on checksums and asks for the dump; from there on the raw events are ours, so
 * that nothing of its decoding, and none of its warnings that go on afterwards, can lose a row. It never reconnects.
 */
export class BinlogStream {
  readonly #options: BinlogStreamOptions;
  readonly #zongji: ZongJi;
  #heardAtMs: number;
  #timer: NodeJS.Timeout | null = null;
  #checksumBytes = CHECKSUM_BYTES;
  #formatKnown = false;
  #over = false;
  #paused = false;
  #stopped: Promise<void> = Promise.resolve();

  constructor(options: BinlogStreamOptions) {
    this.#options = options;
    this.#heardAtMs = options.clock.monotonicMs();
    this.#zongji = new ZongJi(connectionOptions(options));
    this.#zongji.on("error", (error: Error) => this.#fail(error));
    this.#zongji.on("ready", () => this.#takeOver());
    this.#zongji.start({ serverId: options.serverId, gtidSet: options.completed });
    // Queued on the same connection, hence before the dump. Both names: servers before 8.0.26 know only the first.
    const period = HEARTBEAT_SECONDS * 1_000_000_000;
    this.#internals().connection?.query(
      `SET @master_heartbeat_period = ${period}, @source_heartbeat_period = ${period},` +
        // Also where the server writes none now: its older files may hold some, and would be refused.
        ` @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32',` +
        ` SESSION net_write_timeout = ${NET_WRITE_TIMEOUT_SECONDS}`,
      (error) => error && this.#fail(error),
    );
    this.#timer = setInterval(() => this.#checkSilence(), SILENCE_MS / 5);
    this.#timer.unref();
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** Back-pressure: the server's send buffer fills, and nothing more arrives until `resume`. */
  pause(): void {
    if (this.#paused || this.#over) return;
    this.#paused = true;
    this.#internals().connection?.pause();
  }

  resume(): void {
    if (!this.#paused || this.#over) return;
    this.#paused = false;
    this.#heardAtMs = this.#options.clock.monotonicMs();
    this.#internals().connection?.resume();
  }

  async close(): Promise<void> {
    this.#end();
    await this.#stopped;
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer) clearInterval(this.#timer);
    this.#stopped = new Promise((resolve) => this.#zongji.once("stopped", () => resolve()));
    this.#zongji.stop();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#end();
    this.#options.onFailure(error);
  }

  #internals(): Internals {
    return this.#zongji as unknown as Internals;
  }

  #takeOver(): void {
    const internals = this.#internals();
    if (internals.isMariaDb) return this.#fail(new Error("MariaDB's binlog is not MySQL's"));
    const command = internals.BinlogClass.prototype;
    const next = (packet: Packet) => {
      this.#takePacket(packet);
      return next;
    };
    command.binlogData = next;
    // An error packet would otherwise be thrown out of the socket's handler.
    command.onResult = (error) => this.#fail(error ?? new Error("the server ended the binlog dump"));
  }

  #takePacket({ buffer, offset, end }: Packet): void {
    if (this.#over) return;
    this.#heardAtMs = this.#options.clock.monotonicMs();
    try {
      if (buffer[offset] !== 0) throw new Error(`the server ended the binlog dump (${buffer[offset]})`);
      this.#takeEvent(buffer, offset + 1, end);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #takeEvent(bytes: Buffer, at: number, end: number): void {
    const type = bytes[at + 4] ?? 0;
    if (type === EVENT.formatDescription) {
      // It says for its own file whether events carry checksums; files of one server may differ.
      this.#checksumBytes = bytes[end - CHECKSUM_BYTES - 1] === 1 ? CHECKSUM_BYTES : 0;
      this.#formatKnown = true;
    }
    // Made up by the dump thread for us alone: nothing in them is needed.
    if (type === EVENT.rotate || type === EVENT.heartbeat || type === EVENT.heartbeatV2) return;
    if (!this.#formatKnown) throw new Error(`event ${type} came before the format description`);
    const event = readEvent(bytes, at, end, this.#checksumBytes);
    if (this.#checksumBytes > 0 && crc32(bytes.subarray(at, event.end)) !== bytes.readUInt32LE(event.end)) {
      throw new Error(`event ${type} does not match its checksum`);
    }
    try {
      if (type !== EVENT.transactionPayload) return this.#options.onEvent(event);
      for (const inner of openPayload(event)) {
        if (this.#over) return;
        this.#options.onEvent(inner);
      }
    } catch (error) {
      // Whole and intact, and yet not to be read: the same bytes would come again (M8).
      if (isDrayError(error)) throw error;
      throw new DrayError("EVENT_NOT_UNDERSTOOD", { event: type, why: reasonOf(error) }, error);
    }
  }

  #checkSilence(): void {
    if (this.#paused) return;
    const silentMs = this.#options.clock.monotonicMs() - this.#heardAtMs;
    if (silentMs > SILENCE_MS) this.#fail(new Error(`no heartbeat for ${Math.round(silentMs / 1000)} s`));
  }
}

function connectionOptions({ server, draySchema }: BinlogStreamOptions) {
  const { host, port, user, password, tls } = server;
  return {
    host,
    port,
    user,
    password,
    charset: "utf8mb4",
    connectTimeout: SILENCE_MS,
    connectAttributes: {
      program_name: "drayage",
      dray_role: "binlog",
      ...(draySchema !== undefined && { dray_schema: draySchema }),
    },
    ...(tls && { ssl: { rejectUnauthorized: tls.verify, ...(tls.ca !== undefined && { ca: tls.ca }) } }),
  };
}
