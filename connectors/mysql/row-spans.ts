import type { Connection } from "mysql2/promise";

/** A row as it lies in its packet: value i is `bytes` from `from[i]` to `to[i]`; NULL where `from[i]` is -1. */
export type RowSpans = {
  readonly bytes: Buffer;
  readonly from: Int32Array;
  readonly to: Int32Array;
};

export type RowSpansRequest = {
  readonly sql: string;
  readonly columns: number;
  /** The spans are good during the call only. What it throws is thrown once the statement has ended. */
  readonly onRow: (row: RowSpans) => void;
};

/** What of a packet of mysql2 is read here. */
type Packet = {
  readonly buffer: Buffer;
  offset: number;
  isEOF(): boolean;
  readLengthCodedNumber(): number | null;
};
type OnPacket = (packet: Packet, connection: unknown) => unknown;
type QueryCommand = { row?: OnPacket };
type CallbackConnection = {
  query(options: object, done: (error: Error | null, rows?: readonly (Buffer | null)[][]) => void): QueryCommand;
};

/** The first byte of a value's length where it says everything: 251 is NULL, above it the length follows. */
const SHORT_LENGTHS = 251;

/**
 * Rows of the text protocol without an object a value: half the CPU of reading Buffers, and nothing for the collector.
 * mysql2 has no public way to a packet, so its command's `row` is replaced; where that is not there, rows come as Buffers.
 */
export function readRowSpans(connection: Connection, request: RowSpansRequest): Promise<void> {
  const { sql, columns, onRow } = request;
  const { connection: inner } = connection as unknown as { readonly connection: CallbackConnection };
  const from = new Int32Array(columns);
  const to = new Int32Array(columns);
  let failure: unknown = null;
  const guarded = (bytes: Buffer) => {
    // The statement's other rows are on their way already, and must be read past.
    if (failure !== null) return;
    try {
      onRow({ bytes, from, to });
    } catch (error) {
      failure = error ?? new Error("a row was refused");
    }
  };
  return new Promise((resolve, reject) => {
    let isOurs = false;
    const typeCast = (field: { buffer(): Buffer | null }) => field.buffer();
    const command = inner.query({ sql, rowsAsArray: true, typeCast }, (error, rows) => {
      if (error) return reject(error);
      if (!isOurs) for (const row of rows ?? []) guarded(joined(row, from, to));
      if (failure !== null) reject(failure);
      else resolve();
    });
    const original = command.row;
    if (typeof original !== "function") return;
    const row: OnPacket = function (this: unknown, packet, link) {
      if (packet.isEOF()) return original.call(this, packet, link);
      isOurs = true;
      spansOf(packet, from, to);
      guarded(packet.buffer);
      return row;
    };
    command.row = row;
  });
}

function spansOf(packet: Packet, from: Int32Array, to: Int32Array): void {
  const { buffer } = packet;
  for (let i = 0; i < from.length; i++) {
    const first = buffer[packet.offset] as number;
    let length: number | null = first;
    if (first < SHORT_LENGTHS) packet.offset++;
    else length = packet.readLengthCodedNumber();
    from[i] = length === null ? -1 : packet.offset;
    packet.offset += length ?? 0;
    to[i] = packet.offset;
  }
}

function joined(row: readonly (Buffer | null)[], from: Int32Array, to: Int32Array): Buffer {
  let at = 0;
  row.forEach((value, i) => {
    from[i] = value === null ? -1 : at;
    at += value?.length ?? 0;
    to[i] = at;
  });
  return Buffer.concat(row.filter((value) => value !== null));
}
