import type { Connection, ResultSetHeader } from "mysql2/promise";
import type { Effect, Ledger, RowRef, RowState, Side } from "./ledger.ts";
import type { Random } from "./random.ts";
import { KEYS, quoted, type WorldTable } from "./tables.ts";

/** One transaction of one worker, at the side where its tenants live. It changes only rows that the worker owns. */
export type Transaction = {
  readonly connection: Connection;
  readonly schema: string;
  readonly side: Side;
  readonly worker: number;
  readonly tenant: string;
  /** Another tenant that may be written at the same side; null where there is none. */
  readonly other: string | null;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly nextStamp: () => number;
};

type Row = RowState & RowRef;
export type Operation = (tx: Transaction, effects: Effect[]) => Promise<void>;

const JSONS = [
  "null",
  "3",
  "3.0",
  "-0.125",
  "12345678901234567890",
  '{"a": [1, 2.50, "x\\"y"], "ü": "\\u0000 \\\\ \\n"}',
  '["😀", {"deep": {"er": [null, true, false]}}]',
  '"text"',
];
const NOTES = [
  null,
  "",
  "it's",
  "back\\slash",
  "a\0b\x1a",
  "line\r\nbreak\t",
  "ünï😀",
  "x".repeat(3000),
  "  trailing  ",
];
const AMOUNTS = [null, "0.000", "-99999999999.999", "12345678901.5", "0.001", "-0.500"];
const MOMENTS = ["2024-02-29 12:34:56.789012", "1000-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"];
const UPDATED = [null, "1970-01-01 00:00:01", "2038-01-19 03:14:07", "2026-03-29 02:30:00"];
/** Few, so that values change hands all the time; workers compete for them. */
const NAMES = 12;

/** What an operation may touch: the ledger, with what this transaction did already on top. */
function mine(tx: Transaction, effects: readonly Effect[], table: WorldTable): Row[] {
  const rows = new Map(tx.ledger.owned(tx.worker, tx.side, tx.tenant, table).map((row) => [row.key, row]));
  for (const { side, table: changed, key, state } of effects) {
    if (side !== tx.side || changed !== table) continue;
    if (state === null || state.tenant !== tx.tenant) rows.delete(key);
    else rows.set(key, { ...state, side, table, key });
  }
  return [...rows.values()];
}

function effect(tx: Transaction, table: WorldTable, key: string, stamp: number | null, tenant = tx.tenant): Effect {
  const state = stamp === null ? null : { tenant, stamp, worker: tx.worker };
  return { side: tx.side, table, key, state };
}

async function run(tx: Transaction, sql: string, values: unknown[]): Promise<ResultSetHeader> {
  const [result] = await tx.connection.query(sql.replaceAll("{s}", tx.schema), values);
  return result as ResultSetHeader;
}

function where(table: WorldTable): string {
  return KEYS[table].map((column) => `${column} = ?`).join(" AND ");
}

function keyValues({ key }: { readonly key: string }): string[] {
  return key.split("|");
}

const insertOrder: Operation = async (tx, effects) => {
  const { random } = tx;
  const stamp = tx.nextStamp();
  const { insertId } = await run(
    tx,
    `INSERT INTO {s}.orders (tenant_id, customer, status, amount, qty, created, updated, note, flags, digest, stamp)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS JSON), UNHEX(?), ?)`,
    [
      tx.tenant,
      `c${stamp}`,
      random.pick(["new", "paid", "sent", "void"]),
      random.pick(AMOUNTS),
      random.below(4_294_967_295),
      random.pick(MOMENTS),
      random.pick(UPDATED),
      random.pick(NOTES),
      random.pick([null, ...JSONS]),
      random.pick([null, "", "00ff00", "2020200a"]),
      stamp,
    ],
  );
  effects.push(effect(tx, "orders", String(insertId), stamp));
};

const insertHandle: Operation = async (tx, effects) => {
  const stamp = tx.nextStamp();
  // Names of two tenants differ in more than case, or no two servers could ever be joined.
  const name = `${Buffer.from(tx.tenant).toString("hex")}-${tx.random.below(NAMES)}`;
  const { insertId } = await run(tx, "INSERT INTO {s}.handles (tenant_id, name, stamp) VALUES (?, ?, ?)", [
    tx.tenant,
    name,
    stamp,
  ]);
  effects.push(effect(tx, "handles", String(insertId), stamp));
};

const insertDocument: Operation = async (tx, effects) => {
  const stamp = tx.nextStamp();
  const code = `${tx.side}${tx.worker}-Doc-${stamp}`;
  await run(tx, "INSERT INTO {s}.documents (code, tenant_id, body, stamp) VALUES (?, ?, ?, ?)", [
    code,
    tx.tenant,
    tx.random.pick(NOTES),
    stamp,
  ]);
  effects.push(effect(tx, "documents", code, stamp));
};

