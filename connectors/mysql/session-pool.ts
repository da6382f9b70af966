import { connectMysql, type MysqlAddress, type MysqlSession } from "./client.ts";

/** A few sessions on one server, opened when first needed and again after a loss. Who asks first is served first. */
export class SessionPool {
  readonly #address: MysqlAddress;
  readonly #attributes: Readonly<Record<string, string>>;
  readonly #size: number;
  readonly #idle: MysqlSession[] = [];
  readonly #waiting: (() => void)[] = [];
  #used = 0;
  #closed = false;

  constructor(options: {
    readonly address: MysqlAddress;
    readonly size: number;
    readonly attributes: Readonly<Record<string, string>>;
  }) {
    this.#address = options.address;
    this.#size = options.size;
    this.#attributes = options.attributes;
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
      if (session === undefined || !session.isLost) return session;
    }
  }

  #open(signal: AbortSignal): Promise<MysqlSession> {
    if (this.#closed) throw new Error("the pool is closed");
    return connectMysql(this.#address, { side: "source", attributes: this.#attributes, signal });
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
