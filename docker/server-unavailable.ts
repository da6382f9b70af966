/** A server that cannot be had here. The message is one line: what is missing, and the ways to provide it. */
export class ServerUnavailable extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ServerUnavailable";
  }
}
