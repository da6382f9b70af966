import type { Connection } from "mysql2/promise";
import type { OnRowPacket, SessionPackets } from "./session-packets.ts";

export type TextRowsRequest = {
  readonly sql: string;
  /**
   * A row as it lies in its packet, from `start` to `end`: its values one behind the other, each behind its length
   * (`textLength`). Good during the call only. What it throws is thrown once the statement has ended.
   */
  readonly onRow: OnRowPacket;
};

type CallbackConnection = {
  query(options: object, done: (error: Error | null) => void): { once(event: "fields", on: () => void): unknown };
};

/**
 * Rows of the text protocol without an object a value or a row. mysql2 has no public way to a packet, so the rows are
 * taken where its packets are split; the statement itself, its columns and its errors stay with mysql2.
 */
export function readTextRows(connection: Connection, packets: SessionPackets, request: TextRowsRequest): Promise<void> {
  const { connection: inner } = connection as unknown as { readonly connection: CallbackConnection };
  let failure: unknown = null;
  const onRow: OnRowPacket = (bytes, start, end) => {
    // The statement's other rows are on their way already, and must be read past.
    if (failure !== null) return;
    try {
      request.onRow(bytes, start, end);
    } catch (error) {
      failure = error ?? new Error("a row was refused");
    }
  };
  return new Promise((resolve, reject) => {
    const command = inner.query({ sql: request.sql, rowsAsArray: true }, (error) => {
      if (error !== null || failure !== null) reject(error ?? failure);
      else resolve();
    });
    command.once("fields", () => packets.readRows(onRow));
  });
}

/** A value's length is in its first byte up to this; NULL is the byte itself; above it the length follows. */
export const NULL_LENGTH = 251;

/** The length behind a first byte above NULL_LENGTH; `bytes` says how many it takes, the first one included. */
export function longLength(buffer: Buffer, at: number): { readonly length: number; readonly bytes: number } {
  switch (buffer[at]) {
    case 252:
      return { length: buffer.readUInt16LE(at + 1), bytes: 3 };
    case 253:
      return { length: buffer.readUIntLE(at + 1, 3), bytes: 4 };
    case 254:
      return { length: Number(buffer.readBigUInt64LE(at + 1)), bytes: 9 };
    default:
      throw new RangeError(`${buffer[at]} begins no length`);
  }
}
