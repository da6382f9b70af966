import { Readable } from "node:stream";
import { connect, type ServerAddress } from "./mysql.ts";
import { Random } from "./random.ts";
import {
  type Cell,
  columnList,
  createSchema,
  ID_OFFSET,
  ID_STEP,
  type Side,
  SOURCE_TENANTS,
  TABLES,
  TARGET_TENANTS,
  type TableName,
} from "./schema.ts";
import * as values from "./values.ts";

/** Of ten source rows in a row six are the first tenant's, and one each of the four others'. */
const SOURCE_PATTERN = [0, 1, 0, 2, 0, 3, 0, 4, 0, 0];
const TARGET_PATTERN = [0, 1, 2];
const TARGET_SHARE = 0.12;
const SHARE: Readonly<Record<TableName, number>> = { users: 0.1, orders: 0.5, invoices: 0.4 };
const BLOCK_BYTES = 512 * 1024;
export const MIN_ROWS = 1000;

/**
 * Makes the schema on one side and fills it: `rows` in all on the source, 12% of that on the target. Rows of the
 * tenants are interleaved by id, as in a real shared table. The same seed and rows give the same rows.
 */
export async function seedSide(options: {
  readonly address: ServerAddress;
  readonly side: Side;
  readonly rows: number;
  readonly seed: number;
}): Promise<{ readonly rows: number }> {
  const { address, side, seed } = options;
  if (options.rows < MIN_ROWS) throw new Error(`the demo needs at least ${MIN_ROWS} rows`);
  const admin = await connect(address, { inSchema: "not yet" });
  try {
    await createSchema(admin, address.schema);
  } finally {
    await admin.end();
  }
  const pattern = side === "source" ? SOURCE_PATTERN : TARGET_PATTERN;
  const total = side === "source" ? options.rows : Math.round(options.rows * TARGET_SHARE);
  const counts = tableCounts(total, pattern.length);
  const loads = TABLES.map(async (table) => {
    const loader = await connect(address);
    try {
      // Parents and children load side by side; the references are right once all are in.
      await loader.query("SET foreign_key_checks = 0, unique_checks = 0");
      const rows = new RowMaker({ side, table, seed, counts });
      const sent = counts[table];
      const [result] = await loader.query({
        sql: `LOAD DATA LOCAL INFILE 'rows' INTO TABLE ${table} CHARACTER SET utf8mb4 (${columnList(table)})`,
        infileStreamFactory: () => Readable.from(blocks(rows, sent), { objectMode: false }),
      });
      const { affectedRows, warningStatus } = result as { affectedRows: number; warningStatus: number };
      if (affectedRows !== sent || warningStatus !== 0) {
        throw new Error(`seeding ${side}.${table}: ${affectedRows} of ${sent} rows, ${warningStatus} warnings`);
      }
    } finally {
      loader.destroy();
    }
  });
  await Promise.all(loads);
  const analyst = await connect(address);
  try {
    // After a load in bulk the server's statistics, from which progress is estimated, are far off.
    await analyst.query(`ANALYZE TABLE ${TABLES.join(", ")}`);
  } finally {
    await analyst.end();
  }
  return { rows: TABLES.reduce((sum, table) => sum + counts[table], 0) };
}

function tableCounts(total: number, step: number): Record<TableName, number> {
  const whole = (share: number) => Math.max(1, Math.round((total * share) / step)) * step;
  const counts = { users: whole(SHARE.users), orders: whole(SHARE.orders), invoices: whole(SHARE.invoices) };
  return { ...counts, invoices: Math.min(counts.invoices, counts.orders) };
}

class RowMaker {
  readonly #side: Side;
  readonly #table: TableName;
  readonly #users: number;
  readonly #pattern: readonly number[];
  readonly #tenants: readonly string[];
  readonly #random: Random;

  constructor(options: { side: Side; table: TableName; seed: number; counts: Record<TableName, number> }) {
    this.#side = options.side;
    this.#table = options.table;
    this.#users = options.counts.users;
    this.#pattern = options.side === "source" ? SOURCE_PATTERN : TARGET_PATTERN;
    this.#tenants = options.side === "source" ? SOURCE_TENANTS : TARGET_TENANTS;
    const salt = TABLES.indexOf(options.table) * 2 + (options.side === "source" ? 0 : 1);
    this.#random = new Random({ seed: options.seed * 31 + salt * 0x9e37 });
  }

  row(index: number): Cell[] {
    const random = this.#random;
    const slot = index % this.#pattern.length;
    const tenant = this.#tenants[this.#pattern[slot] ?? 0] ?? "";
    const head = [String(this.#id(index)), tenant];
    const rev = "1";
    switch (this.#table) {
      case "users":
        return [
          ...head,
          `u${index}@${tenant}.example`,
          values.userName(random),
          values.plan(random),
          values.money(random),
          String(random.integer(5000)),
          values.settings(random),
          values.moment(random, "micros"),
          random.integer(5) === 0 ? null : values.moment(random, "seconds"),
          rev,
        ];
      case "orders": {
        const step = this.#pattern.length;
        const user = random.integer(this.#users / step) * step + slot; // of the same tenant
        return [
          ...head,
          String(this.#id(user)),
          random.pick(["new", "paid", "shipped", "cancelled"]),
          values.money(random),
          String(1 + random.integer(20)),
          values.note(random),
          values.moment(random, "micros"),
          random.integer(3) === 0 ? null : values.moment(random, "seconds"),
          rev,
        ];
      }
      case "invoices":
        return [
          ...head,
          String(this.#id(index)), // the order of the same number
          `INV-${index}`,
          random.pick(["open", "paid", "void"]),
          values.money(random),
          values.invoiceLines(random),
          values.day(random),
          random.integer(2) === 0 ? null : values.moment(random, "micros"),
          rev,
        ];
    }
  }

  #id(index: number): number {
    return index * ID_STEP + ID_OFFSET[this.#side];
  }
}

function* blocks(maker: RowMaker, count: number): Generator<Buffer> {
  let text = "";
  for (let index = 0; index < count; index++) {
    text += `${maker.row(index).map(field).join("\t")}\n`;
    if (text.length >= BLOCK_BYTES) {
      yield Buffer.from(text);
      text = "";
    }
  }
  if (text !== "") yield Buffer.from(text);
}

function field(value: Cell): string {
  if (value === null) return "\\N";
  return /[\\\t\n]/.test(value)
    ? value.replaceAll("\\", "\\\\").replaceAll("\t", "\\t").replaceAll("\n", "\\n")
    : value;
}
