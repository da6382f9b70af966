import { Readable } from "node:stream";
import type { Connection } from "mysql2/promise";
import { connect, type ServerAddress } from "../demo/mysql.ts";
import { Random } from "../demo/random.ts";
import { COLUMNS, idOf, rowsOf, TABLES, type TableName } from "./schema.ts";

const STATUSES = ["new", "paid", "sent", "void"];
const WORDS = "north harbour crate pallet customs freight berth manifest tonnage ballast quay ledger consignment".split(
  " ",
);
const HEX = "0123456789abcdef";
const BATCH_ROWS = 20_000;

/** About 250 bytes; plain ASCII without quotes, tabs or backslashes outside of the JSON, so that it fits SQL and text. */
export interface RowValues {
  readonly customer: string;
  readonly email: string | null;
  readonly status: string;
  readonly amount: string;
  readonly qty: number;
  readonly created: string;
  readonly updated: string;
  readonly note: string;
  readonly flags: string;
  readonly ref: string;
}

export class RowMaker {
  readonly #random: Random;
  constructor(options: { readonly seed: number }) {
    this.#random = new Random(options);
  }
  get random(): Random {
    return this.#random;
  }
  note(): string {
    let text = this.#random.pick(WORDS);
    while (text.length < 76) text += ` ${this.#random.pick(WORDS)}`;
    return text;
  }
  amount(): string {
    return `${this.#random.integer(100_000)}.${two(this.#random.integer(100))}`;
  }
  status(): string {
    return this.#random.pick(STATUSES);
  }
  values(): RowValues {
    const random = this.#random;
    const name = `${random.pick(WORDS)} ${random.integer(1_000_000)}`;
    const date = `2026-${two(1 + random.integer(12))}-${two(1 + random.integer(28))}`;
    const time = `${two(random.integer(24))}:${two(random.integer(60))}:${two(random.integer(60))}`;
    return {
      customer: name,
      email: random.integer(10) === 0 ? null : `${name.replace(" ", ".")}@example.org`,
      status: this.status(),
      amount: this.amount(),
      qty: random.integer(1_000),
      created: `${date} ${time}.${String(random.integer(1_000_000)).padStart(6, "0")}`,
      updated: `${date} ${time}`,
      note: this.note(),
      flags: `{"src": "web", "vip": ${random.integer(2) === 0}, "tries": ${random.integer(9)}}`,
      ref: this.#ref(),
    };
  }
  #ref(): string {
    let text = "";
    for (let i = 0; i < 36; i++)
      text += i === 8 || i === 13 || i === 18 || i === 23 ? "-" : HEX[this.#random.integer(16)];
    return text;
  }
}

const two = (value: number): string => (value < 10 ? `0${value}` : String(value));

/** Rows of a table, each tenant's spread evenly over it; the same seed gives the same rows. */
export async function seedTables(options: {
  readonly address: ServerAddress;
  readonly rows: number;
  /** Their rows follow each other in turns. */
  readonly tenants: number;
  readonly seed: number;
}): Promise<void> {
  const { address, rows, tenants, seed } = options;
  await Promise.all(
    TABLES.map(async (table, place) => {
      const connection = await connect(address);
      const maker = new RowMaker({ seed: seed + place });
      try {
        const count = rowsOf(table, rows);
        for (let from = 0; from < count; from += BATCH_ROWS) {
          await load(connection, table, batch(maker, { from, to: Math.min(from + BATCH_ROWS, count), tenants }));
        }
        await connection.query(`ANALYZE TABLE ${table}`);
      } finally {
        await connection.end();
      }
    }),
  );
}

function batch(maker: RowMaker, range: { from: number; to: number; tenants: number }): Buffer {
  let text = "";
  for (let index = range.from; index < range.to; index++) {
    const v = maker.values();
    text += `${idOf(index)}\t${1 + (index % range.tenants)}\t${v.customer}\t${v.email ?? "\\N"}\t${v.status}\t${v.amount}\t${v.qty}\t`;
    text += `${v.created}\t${v.updated}\t${v.note}\t${v.flags}\t${v.ref}\n`;
  }
  return Buffer.from(text);
}

async function load(connection: Connection, table: TableName, text: Buffer): Promise<void> {
  await connection.query({
    sql: `LOAD DATA LOCAL INFILE 'rows' INTO TABLE ${table} CHARACTER SET utf8mb4 (${COLUMNS.join(", ")})`,
    infileStreamFactory: () => Readable.from([text]),
  });
}
