import type { PacketLink } from "./session-packets.ts";

/** What of mysql2's connection is used here. */
export type WriteLink = PacketLink & {
  readonly config: { readonly clientFlags: number };
  readonly serverCapabilityFlags: number;
  readonly clientEncoding: string;
  prepare(options: { readonly sql: string }, done: (error: Error | null, statement?: { id: number }) => void): unknown;
  addCommand(command: WriteCommand): unknown;
  writePacket(packet: object): void;
};

type Answer = {
  isError(): boolean;
  asError(encoding: string): Error;
  readInt8(): number;
  readLengthCodedNumber(): number;
};

export type MakePacket = (bytes: Buffer) => object;
export type WriteParameters = readonly (Uint8Array | null)[];

const HEADER_BYTES = 4;
const STMT_EXECUTE = 0x17;
const PARAMETER_COUNT_AVAILABLE = 0x08;
const CLIENT_QUERY_ATTRIBUTES = 1 << 27;
/** The server takes it as bytes, whatever the connection's character set (A6). */
const TYPE_BLOB = 0xfc;
const TYPE_NULL = 0x06;
/** Under this a loop over the bytes is faster than a call. */
const LOOP_COPY_BELOW_BYTES = 24;

/**
 * Prepares the statement, or takes mysql2's prepared one, and runs it. Resolves with the number of affected rows.
 * Parameters are bytes and NULLs only, which go into the packet in one pass: mysql2 makes an object of each, and that is
 * most of the process's CPU where a backlog is applied.
 */
export function runPreparedWrite(
  link: WriteLink,
  toPacket: MakePacket,
  sql: string,
  parameters: WriteParameters,
): Promise<number> {
  return new Promise((resolve, reject) => {
    link.prepare({ sql }, (error, statement) => {
      if (error || statement === undefined) return reject(error ?? new Error("nothing was prepared"));
      const withCount = (link.config.clientFlags & link.serverCapabilityFlags & CLIENT_QUERY_ATTRIBUTES) !== 0;
      const packet = toPacket(executePacket(statement.id, parameters, { withCount }));
      link.addCommand(new WriteCommand({ packet, resolve, reject }));
    });
  });
}

/** As mysql2's connection runs its own commands: called without a packet to begin, then with each that answers. */
class WriteCommand {
  readonly #packet: object;
  readonly #resolve: (affectedRows: number) => void;
  readonly #reject: (error: Error) => void;
  /** mysql2 calls it where the connection fails. */
  readonly onResult: (error: Error | null) => void;

  constructor(options: {
    readonly packet: object;
    readonly resolve: (affectedRows: number) => void;
    readonly reject: (error: Error) => void;
  }) {
    this.#packet = options.packet;
    this.#resolve = options.resolve;
    this.#reject = options.reject;
    this.onResult = (error) => {
      if (error !== null) this.#reject(error);
    };
  }

  /** True once it is done. */
  execute(answer: Answer | undefined, link: WriteLink): boolean {
    if (answer === undefined) {
      link.sequenceId = 0;
      link.writePacket(this.#packet);
      return false;
    }
    if (answer.isError()) {
      this.#reject(answer.asError(link.clientEncoding));
      return true;
    }
    answer.readInt8();
    this.#resolve(answer.readLengthCodedNumber());
    return true;
  }

  stateName(): string {
    return "write";
  }
}

/** COM_STMT_EXECUTE behind room for its header. `withCount`: the connection has query attributes. */
export function executePacket(
  statement: number,
  parameters: WriteParameters,
  { withCount }: { readonly withCount: boolean },
): Buffer {
  const count = parameters.length;
  const bitmapBytes = (count + 7) >> 3;
  const fixedBytes = HEADER_BYTES + 10 + (withCount ? lengthBytes(count) : 0);
  let sizeBytes = fixedBytes + (count > 0 ? bitmapBytes + 1 + count * (withCount ? 3 : 2) : 0);
  for (const value of parameters) if (value !== null) sizeBytes += lengthBytes(value.length) + value.length;

  const out = Buffer.allocUnsafe(sizeBytes);
  out[HEADER_BYTES] = STMT_EXECUTE;
  out.writeUInt32LE(statement, HEADER_BYTES + 1);
  out[HEADER_BYTES + 5] = withCount ? PARAMETER_COUNT_AVAILABLE : 0;
  out.writeUInt32LE(1, HEADER_BYTES + 6);
  let at = HEADER_BYTES + 10;
  if (withCount) at = putLength(out, at, count);
  if (count === 0) return out;
  const bitmap = at;
  out.fill(0, bitmap, bitmap + bitmapBytes);
  at += bitmapBytes;
  out[at++] = 1;
  for (let i = 0; i < count; i++) {
    const isNull = parameters[i] === null;
    if (isNull) out[bitmap + (i >> 3)] = (out[bitmap + (i >> 3)] as number) | (1 << (i & 7));
    out[at++] = isNull ? TYPE_NULL : TYPE_BLOB;
    out[at++] = 0;
    // A parameter has no name.
    if (withCount) out[at++] = 0;
  }
  for (const value of parameters) {
    if (value === null) continue;
    const { length } = value;
    at = putLength(out, at, length);
    if (length < LOOP_COPY_BELOW_BYTES) for (let i = 0; i < length; i++) out[at + i] = value[i] as number;
    else out.set(value, at);
    at += length;
  }
  return out;
}

function lengthBytes(value: number): number {
  return value < 251 ? 1 : value < 1 << 16 ? 3 : value < 1 << 24 ? 4 : 9;
}

function putLength(out: Buffer, at: number, value: number): number {
  if (value < 251) {
    out[at] = value;
    return at + 1;
  }
  if (value < 1 << 16) {
    out[at] = 252;
    return out.writeUInt16LE(value, at + 1);
  }
  if (value < 1 << 24) {
    out[at] = 253;
    return out.writeUIntLE(value, at + 1, 3);
  }
  out[at] = 254;
  return out.writeBigUInt64LE(BigInt(value), at + 1);
}
