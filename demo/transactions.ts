import type { Connection } from "mysql2/promise";
import type { Holdings } from "./holdings.ts";
import type { Values, Write } from "./ledger.ts";
import type { Random } from "./random.ts";
import type { Cell, TableName } from "./schema.ts";
import * as values from "./values.ts";

/** What ran is undone by the caller: the row that should have been there was not. */
export class RowMissing extends Error {}

/**
 * One business transaction: its statements, and what becomes of the rows it holds. `run` may be called again after a
 * rollback; exactly one of `committed` and `abandoned` is called at the end, neither where the outcome is unknown.
 */
export interface Transaction {
  run(session: Session): Promise<void>;
  committed(): void;
  abandoned(): void;
}

/** Runs statements and writes down each with its values. */
export class Session {
  readonly writes: Write[] = [];
  readonly #connection: Connection;
  readonly #tenant: string;
  constructor(options: { readonly connection: Connection; readonly tenant: string }) {
    this.#connection = options.connection;
    this.#tenant = options.tenant;
  }

  async insert(table: TableName, row: Values): Promise<string> {
    const full: Record<string, Cell> = { tenant_id: this.#tenant, ...row, rev: "1" };
    const names = Object.keys(full);
    const sql = `INSERT INTO ${table} (${names.map(quoted).join(", ")}) VALUES (${names.map(() => "?").join(", ")})`;
    const [result] = await this.#connection.execute(sql, Object.values(full));
    const id = String((result as { insertId: number }).insertId);
    this.writes.push({ op: "insert", table, id, values: { id, ...full } });
    return id;
  }

  async update(table: TableName, id: string, set: Values): Promise<void> {
    const assignments = Object.keys(set).map((name) => `${quoted(name)} = ?`);
    const sql = `UPDATE ${table} SET ${assignments.join(", ")}, rev = rev + 1 WHERE id = ? AND tenant_id = ?`;
    const [result] = await this.#connection.execute(sql, [...Object.values(set), id, this.#tenant]);
    this.#one(result, table, id);
    this.writes.push({ op: "update", table, id, values: set });
  }

  async delete(table: TableName, id: string): Promise<void> {
    const sql = `DELETE FROM ${table} WHERE id = ? AND tenant_id = ?`;
    const [result] = await this.#connection.execute(sql, [id, this.#tenant]);
    this.#one(result, table, id);
    this.writes.push({ op: "delete", table, id });
  }

  #one(result: unknown, table: TableName, id: string): void {
    const { affectedRows } = result as { affectedRows: number };
    if (affectedRows !== 1) throw new RowMissing(`${table} ${id} of ${this.#tenant}: ${affectedRows} rows`);
  }
}

const quoted = (name: string): string => `\`${name}\``;

/** The mix: 30% orders placed, 30% paid, 20% profiles changed, 10% orders cancelled, 6% sign-ups, 4% an email reused. */
export function nextTransaction(holdings: Holdings, random: Random, nowMs: number): Transaction {
  const dice = random.integer(100);
  const made =
    dice < 30
      ? placeOrder(holdings, random, nowMs)
      : dice < 60
        ? payInvoice(holdings, random, nowMs)
        : dice < 80
          ? changeProfile(holdings, random, nowMs)
          : dice < 90
            ? cancelOrder(holdings, random)
            : dice < 96
              ? signUp(holdings, random, nowMs)
              : reuseEmail(holdings, random, nowMs);
  return made ?? signUp(holdings, random, nowMs);
}

const micros = (nowMs: number, random: Random): string =>
  `${values.timeText(nowMs)}.${String(random.integer(1_000_000)).padStart(6, "0")}`;

function placeOrder(holdings: Holdings, random: Random, nowMs: number): Transaction | undefined {
  const user = holdings.takeUser(random);
  if (user === undefined) return undefined;
  let pair = { order: "", invoice: "" };
  return {
    async run(session) {
      const order = await session.insert("orders", {
        user_id: user,
        status: "new",
        total: values.money(random),
        items: String(1 + random.integer(20)),
        note: values.note(random),
        placed_at: micros(nowMs, random),
        changed_at: null,
      });
      const invoice = await session.insert("invoices", {
        order_id: order,
        number: `INV-${order}`,
        state: "open",
        amount: values.money(random),
        lines: values.invoiceLines(random),
        issued_on: values.timeText(nowMs).slice(0, 10),
        paid_at: null,
      });
      await session.update("users", user, { balance: values.money(random), seen_at: values.timeText(nowMs) });
      pair = { order, invoice };
    },
    committed() {
      holdings.giveUser(user);
      holdings.givePair(pair);
    },
    abandoned: () => holdings.giveUser(user),
  };
}

function payInvoice(holdings: Holdings, random: Random, nowMs: number): Transaction | undefined {
  const pair = holdings.takePair(random);
  if (pair === undefined) return undefined;
  return {
    async run(session) {
      await session.update("invoices", pair.invoice, { state: "paid", paid_at: micros(nowMs, random) });
      await session.update("orders", pair.order, {
        status: random.pick(["paid", "shipped"]),
        note: values.note(random),
        changed_at: values.timeText(nowMs),
      });
    },
    committed: () => holdings.givePair(pair),
    abandoned: () => holdings.givePair(pair),
  };
}

function changeProfile(holdings: Holdings, random: Random, nowMs: number): Transaction | undefined {
  const user = holdings.takeUser(random);
  if (user === undefined) return undefined;
  return {
    async run(session) {
      await session.update("users", user, {
        name: values.userName(random),
        plan: values.plan(random),
        logins: String(random.integer(9000)),
        settings: values.settings(random),
        seen_at: values.timeText(nowMs),
      });
    },
    committed: () => holdings.giveUser(user),
    abandoned: () => holdings.giveUser(user),
  };
}

function cancelOrder(holdings: Holdings, random: Random): Transaction | undefined {
  const pair = holdings.takePair(random);
  if (pair === undefined) return undefined;
  return {
    async run(session) {
      await session.delete("invoices", pair.invoice);
      await session.delete("orders", pair.order);
    },
    committed: () => {},
    abandoned: () => holdings.givePair(pair),
  };
}

function newUser(random: Random, email: string, nowMs: number): Values {
  return {
    email,
    name: values.userName(random),
    plan: values.plan(random),
    balance: values.money(random),
    logins: "0",
    settings: values.settings(random),
    created_at: micros(nowMs, random),
    seen_at: null,
  };
}

let signUps = 0;
function signUp(holdings: Holdings, random: Random, nowMs: number): Transaction {
  const email = `new${++signUps}@${holdings.tenant}.example`;
  let id = "";
  return {
    async run(session) {
      id = await session.insert("users", newUser(random, email, nowMs));
    },
    committed: () => holdings.giveLoose({ id, email }),
    abandoned: () => {},
  };
}

/** A unique value changes hands inside one transaction. */
function reuseEmail(holdings: Holdings, random: Random, nowMs: number): Transaction | undefined {
  const old = holdings.takeLoose(random);
  if (old === undefined) return undefined;
  let id = "";
  return {
    async run(session) {
      await session.delete("users", old.id);
      id = await session.insert("users", newUser(random, old.email, nowMs));
    },
    committed: () => holdings.giveLoose({ id, email: old.email }),
    abandoned: () => holdings.giveLoose(old),
  };
}
