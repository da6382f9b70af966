import { DrayError } from "../../pipeline/errors.ts";
import {
  classifyMysqlError,
  connectMysql,
  type MysqlAddress,
  type MysqlSession,
  type RawRow,
  type TextRow,
} from "./client.ts";

export type Parameter = Uint8Array | string | number | bigint | null;

/**
 * One session for control's rare statements: opened when first needed, again after a loss, one user at a time. A
 * statement whose signal fires is of unknown outcome, and its connection is gone.
 */
export class ControlSession {
  readonly #address: MysqlAddress;
  readonly #attributes: Readonly<Record<string, string>>;
  #session: MysqlSession | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: { readonly address: MysqlAddress; readonly role: string }) {
    this.#address = options.address;
    this.#attributes = { dray_role: options.role };
  }

  async use<T>(work: (sql: ControlSql) => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.withSession((session) => work(new ControlSql(session, signal)), signal);
  }

  async withSession<T>(
    work: (session: MysqlSession, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const turn = this.#queue.then(() => this.#run(work, signal));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async rows(sql: string, parameters: readonly Parameter[], signal: AbortSignal): Promise<readonly TextRow[]> {
    return this.use((session) => session.rows(sql, parameters), signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue;
    await this.#session?.close();
    this.#session = null;
  }

  async #run<T>(work: (session: MysqlSession, signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.#closed) throw new DrayError("CONTROL_CLOSED", { server: `${this.#address.host}:${this.#address.port}` });
    if (this.#session === null || this.#session.isLost) {
      this.#session = await connectMysql(this.#address, { side: "source", attributes: this.#attributes, signal });
    }
    const session = this.#session;
    try {
      return await work(session, signal);
    } catch (error) {
      // The server may have hung up between two statements; whoever comes next gets a new session.
      if (classifyMysqlError(error).connectionLost) session.destroy();
      throw error;
    }
  }
}

/** The session while it is one user's. */
export class ControlSql {
  readonly #session: MysqlSession;
  readonly #signal: AbortSignal;

  constructor(session: MysqlSession, signal: AbortSignal) {
    this.#session = session;
    this.#signal = signal;
  }

  async rows(sql: string, parameters: readonly Parameter[] = []): Promise<readonly TextRow[]> {
    return parameters.length === 0
      ? this.#session.query(sql, this.#signal)
      : this.#session.executeQuery(sql, parameters, this.#signal);
  }

  /** Each value the server's own bytes. */
  async raw(sql: string): Promise<readonly RawRow[]> {
    return this.#session.queryRaw(sql, this.#signal);
  }

  async change(sql: string, parameters: readonly Parameter[] = []): Promise<number> {
    const result =
      parameters.length === 0
        ? await this.#session.run(sql, this.#signal)
        : await this.#session.execute(sql, parameters, this.#signal);
    return result.affectedRows;
  }

  get connectionId(): number {
    return this.#session.connectionId;
  }
}
