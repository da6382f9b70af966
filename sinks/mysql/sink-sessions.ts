import {
  type ConnectOptions,
  connectMysql,
  type MysqlAddress,
  type MysqlSession,
} from "../../connectors/mysql/client.ts";
import type { Clock } from "../../pipeline/clock.ts";

/** Well within the 30 s after which the server ends an idle session of a sink (A7). */
const KEEP_ALIVE_MS = 10_000;

type Slot = { session: MysqlSession | null; usedAtMs: number };

export type SinkSessionsOptions = {
  readonly address: MysqlAddress;
  readonly size: number;
  readonly attributes: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Before a new session is used: the next applier must find it to end it (A7). */
  readonly onConnected: (session: MysqlSession, signal: AbortSignal) => Promise<void>;
};

/** A fixed number of sessions, each lent to one transaction at a time; a lost one is replaced when it is next needed. */
export class SinkSessions {
  readonly #options: SinkSessionsOptions;
  readonly #idle: Slot[];
  readonly #waiting: ((slot: Slot) => void)[] = [];
  readonly #closing = new AbortController();
  readonly #keepingAlive: Promise<void>;

  constructor(options: SinkSessionsOptions) {
    this.#options = options;
    this.#idle = Array.from({ length: options.size }, () => ({ session: null, usedAtMs: 0 }));
    this.#keepingAlive = this.#keepAlive();
  }

  /** The session must have no open transaction when `work` has ended, or be destroyed. */
  async use<T>(work: (session: MysqlSession) => Promise<T>, signal: AbortSignal): Promise<T> {
    const slot = await this.#take(signal);
    try {
      return await work(await this.#connected(slot, signal));
    } finally {
      this.#giveBack(slot);
    }
  }

  /** Connects all of them now, so that the first change does not wait for it. */
  async connectAll(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#idle.map((slot) => this.#connected(slot, signal)));
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#keepingAlive;
    const slots: Slot[] = [];
    while (slots.length < this.#options.size) slots.push(await this.#take(new AbortController().signal));
    await Promise.all(slots.map((slot) => slot.session?.close()));
  }

  async #connected(slot: Slot, signal: AbortSignal): Promise<MysqlSession> {
    if (slot.session && !slot.session.isLost) return slot.session;
    slot.session = null;
    const { address, attributes, onConnected } = this.#options;
    const options: ConnectOptions = { side: "sink", attributes, signal };
    const session = await connectMysql(address, options);
    try {
      await onConnected(session, signal);
    } catch (error) {
      session.destroy();
      throw error;
    }
    slot.session = session;
    return session;
  }

  #take(signal: AbortSignal): Promise<Slot> {
    signal.throwIfAborted();
    const idle = this.#idle.pop();
    if (idle) return Promise.resolve(idle);
    return new Promise((resolve, reject) => {
      const take = (slot: Slot) => {
        signal.removeEventListener("abort", onAbort);
        resolve(slot);
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1);
        reject(signal.reason);
      };
      this.#waiting.push(take);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #giveBack(slot: Slot): void {
    slot.usedAtMs = this.#options.clock.monotonicMs();
    const next = this.#waiting.shift();
    if (next) return next(slot);
    // The one used last comes first: its statements are prepared.
    this.#idle.push(slot);
  }

  async #keepAlive(): Promise<void> {
    const { clock } = this.#options;
    const signal = this.#closing.signal;
    while (!signal.aborted) {
      await clock.sleep(KEEP_ALIVE_MS, signal).catch(() => {});
      const now = clock.monotonicMs();
      const stale = this.#idle.filter((slot) => slot.session !== null && now - slot.usedAtMs >= KEEP_ALIVE_MS);
      for (const slot of stale) {
        const at = this.#idle.indexOf(slot);
        if (at === -1 || signal.aborted) continue;
        this.#idle.splice(at, 1);
        // A lost session is noticed here and replaced by whoever needs it.
        await slot.session?.run("DO 0").catch(() => {});
        this.#giveBack(slot);
      }
    }
  }
}
