import type { Connection } from "mysql2/promise";
import type { Random } from "./random.ts";
import type { TableName } from "./schema.ts";

export interface Pair {
  readonly order: string;
  readonly invoice: string;
}
/** A user without orders: may be deleted. */
export interface LooseUser {
  readonly id: string;
  readonly email: string;
}

/**
 * The rows of one tenant that the application may touch. What a transaction is at work on is taken out of here, so that
 * two writes of one row never overlap; it comes back when the outcome is known, and never where it is not.
 */
export class Holdings {
  readonly tenant: string;
  readonly #users: string[];
  readonly #pairs: Pair[];
  readonly #loose: LooseUser[] = [];

  private constructor(options: { tenant: string; users: string[]; pairs: Pair[] }) {
    this.tenant = options.tenant;
    this.#users = options.users;
    this.#pairs = options.pairs;
  }

  static async load(connection: Connection, tenant: string): Promise<Holdings> {
    const ids = async (sql: string): Promise<string[][]> =>
      (await connection.query(sql, [tenant]))[0] as unknown as string[][];
    const users = await ids("SELECT id FROM users WHERE tenant_id = ?");
    const invoices = await ids("SELECT id, order_id FROM invoices WHERE tenant_id = ?");
    return new Holdings({
      tenant,
      users: users.map(([id = ""]) => id),
      pairs: invoices.map(([invoice = "", order = ""]) => ({ invoice, order })),
    });
  }

  takeUser(random: Random): string | undefined {
    return take(this.#users, random);
  }
  takePair(random: Random): Pair | undefined {
    return take(this.#pairs, random);
  }
  takeLoose(random: Random): LooseUser | undefined {
    return take(this.#loose, random);
  }
  giveUser(id: string): void {
    this.#users.push(id);
  }
  givePair(pair: Pair): void {
    this.#pairs.push(pair);
  }
  giveLoose(user: LooseUser): void {
    this.#loose.push(user);
  }
  sizes(): Readonly<Record<TableName, number>> {
    return { users: this.#users.length, orders: this.#pairs.length, invoices: this.#pairs.length };
  }
}

function take<T>(items: T[], random: Random): T | undefined {
  const last = items.pop();
  if (last === undefined) return undefined;
  const index = random.integer(items.length + 1);
  const found = items[index];
  if (found === undefined) return last;
  items[index] = last;
  return found;
}
