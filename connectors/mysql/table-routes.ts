import { type DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { BinlogEvent } from "./binlog-events.ts";
import type { LaneCursor } from "./lane-cursor.ts";
import { buildPlan, type RowPlan } from "./row-decoder.ts";
import { readTableMap, readTableMapName, type TableMap } from "./table-map.ts";
import { type TableSpec, tableSpec, tenantColumn } from "./table-spec.ts";
import { canonicalTenant, tenantText } from "./tenant-key.ts";

/** Lanes that hold the same definition of one table: rows are cut once for all of them. */
export type RouteGroup = {
  readonly id: string;
  readonly spec: TableSpec;
  /** By the tenant's canonical bytes, a character a byte (T1). */
  readonly tenants: ReadonlyMap<string, readonly LaneCursor[]>;
  /** How the table's rows are cut; or why they cannot be: the table is not what these lanes began with. */
  readonly plan: RowPlan | DrayError;
};

export type KnownTable =
  | { readonly kind: "foreign" }
  | { readonly kind: "dray"; readonly map: TableMap }
  | { readonly kind: "covered"; readonly groups: readonly RouteGroup[] };

type Route = { readonly id: string; readonly spec: TableSpec; readonly tenants: Map<string, LaneCursor[]> };

const FOREIGN: KnownTable = { kind: "foreign" };
const MOST_TABLES = 4096;

/** Which lanes a table's rows may belong to, and the tables that the stream has named so far. */
export class TableRoutes {
  readonly #draySchema: string;
  readonly #routes = new Map<string, Route[]>();
  /** By table id. The event's own bytes are kept: the same id with other bytes is another table. */
  readonly #known = new Map<number, { readonly event: BinlogEvent; readonly table: KnownTable }>();

  constructor(draySchema: string) {
    this.#draySchema = draySchema;
  }

  setLanes(lanes: Iterable<LaneCursor>): void {
    this.#routes.clear();
    for (const lane of lanes) {
      for (const table of lane.source.tables) this.#addRoute(lane, table.id, tableSpec(table));
    }
    for (const [id, { event }] of this.#known) this.#known.set(id, { event, table: this.#resolve(event) });
  }

  learn(event: BinlogEvent): void {
    const { bytes, start, end } = event;
    const id = bytes.readUIntLE(start, 6);
    const before = this.#known.get(id)?.event;
    if (before && bytes.compare(before.bytes, before.start, before.end, start, end) === 0) return;
    const kept = { ...event, bytes: Buffer.from(bytes.subarray(start, end)), start: 0, end: end - start };
    this.#known.set(id, { event: kept, table: this.#resolve(kept) });
  }

  known(tableId: number): KnownTable {
    const known = this.#known.get(tableId);
    if (!known) throw new RangeError(`rows of table ${tableId}, which no table map has named`);
    return known.table;
  }

  forgetTables(): void {
    this.#known.clear();
  }

  /** Between transactions only: inside one, every table named may still be needed. */
  trim(): void {
    if (this.#known.size > MOST_TABLES) this.#known.clear();
  }

  #addRoute(lane: LaneCursor, id: string, spec: TableSpec): void {
    const name = `${spec.schema}\0${spec.name}`;
    let routes = this.#routes.get(name);
    if (!routes) {
      routes = [];
      this.#routes.set(name, routes);
    }
    let route = routes.find((other) => other.id === id && sameSpec(other.spec, spec));
    if (!route) {
      route = { id, spec, tenants: new Map() };
      routes.push(route);
    }
    const tenant = tenantText(canonicalTenant(tenantColumn(spec), lane.source.tenant));
    route.tenants.set(tenant, [...(route.tenants.get(tenant) ?? []), lane]);
  }

  #resolve(event: BinlogEvent): KnownTable {
    const { schema, table } = readTableMapName(event);
    if (schema === this.#draySchema) return { kind: "dray", map: readTableMap(event) };
    const routes = this.#routes.get(`${schema}\0${table}`);
    if (!routes) return FOREIGN;
    const map = readTableMap(event);
    return { kind: "covered", groups: routes.map((route) => ({ ...route, plan: planOf(map, route.spec) })) };
  }
}

function planOf(map: TableMap, spec: TableSpec): RowPlan | DrayError {
  try {
    return buildPlan(spec, map);
  } catch (error) {
    if (isDrayError(error)) return error;
    throw error;
  }
}

/** Texts of specs that have been compared: thousands of moves may share one manifest's tables. */
const TEXTS = new WeakMap<TableSpec, string>();

function sameSpec(a: TableSpec, b: TableSpec): boolean {
  return a === b || specText(a) === specText(b);
}

function specText(spec: TableSpec): string {
  const text = TEXTS.get(spec) ?? JSON.stringify(spec);
  TEXTS.set(spec, text);
  return text;
}
