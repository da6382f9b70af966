/** What of mysql2's connection is used here: its own packet splitter is replaced, its commands stay in charge. */
export type PacketLink = {
  packetParser: { execute(bytes: Buffer): void; readonly _reusablePacket?: { readonly constructor: PacketClass } };
  /** Of the packet that comes next. */
  sequenceId: number;
  handlePacket(packet: object): void;
};
type PacketClass = new (sequenceId: number, buffer: Buffer, start: number, end: number) => { numPackets: number };

/** A row's payload lies in `bytes` from `start` to `end`, good during the call only. */
export type OnRowPacket = (bytes: Buffer, start: number, end: number) => void;

const HEADER_BYTES = 4;
/** A payload of this length goes on in the next packet. */
const LONGEST_PAYLOAD_BYTES = 0xff_ff_ff;
const ERROR = 0xff;
const EOF = 0xfe;
/** An EOF packet is shorter; a row that begins with this byte is longer. */
const EOF_BELOW_BYTES = 9;
const CARRY_BYTES = 16 * 1024;
const LARGEST_KEPT_CARRY_BYTES = 1024 * 1024;

/**
 * Splits a session's bytes into packets in the place of mysql2's splitter, whose slices would live in a buffer that the
 * next read overwrites, and which makes an object of every packet that two reads share. A result's rows go straight to
 * whoever reads them; all other packets go to mysql2's commands, as copies where the bytes are not theirs to keep.
 */
export class SessionPackets {
  readonly #link: PacketLink;
  readonly #Packet: PacketClass;
  /** A packet of which a part has come. */
  #carry = Buffer.allocUnsafeSlow(CARRY_BYTES);
  #carriedBytes = 0;
  /** Payloads of a packet that goes on in the next. */
  #parts: Buffer[] = [];
  #onRow: OnRowPacket | null = null;
  /** Rows begin behind the next packet, which ends the columns' definitions. */
  #onRowBehindNext: OnRowPacket | null = null;

  /** `link` is at rest: connected, and no statement under way. */
  static install(link: PacketLink): SessionPackets {
    const Packet = link.packetParser._reusablePacket?.constructor;
    if (Packet === undefined) throw new Error("this version of mysql2 splits its packets in another way");
    const packets = new SessionPackets(link, Packet);
    link.packetParser = { execute: (bytes) => packets.take(bytes, { isShared: false }) };
    return packets;
  }

  private constructor(link: PacketLink, Packet: PacketClass) {
    this.#link = link;
    this.#Packet = Packet;
  }

  /** A packet of mysql2's kind around `bytes`, which begin with room for its header. */
  readonly toPacket = (bytes: Buffer): object => new this.#Packet(0, bytes, 0, bytes.length);

  /** The rows behind the column definitions that have just ended go to `onRow`, up to the result's end or error. */
  readRows(onRow: OnRowPacket): void {
    this.#onRowBehindNext = onRow;
  }

  get isReadingRows(): boolean {
    return this.#onRow !== null;
  }

  /** `isShared`: the bytes are overwritten by the next read. */
  take(bytes: Buffer, { isShared }: { readonly isShared: boolean }): void {
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      if (this.#carriedBytes > 0) {
        at = this.#carryOn(bytes, at);
        continue;
      }
      const behind = end - at < HEADER_BYTES ? Number.POSITIVE_INFINITY : at + HEADER_BYTES + payloadLength(bytes, at);
      if (behind > end) {
        this.#keep(bytes, at, end);
        return;
      }
      this.#packet(bytes, at, behind, isShared);
      at = behind;
    }
  }

  /** Fills up the packet that is carried, header first; where it is whole, it is handed on. */
  #carryOn(bytes: Buffer, start: number): number {
    const at = this.#keepUpTo(HEADER_BYTES, bytes, start);
    if (this.#carriedBytes < HEADER_BYTES) return at;
    const whole = HEADER_BYTES + payloadLength(this.#carry, 0);
    const next = this.#keepUpTo(whole, bytes, at);
    if (this.#carriedBytes === whole) {
      const { length } = this.#carry;
      this.#carriedBytes = 0;
      this.#packet(this.#carry, 0, whole, true);
      // A single huge row does not make every session large.
      if (length > LARGEST_KEPT_CARRY_BYTES) this.#carry = Buffer.allocUnsafeSlow(CARRY_BYTES);
    }
    return next;
  }

  #keepUpTo(wantedBytes: number, bytes: Buffer, start: number): number {
    const end = Math.min(bytes.length, start + Math.max(0, wantedBytes - this.#carriedBytes));
    this.#keep(bytes, start, end);
    return end;
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    const needed = this.#carriedBytes + end - start;
    if (needed > this.#carry.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#carry.length * 2));
      this.#carry.copy(larger, 0, 0, this.#carriedBytes);
      this.#carry = larger;
    }
    bytes.copy(this.#carry, this.#carriedBytes, start, end);
    this.#carriedBytes = needed;
  }

  #packet(bytes: Buffer, start: number, end: number, isShared: boolean): void {
    const payload = end - start - HEADER_BYTES;
    const sequence = bytes[start + 3] as number;
    if (payload === LONGEST_PAYLOAD_BYTES || this.#parts.length > 0) {
      this.#parts.push(Buffer.from(bytes.subarray(start + HEADER_BYTES, end)));
      if (payload === LONGEST_PAYLOAD_BYTES) return;
      const parts = this.#parts;
      this.#parts = [];
      const whole = Buffer.concat([Buffer.alloc(HEADER_BYTES), ...parts]);
      // The first one's number is the packet's.
      const first = (sequence - parts.length + 1) & 0xff;
      this.#whole({
        bytes: whole,
        start: 0,
        end: whole.length,
        packets: parts.length,
        sequence: first,
        isShared: false,
      });
      return;
    }
    this.#whole({ bytes, start, end, packets: 1, sequence, isShared });
  }

  #whole(packet: Whole): void {
    const { bytes, start, end, sequence } = packet;
    const first = bytes[start + HEADER_BYTES];
    if (this.#onRow !== null) {
      const ends = first === ERROR || (first === EOF && end - start - HEADER_BYTES < EOF_BELOW_BYTES);
      if (!ends) return this.#onRow(bytes, start + HEADER_BYTES, end);
      this.#onRow = null;
      this.#link.sequenceId = sequence;
    }
    // A server that ends a session of its own accord begins to count anew.
    if (first === ERROR) this.#link.sequenceId = sequence;
    const onRow = this.#onRowBehindNext;
    this.#onRowBehindNext = null;
    this.#link.handlePacket(this.#toPacket(packet));
    // What ends the columns is an EOF; where anything else came, there are no rows.
    this.#onRow = first === EOF ? onRow : null;
  }

  #toPacket({ bytes, start, end, packets, sequence, isShared }: Whole): object {
    const packet = isShared
      ? new this.#Packet(sequence, Buffer.from(bytes.subarray(start, end)), 0, end - start)
      : new this.#Packet(sequence, bytes, start, end);
    packet.numPackets = packets;
    return packet;
  }
}

type Whole = {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly packets: number;
  readonly sequence: number;
  readonly isShared: boolean;
};

function payloadLength(bytes: Buffer, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
}