const insertLines: Operation = async (tx, effects) => {
  const orderNo = tx.nextStamp();
  for (let line = 0; line <= tx.random.below(3); line++) {
    const stamp = tx.nextStamp();
    await run(tx, "INSERT INTO {s}.`lines` VALUES (?, ?, ?, ?, ?)", [tx.tenant, orderNo, line - 1, "1.25", stamp]);
    effects.push(effect(tx, "lines", `${tx.tenant}|${orderNo}|${line - 1}`, stamp));
  }
};

const update: Operation = async (tx, effects) => {
  const table = tx.random.pick(["orders", "documents", "lines", "orders"] as const);
  const row = pickRow(tx, effects, table);
  if (row === null) return;
  const stamp = tx.nextStamp();
  const set: Record<typeof table, string> = {
    orders: "qty = qty ^ 1, flags = JSON_SET(COALESCE(flags, JSON_OBJECT()), '$.n', stamp), note = CONCAT('n', stamp)",
    documents: "body = CONCAT(COALESCE(LEFT(body, 50), ''), 'é')",
    lines: "price = price + 0.01",
  };
  await run(tx, `UPDATE {s}.${quoted(table)} SET ${set[table]}, stamp = ? WHERE ${where(table)}`, [
    stamp,
    ...keyValues(row),
  ]);
  effects.push(effect(tx, table, row.key, stamp));
};

const remove: Operation = async (tx, effects) => {
  const table = tx.random.pick(["orders", "handles", "documents", "lines"] as const);
  const row = pickRow(tx, effects, table);
  if (row === null) return;
  await run(tx, `DELETE FROM {s}.${quoted(table)} WHERE ${where(table)}`, keyValues(row));
  effects.push(effect(tx, table, row.key, null));
};

/** An update that changes a key is a delete and an insert (W3); a code that differs in case only is one key to MySQL. */
const changeKey: Operation = async (tx, effects) => {
  const table = tx.random.pick(["documents", "documents", "lines", "orders"] as const);
  const row = pickRow(tx, effects, table);
  if (row === null) return;
  const stamp = tx.nextStamp();
  const [first = "", second = "", third = ""] = keyValues(row);
  const flipped = first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase();
  // As the servers give them out: odd ids at one, even ids at the other.
  const orderId = String(4_000_000_000 + 2 * stamp + (tx.side === "a" ? 1 : 0));
  const changed: Record<typeof table, readonly [string, unknown[], string]> = {
    documents: ["code = ?", [flipped], flipped],
    lines: ["line_no = ?", [Number(third) + 1000], `${first}|${second}|${Number(third) + 1000}`],
    orders: ["id = ?", [orderId], orderId],
  };
  const [set, values, key] = changed[table];
  await run(tx, `UPDATE {s}.${quoted(table)} SET ${set}, stamp = ? WHERE ${where(table)}`, [
    ...values,
    stamp,
    ...keyValues(row),
  ]);
  effects.push(effect(tx, table, row.key, null), effect(tx, table, key, stamp));
};

/** A unique value leaves one row and is another's in the same transaction. */
const handOver: Operation = async (tx, effects) => {
  const rows = mine(tx, effects, "handles");
  if (rows.length < 2) return await insertHandle(tx, effects);
  const [from, to] = [rows[0] as Row, rows[1] as Row];
  const [found] = (await tx.connection.query(`SELECT name FROM ${tx.schema}.handles WHERE id = ?`, [from.key])) as [
    { name: string }[],
    unknown,
  ];
  const name = found[0]?.name ?? "gone";
  const [first, second] = [tx.nextStamp(), tx.nextStamp()];
  if (tx.random.chance(0.3)) {
    // REPLACE meets the unique key: one row goes, another comes with a new id.
    const { insertId } = await run(tx, "REPLACE INTO {s}.handles (tenant_id, name, stamp) VALUES (?, ?, ?)", [
      tx.tenant,
      name,
      first,
    ]);
    effects.push(effect(tx, "handles", from.key, null), effect(tx, "handles", String(insertId), first));
    return;
  }
  if (tx.random.chance(0.5)) {
    await run(tx, "DELETE FROM {s}.handles WHERE id = ?", [from.key]);
    effects.push(effect(tx, "handles", from.key, null));
  } else {
    await run(tx, "UPDATE {s}.handles SET name = ?, stamp = ? WHERE id = ?", [`free-${first}`, first, from.key]);
    effects.push(effect(tx, "handles", from.key, first));
  }
  await run(tx, "UPDATE {s}.handles SET name = ?, stamp = ? WHERE id = ?", [name, second, to.key]);
  effects.push(effect(tx, "handles", to.key, second));
};

