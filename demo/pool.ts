import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "./mysql.ts";

/** Sessions of one server, with autocommit off: the first statement begins a transaction. Grows with demand. */
export class Pool {
  readonly #address: ServerAddress;
  readonly #idle: Connection[] = [];
  constructor(options: { readonly address: ServerAddress }) {
    this.#address = options.address;
  }
  async take(): Promise<Connection> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const made = await connect(this.#address);
    // A lost connection shows at the next statement; without a listener it would end the process.
    made.on("error", () => {});
    await made.query("SET autocommit = 0");
    return made;
  }
  /** Only a session whose transaction has ended. */
  give(connection: Connection): void {
    this.#idle.push(connection);
  }
  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((connection) => connection.end().catch(() => connection.destroy())));
  }
}
