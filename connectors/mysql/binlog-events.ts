import type { Gtid } from "./gtid-set.ts";

/** Event type codes of MySQL 8.0 to 9.x. What is not here is unknown, and unknown is fatal (M8). */
export const EVENT = {
  query: 2,
  stop: 3,
  rotate: 4,
  intvar: 5,
  appendBlock: 9,
  deleteFile: 11,
  rand: 13,
  userVar: 14,
  formatDescription: 15,
  xid: 16,
  beginLoadQuery: 17,
  executeLoadQuery: 18,
  tableMap: 19,
  writeRowsV1: 23,
  updateRowsV1: 24,
  deleteRowsV1: 25,
  incident: 26,
  heartbeat: 27,
  ignorable: 28,
  rowsQuery: 29,
  writeRows: 30,
  updateRows: 31,
  deleteRows: 32,
  gtid: 33,
  anonymousGtid: 34,
  previousGtids: 35,
  transactionContext: 36,
  viewChange: 37,
  xaPrepare: 38,
  partialUpdateRows: 39,
  transactionPayload: 40,
  heartbeatV2: 41,
  taggedGtid: 42,
} as const;

/** The header flag by which a server says that whoever does not know this event may step over it. */
export const IGNORABLE_FLAG = 0x80;

/** One event; `bytes` is valid only during the call that hands it over. The body is [start, end), checksum excluded. */
export type BinlogEvent = {
  readonly type: number;
  readonly flags: number;
  readonly timestampSeconds: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
};

export type GtidEvent = { readonly gtid: Gtid; readonly committedAtMs: number };

export function readGtid(event: BinlogEvent): GtidEvent {
  return event.type === EVENT.taggedGtid ? readTaggedGtid(event) : readPlainGtid(event);
}

function readPlainGtid({ bytes, start, end, timestampSeconds }: BinlogEvent): GtidEvent {
  const gtid = { source: uuidText(bytes, start + 1), number: bytes.readBigInt64LE(start + 17) };
  // Behind the logical clock (type 2, two 8-byte numbers): the commit time, 55 bits of microseconds.
  const clock = start + 25;
  if (end < clock + 24 || bytes[clock] !== 2) return { gtid, committedAtMs: timestampSeconds * 1000 };
  const high = (bytes[clock + 23] ?? 0) & 0x7f;
  const micros = bytes.readUIntLE(clock + 17, 6) + high * 2 ** 48;
  return { gtid, committedAtMs: Math.floor(micros / 1000) };
}

/** One message of numbered fields, each number a varint whose low bits say how long it is. */
function readTaggedGtid({ bytes, start, end, timestampSeconds }: BinlogEvent): GtidEvent {
  let at = start;
  const varint = (): bigint => {
    const head = bytes[at] ?? 0;
    let extra = 0;
    while (extra < 8 && head & (1 << extra)) extra++;
    if (at + extra + 1 > end) throw new RangeError("a tagged GTID ends too early");
    let value = 0n;
    for (let i = extra; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i] ?? 0);
    at += extra + 1;
    return extra === 8 ? value >> 8n : value >> BigInt(extra + 1);
  };
  const signed = (): bigint => {
    const value = varint();
    return value & 1n ? -(value >> 1n) - 1n : value >> 1n;
  };
  if (varint() !== 1n) throw new RangeError("a tagged GTID of an unknown version");
  const size = Number(varint());
  varint(); // the highest field that must be known: all up to 11 are stepped over safely
  const messageEnd = Math.min(start + size, end);
  let uuid = "";
  let tag = "";
  let number: bigint | null = null;
  let committedAtMs = timestampSeconds * 1000;
  while (at < messageEnd) {
    const field = Number(varint());
    if (field === 0) varint();
    else if (field === 1) uuid = uuidText(Buffer.from(Array.from({ length: 16 }, () => Number(varint()))), 0);
    else if (field === 2) number = signed();
    else if (field === 3) {
      const length = Number(varint());
      tag = bytes.toString("latin1", at, at + length);
      at += length;
    } else if (field === 4 || field === 5) signed();
    else if (field === 6) {
      committedAtMs = Number(varint() / 1000n);
      break;
    } else break;
  }
  if (uuid === "" || number === null) throw new RangeError("a tagged GTID without uuid or number");
  return { gtid: { source: tag === "" ? uuid : `${uuid}:${tag}`, number }, committedAtMs };
}

function uuidText(bytes: Buffer, at: number): string {
  const hex = bytes.toString("hex", at, at + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export type QueryEvent = {
  /** The server's number of the session that ran it, as the processlist has it. */
  readonly session: number;
  /** The session's default schema. */
  readonly schema: string;
  readonly text: string;
  /** Schemas that the server says were written to; null where it does not say. */
  readonly updatedSchemas: readonly string[] | null;
  readonly ansiQuotes: boolean;
  readonly noBackslashEscapes: boolean;
  /** The number of the client's character set; null where the event does not say. */
  readonly charset: number | null;
};

export function readQuery({ bytes, start, end, type }: BinlogEvent): QueryEvent {
  const schemaLength = bytes.readUInt8(start + 8);
  const statusLength = bytes.readUInt16LE(start + 11);
  // An EXECUTE_LOAD_QUERY says more about its file before the status variables: 4 x 3 bytes and one.
  const status = start + 13 + (type === EVENT.executeLoadQuery ? 13 : 0);
  const schemaAt = status + statusLength;
  const textAt = schemaAt + schemaLength + 1;
  return {
    session: bytes.readUInt32LE(start),
    schema: bytes.toString("utf8", schemaAt, schemaAt + schemaLength),
    text: bytes.toString("utf8", textAt, end),
    ...readStatus(bytes, status, schemaAt),
  };
}

function readStatus(bytes: Buffer, start: number, end: number) {
  let updatedSchemas: string[] | null = null;
  let sqlMode = 0n;
  let charset: number | null = null;
  const sizes: Record<number, number> = {
    0: 4,
    3: 4,
    7: 2,
    8: 2,
    9: 8,
    10: 4,
    13: 3,
    16: 1,
    17: 8,
    18: 2,
    19: 1,
    20: 1,
  };
  for (let at = start; at < end; ) {
    const code = bytes[at++] ?? 255;
    const size = sizes[code];
    if (size !== undefined) at += size;
    else if (code === 1) {
      sqlMode = bytes.readBigUInt64LE(at);
      at += 8;
    } else if (code === 4) {
      charset = bytes.readUInt16LE(at);
      at += 6;
    } else if (code === 2) at += 2 + (bytes[at] ?? 0);
    else if (code === 5 || code === 6) at += 1 + (bytes[at] ?? 0);
    else if (code === 11) {
      at += 1 + (bytes[at] ?? 0);
      at += 1 + (bytes[at] ?? 0);
    } else if (code === 12) {
      const count = bytes[at++] ?? 254;
      if (count === 254) continue; // more than the event can hold: unknown
      updatedSchemas = [];
      for (let i = 0; i < count; i++) {
        const stop = bytes.indexOf(0, at);
        updatedSchemas.push(bytes.toString("utf8", at, stop));
        at = stop + 1;
      }
    } else break; // unknown: what follows cannot be read, what was read stands
  }
  return {
    updatedSchemas,
    charset,
    ansiQuotes: (sqlMode & 4n) !== 0n,
    noBackslashEscapes: (sqlMode & (1n << 20n)) !== 0n,
  };
}

/** XA_PREPARE: whether it is the single phase of `XA COMMIT … ONE PHASE`, which commits at once. */
export function isOnePhase({ bytes, start }: BinlogEvent): boolean {
  return bytes[start] === 1;
}
