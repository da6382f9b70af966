import { connect, type Socket } from "node:net";
import type { SessionPackets } from "./session-packets.ts";

const READ_BYTES = 128 * 1024;

/**
 * A session's TCP connection, which reads into one buffer again and again: a new one of 64 KiB for every read is most of
 * what the collector has to do in a copy. Until packets are installed, and outside a result's rows, copies are handed on.
 */
export class SessionSocket {
  readonly socket: Socket;
  #packets: SessionPackets | null = null;

  constructor({ host, port }: { readonly host: string; readonly port: number }) {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const callback = (count: number): boolean => {
      this.#read(buffer.subarray(0, count));
      return true;
    };
    this.socket = connect({ host, port, onread: { buffer, callback } });
    this.socket.setNoDelay(true);
    this.socket.on("connect", () => this.socket.setKeepAlive(true));
  }

  installed(packets: SessionPackets): void {
    this.#packets = packets;
  }

  #read(bytes: Buffer): void {
    if (this.#packets?.isReadingRows) this.#packets.take(bytes, { isShared: true });
    else this.socket.emit("data", Buffer.from(bytes));
  }
}