/** Two rows exchange their unique values, over a third one. */
const swap: Operation = async (tx, effects) => {
  const rows = mine(tx, effects, "handles");
  if (rows.length < 2) return await insertHandle(tx, effects);
  const [one, two] = [rows[0] as Row, rows.at(-1) as Row];
  const [found] = (await tx.connection.query(
    `SELECT name FROM ${tx.schema}.handles WHERE id IN (?, ?) ORDER BY id = ? DESC`,
    [one.key, two.key, one.key],
  )) as [{ name: string }[], unknown];
  const names = found.map(({ name }) => name);
  if (names.length < 2) return;
  const [first, second] = [tx.nextStamp(), tx.nextStamp()];
  await run(tx, "UPDATE {s}.handles SET name = ? WHERE id = ?", [`swap-${first}`, one.key]);
  await run(tx, "UPDATE {s}.handles SET name = ?, stamp = ? WHERE id = ?", [names[0], second, two.key]);
  await run(tx, "UPDATE {s}.handles SET name = ?, stamp = ? WHERE id = ?", [names[1], first, one.key]);
  effects.push(effect(tx, "handles", one.key, first), effect(tx, "handles", two.key, second));
};

/** A row of one tenant becomes another's. */
const changeTenant: Operation = async (tx, effects) => {
  if (tx.other === null) return;
  const table = tx.random.pick(["orders", "handles", "documents", "lines"] as const);
  const row = pickRow(tx, effects, table);
  if (row === null) return;
  const stamp = tx.nextStamp();
  // Under its old name it would be in the way of the one who gave it, where that one takes the name again elsewhere (C9).
  const renamed = table === "handles" ? ", name = CONCAT('given-', stamp)" : "";
  await run(tx, `UPDATE {s}.${quoted(table)} SET tenant_id = ?, stamp = ?${renamed} WHERE ${where(table)}`, [
    tx.other,
    stamp,
    ...keyValues(row),
  ]);
  const key = table === "lines" ? `${tx.other}|${row.key.split("|").slice(1).join("|")}` : row.key;
  if (key !== row.key) effects.push(effect(tx, table, row.key, null));
  effects.push(effect(tx, table, key, stamp, tx.other));
};

const updateRoot: Operation = async (tx, effects) => {
  const row = pickRow(tx, effects, "tenants");
  if (row === null) return;
  const stamp = tx.nextStamp();
  await run(tx, "UPDATE {s}.tenants SET plan = ?, settings = CAST(? AS JSON), stamp = ? WHERE id = ?", [
    `p${stamp}`,
    tx.random.pick(JSONS),
    stamp,
    row.key,
  ]);
  effects.push(effect(tx, "tenants", row.key, stamp));
};

function pickRow(tx: Transaction, effects: readonly Effect[], table: WorldTable): Row | null {
  const rows = mine(tx, effects, table);
  return rows.length === 0 ? null : tx.random.pick(rows);
}

/** Weighted by repetition. */
export const OPERATIONS: readonly Operation[] = [
  insertOrder,
  insertOrder,
  insertHandle,
  insertDocument,
  insertLines,
  update,
  update,
  update,
  remove,
  changeKey,
  handOver,
  swap,
  changeTenant,
  updateRoot,
];

/** One transaction of many rows: inserted, half of them changed, a tenth of them deleted again. Owned by nobody. */
export async function largeTransaction(tx: Transaction, rows: number): Promise<Effect[]> {
  const orderNo = tx.nextStamp();
  await run(tx, "SET SESSION cte_max_recursion_depth = 10000000", []);
  await run(
    tx,
    `INSERT INTO {s}.\`lines\` WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?)
     SELECT ?, ?, n, n / 7, n FROM s`,
    [rows, tx.tenant, orderNo],
  );
  const own = "tenant_id = ? AND order_no = ?";
  await run(tx, `UPDATE {s}.\`lines\` SET stamp = -line_no WHERE ${own} AND line_no % 2 = 0`, [tx.tenant, orderNo]);
  await run(tx, `DELETE FROM {s}.\`lines\` WHERE ${own} AND line_no % 10 = 0`, [tx.tenant, orderNo]);
  const effects: Effect[] = [];
  for (let n = 1; n <= rows; n++) {
    if (n % 10 === 0) continue;
    const state = { tenant: tx.tenant, stamp: n % 2 === 0 ? -n : n, worker: -1 };
    effects.push({ side: tx.side, table: "lines", key: `${tx.tenant}|${orderNo}|${n}`, state });
  }
  return effects;
}
