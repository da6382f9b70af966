import { EventEmitter } from "node:events";

/** What of mysql2's connection is used here. */
export type LoadLink = { sequenceId: number; write(bytes: Buffer): void };

/** A packet below the protocol's largest. */
const SLICE_BYTES = 4 * 1024 * 1024;

/**
 * The file that a LOAD DATA LOCAL asks mysql2 for. mysql2 would copy each piece behind a header of its own; this one
 * writes the body's own bytes to the connection, which hands them to the kernel as they lie, and then says that it has
 * ended. The body must not change until the statement has.
 */
export class LoadStream extends EventEmitter {
  constructor({ link, body }: { readonly link: LoadLink; readonly body: Buffer }) {
    super();
    // Behind mysql2's own turn, in which it asks for the stream and then listens to it.
    process.nextTick(() => {
      for (let at = 0; at < body.length; at += SLICE_BYTES) {
        const slice = body.subarray(at, at + SLICE_BYTES);
        const header = Buffer.allocUnsafe(4);
        header.writeUIntLE(slice.length, 0, 3);
        header[3] = link.sequenceId;
        link.sequenceId = (link.sequenceId + 1) & 0xff;
        link.write(header);
        link.write(slice);
      }
      this.emit("end");
    });
  }

  /** mysql2 asks for these where the connection is full: the body is in memory already and waits there. */
  pause(): this {
    return this;
  }
  resume(): this {
    return this;
  }
}
