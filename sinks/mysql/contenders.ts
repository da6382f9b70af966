import type { MysqlSession } from "../../connectors/mysql/client.ts";
import { quoteIdentifier } from "../../connectors/mysql/identifier.ts";
import type { CanonicalRow } from "../../connectors/mysql/row-codec.ts";
import { type ColumnSpec, type TableSpec, tenantColumn } from "../../connectors/mysql/table-spec.ts";
import { canonicalTenant } from "../../connectors/mysql/tenant-key.ts";
import { comparableParameter, selectExpression } from "../../connectors/mysql/values.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { LaneTarget } from "../sink.ts";
import { isConstant } from "./guard.ts";
import type { KnownLane, LaneBook } from "./lane-book.ts";
import type { Bytes, TableStatements } from "./table-statements.ts";

/** What a change or a chunk's row met. */
export type InTheWay =
  /** No row of another tenant, or one that has gone meanwhile. */
  | { readonly kind: "nothing" }
  /** A row that no lane into this server has brought: nothing that Drayage does will take it away. */
  | { readonly kind: "settled" }
  | { readonly kind: "moving"; readonly lane: KnownLane };

/** A8: whether the row that the guard met is one of another move into this server. */
export class Contenders {
  readonly #target: LaneTarget;
  readonly #book: LaneBook;

  constructor(options: { readonly target: LaneTarget; readonly book: LaneBook }) {
    this.#target = options.target;
    this.#book = options.book;
  }

  /** `by`: a delete meets rows under its key alone, an upsert under any unique value too. */
  async inTheWay(
    session: MysqlSession,
    table: TableStatements,
    row: CanonicalRow,
    by: "key" | "any unique value",
    signal: AbortSignal,
  ): Promise<InTheWay> {
    const owners = await this.#owners(session, table, row, by, signal);
    if (owners.length === 0) return { kind: "nothing" };
    const lanes = await this.#book.others(session, this.#target.lane, table.spec, signal);
    const found = owners.map((owner) => lanes.find((lane) => owner === tenantHex(table.spec, lane.tenant)));
    // One row that stays is enough to be stopped for good, so the worst of them counts.
    const settled = found.includes(undefined);
    const moving = found.find((lane) => lane?.state === "arrived") ?? found[0];
    return settled || !moving ? { kind: "settled" } : { kind: "moving", lane: moving };
  }

  /** The tenants, in hex, of the other tenants' rows that hold one of the row's unique values. */
  async #owners(
    session: MysqlSession,
    { spec, columns, table }: TableStatements,
    row: CanonicalRow,
    by: "key" | "any unique value",
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const indexes = [spec.primaryKey, ...(by === "key" ? [] : spec.uniqueIndexes.map((index) => index.columns))];
    const alternatives: string[] = [];
    const parameters: Bytes[] = [];
    for (const index of indexes) {
      const places = index.map((name) => columns.findIndex((column) => column.name === name));
      // Of a generated column, or part of an expression, the value is not known here; NULL meets nobody.
      if (places.some((at) => at === -1 || row[at] === null || row[at] === undefined)) continue;
      const equal = places.map((at) => {
        const column = columns[at] as ColumnSpec;
        return `t.${quoteIdentifier(column.name)} = ${comparableParameter(column)}`;
      });
      alternatives.push(`(${equal.join(" AND ")})`);
      parameters.push(...places.map((at) => row[at] ?? null));
    }
    if (alternatives.length === 0) return [];
    const owner = tenantColumn(spec);
    const own = isConstant(owner, `t.${quoteIdentifier(owner.name)}`, canonicalTenant(owner, this.#target.tenant));
    const sql =
      `SELECT HEX(CAST(${selectExpression(owner)} AS BINARY)) AS owner FROM ${table} AS t ` +
      `WHERE (${alternatives.join(" OR ")}) AND NOT (${own})`;
    return (await session.executeQuery(sql, parameters, signal)).map(({ owner: hex }) => (hex ?? "").toLowerCase());
  }
}

/** Null where the key cannot be a value of the column, so that none of its rows is this tenant's. */
function tenantHex(spec: TableSpec, tenant: string): string | null {
  try {
    return Buffer.from(canonicalTenant(tenantColumn(spec), tenant)).toString("hex");
  } catch (error) {
    if (isDrayError(error, "TENANT_KEY_INVALID")) return null;
    throw error;
  }
}
