import type { MysqlSession, RawRow, TextRow } from "../client.ts";
import type { ControlSession, Parameter } from "../control-session.ts";

export type Side = "source" | "target";
export const SIDES: readonly Side[] = ["source", "target"];

/** One server as the checks see it: every failure names it, so that "could not be run" says where. */
export interface ServerView {
  readonly side: Side;
  /** `source db1:3306`, as findings name it: by the move's own source and target, whichever way is checked. */
  readonly label: string;
  /** The loopback: nobody reads along. */
  readonly isLocal: boolean;
  rows(sql: string, parameters?: readonly Parameter[]): Promise<readonly TextRow[]>;
  /** Each value the server's own bytes; values stand in the text as literals. */
  raw(sql: string): Promise<readonly RawRow[]>;
  /** For code that reads with a session of its own kind. */
  withSession<T>(work: (session: MysqlSession, signal: AbortSignal) => Promise<T>): Promise<T>;
  /** A global variable's value; null where this version has none of that name. */
  variable(name: string): Promise<string | null>;
}

export class SessionView implements ServerView {
  readonly side: Side;
  readonly label: string;
  readonly isLocal: boolean;
  readonly #session: ControlSession;
  readonly signal: AbortSignal;
  #variables: Promise<ReadonlyMap<string, string>> | null = null;

  constructor(options: {
    readonly side: Side;
    readonly named: Side;
    readonly address: { readonly host: string; readonly port: number };
    readonly session: ControlSession;
    readonly signal: AbortSignal;
  }) {
    this.side = options.side;
    this.label = `${options.named} ${options.address.host}:${options.address.port}`;
    this.isLocal = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(options.address.host);
    this.#session = options.session;
    this.signal = options.signal;
  }

  rows(sql: string, parameters: readonly Parameter[] = []): Promise<readonly TextRow[]> {
    return this.#named(() => this.#session.rows(sql, parameters, this.signal));
  }

  raw(sql: string): Promise<readonly RawRow[]> {
    return this.#named(() => this.#session.use((session) => session.raw(sql), this.signal));
  }

  withSession<T>(work: (session: MysqlSession, signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#named(() => this.#session.withSession(work, this.signal));
  }

  async variable(name: string): Promise<string | null> {
    this.#variables ??= this.rows("SHOW GLOBAL VARIABLES").then(
      (rows) => new Map(rows.map((row) => [row["Variable_name"] ?? "", row["Value"] ?? ""])),
    );
    return (await this.#variables).get(name) ?? null;
  }

  async #named<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.signal.aborted) throw error;
      throw Object.assign(new Error(error instanceof Error ? error.message : String(error), { cause: error }), {
        server: this.label,
      });
    }
  }
}
