import { zstdDecompressSync } from "node:zlib";
import { type BinlogEvent, EVENT } from "./binlog-events.ts";
import { readLength } from "./table-map.ts";

const END = 0;
const SIZE = 1;
const COMPRESSION = 2;
const PLAIN_SIZE = 3;
const ZSTD = 0;
const NONE = 255;

/** What one transaction may take in memory when opened; a server's own limit for the packet is 1 GiB. */
const LARGEST_BYTES = 1024 * 1024 * 1024;

/**
 * The events inside a TRANSACTION_PAYLOAD, in order: any session may compress its transactions by itself. They carry no
 * checksums. Throws where the payload cannot be opened exactly (M8).
 */
export function* openPayload(event: BinlogEvent): Generator<BinlogEvent> {
  const { bytes, end } = event;
  let at = event.start;
  let compression = -1;
  let plainSize = -1;
  let size = -1;
  for (;;) {
    const field = readLength(bytes, at);
    at = field.next;
    if (field.value === END) break;
    const length = readLength(bytes, at);
    const value = readLength(bytes, length.next);
    if (field.value === SIZE) size = value.value;
    else if (field.value === COMPRESSION) compression = value.value;
    else if (field.value === PLAIN_SIZE) plainSize = value.value;
    at = length.next + length.value;
    if (at > end) throw new RangeError("a TRANSACTION_PAYLOAD ends inside its header");
  }
  if (size >= 0 && at + size > end) throw new RangeError(`a TRANSACTION_PAYLOAD of ${size} bytes ends too early`);
  const packed = bytes.subarray(at, size >= 0 ? at + size : end);
  if (compression !== ZSTD && compression !== NONE) {
    throw new RangeError(`a TRANSACTION_PAYLOAD of unknown compression ${compression}`);
  }
  const plain = compression === NONE ? packed : zstdDecompressSync(packed, { maxOutputLength: LARGEST_BYTES });
  if (plainSize >= 0 && plain.length !== plainSize) {
    throw new RangeError(`a TRANSACTION_PAYLOAD of ${plainSize} bytes opened to ${plain.length}`);
  }
  for (let place = 0; place < plain.length; ) {
    const inner = readEvent(plain, place, plain.length, 0);
    if (inner.type === EVENT.transactionPayload) throw new RangeError("a TRANSACTION_PAYLOAD inside another");
    yield inner;
    place = inner.end;
  }
}

const HEADER_BYTES = 19;

/** The event that begins at `at`; `checksumBytes` at its end are not part of its body. */
export function readEvent(bytes: Buffer, at: number, end: number, checksumBytes: number): BinlogEvent {
  const length = at + HEADER_BYTES <= end ? bytes.readUInt32LE(at + 9) : 0;
  if (length < HEADER_BYTES + checksumBytes || at + length > end) {
    throw new RangeError(`an event of ${length} bytes in a packet of ${end - at}`);
  }
  return {
    type: bytes[at + 4] ?? 0,
    flags: bytes.readUInt16LE(at + 17),
    timestampSeconds: bytes.readUInt32LE(at),
    bytes,
    start: at + HEADER_BYTES,
    end: at + length - checksumBytes,
  };
}
