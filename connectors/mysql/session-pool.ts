import { DrayError } from "../../pipeline/errors.ts";
import { connectMysql, type MysqlAddress, type MysqlSession } from "./client.ts";

/**
 * A few sessions on one server, opened when first needed and again after a loss. Who asks first is served first. Where
 * the address leads to another server than the one that is read, `use` throws MYSQL_TRANSIENT (M1, M2).
 */
export class SessionPool {
  readonly #address: MysqlAddress;
  readonly #attributes: Readonly<Record<string, string>>;
  readonly #size: number;
  readonly #readServerUuid: () => string | null;
  readonly #idle: MysqlSession[] = [];
  readonly #waiting: (() => void)[] = [];
  #used = 0;
  #closed = false;

  constructor(options: {
    readonly address: MysqlAddress;
    readonly size: number;
    readonly attributes: Readonly<Record<string, string>>;
    /** Of the server whose binlog is read now; null while nobody knows. */
    readonly readServerUuid: () => string | null;
  }) {
    this.#address = options.address;
    this.#size = options.size;
    this.#attributes = options.attributes;
    this.#readServerUuid = options.readServerUuid;
  }

  /** One session for the time of `work`; a lost one is not given out again. */
  async use<T>(work: (session: MysqlSession) => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#slot(signal);
    let session: MysqlSession | undefined;
    try {
      session = this.#takeIdle() ?? (await this.#open(signal));
      return await work(session);
    } finally {
      this.#used--;
      if (session && !session.isLost) {
        if (this.#closed) await session.close();
        else this.#idle.push(session);
      }
      this.#waiting.shift()?.();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#idle.splice(0).map((session) => session.close()));
  }

  #takeIdle(): MysqlSession | undefined {
    for (;;) {
      const session = this.#idle.pop();
      if (session === undefined) return undefined;
      if (session.isLost) continue;
      if (this.#isElsewhere(session)) session.destroy();
      else return session;
    }
  }

  async #open(signal: AbortSignal): Promise<MysqlSession> {
    if (this.#closed) throw new Error("the pool is closed");
    const session = await connectMysql(this.#address, { side: "source", attributes: this.#attributes, signal });
    if (!this.#isElsewhere(session)) return session;
    session.destroy();
    const facts = { server: session.server, reads: this.#readServerUuid(), leadsTo: session.serverUuid };
    throw new DrayError("MYSQL_TRANSIENT", { ...facts, message: "the address leads to another server" });
  }

  /** Behind a moving address: what is said to it, or read there, has nothing to do with the stream. */
  #isElsewhere(session: MysqlSession): boolean {
    const read = this.#readServerUuid();
    return read !== null && read !== session.serverUuid;
  }

  async #slot(signal: AbortSignal): Promise<void> {
    while (this.#used >= this.#size) {
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        const wake = () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        };
        const onAbort = () => {
          const place = this.#waiting.indexOf(wake);
          if (place >= 0) this.#waiting.splice(place, 1);
          reject(signal.reason);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        this.#waiting.push(wake);
      });
    }
    this.#used++;
  }
}
