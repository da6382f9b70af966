import { createReadStream } from "node:fs";
import type { Connection } from "mysql2/promise";
import { type Cell, columnList, type TableName } from "./schema.ts";

/** One row as text: the JSON of its cells, which is equal if and only if every value is. */
export interface TextRow {
  readonly id: string;
  readonly text: string;
}

const PAGE_ROWS = 10_000;

export const cellsOf = (text: string): Cell[] => JSON.parse(text) as Cell[];

/** Whole numbers as decimal text, exact above 2^53 too. */
export function compareIds(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Every row of a table by id, in pages, each a statement of its own. */
export async function* readTable(connection: Connection, table: TableName): AsyncGenerator<TextRow[]> {
  let after = "0";
  for (let isFirst = true; ; isFirst = false) {
    const sql = `SELECT ${columnList(table)} FROM ${table} WHERE id ${isFirst ? ">=" : ">"} ${after} ORDER BY id LIMIT ${PAGE_ROWS}`;
    const [found] = await connection.query(sql);
    const rows = (found as unknown as Cell[][]).map((cells) => ({ id: cells[0] ?? "", text: JSON.stringify(cells) }));
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    after = last.id;
  }
}

export async function* readImage(path: string): AsyncGenerator<TextRow[]> {
  let rest = "";
  for await (const part of createReadStream(path, { encoding: "utf8", highWaterMark: 1024 * 1024 })) {
    const lines = (rest + part).split("\n");
    rest = lines.pop() ?? "";
    // A line is `["id",…`: its id is there without parsing it.
    if (lines.length > 0) yield lines.map((text) => ({ id: text.slice(2, text.indexOf('"', 2)), text }));
  }
  if (rest !== "") throw new Error(`${path} was cut off`);
}

/** Pages as one sequence with a look at the next row, so that several can be merged by id. */
export class RowCursor {
  readonly #pages: AsyncGenerator<TextRow[]>;
  #page: TextRow[] = [];
  #index = 0;
  #isDone = false;
  constructor(options: { readonly pages: AsyncGenerator<TextRow[]> }) {
    this.#pages = options.pages;
  }
  /** True when `peek` and `takeIf` may be asked: a row is at hand, or there is none any more. */
  get isReady(): boolean {
    return this.#isDone || this.#index < this.#page.length;
  }
  async fill(): Promise<void> {
    while (!this.isReady) {
      const { done, value } = await this.#pages.next();
      if (done === true) this.#isDone = true;
      else [this.#page, this.#index] = [value, 0];
    }
  }
  peek(): TextRow | undefined {
    return this.#page[this.#index];
  }
  /** The row's text where the next row has this id. */
  takeIf(id: string): string | undefined {
    const row = this.#page[this.#index];
    if (row?.id !== id) return undefined;
    this.#index++;
    return row.text;
  }
}
