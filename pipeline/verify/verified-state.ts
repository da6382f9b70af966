import { Packr } from "msgpackr";
import type { Coverage } from "../coverage.ts";
import type { EntryHeader, LogAnchor } from "../entry.ts";
import { DrayError } from "../errors.ts";
import type { CoveredTable } from "../source.ts";
import { type TableState, VerifiedTable } from "./verified-table.ts";

const VERSION = 1;
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

type Stored = {
  readonly version: number;
  readonly anchor: LogAnchor;
  readonly server: string;
  readonly tables: readonly TableState[];
};

/** As it was read; without changes where its body is lost. */
export type FoldedEntry = {
  readonly header: EntryHeader;
  readonly anchor: LogAnchor;
  readonly changes: readonly { readonly table: string }[];
  /** Of the changes, as text. */
  readonly keys: readonly string[];
};

/**
 * V2: what is verified of a lane, as a fold of its log: entries are taken in order and once, comparisons when they end.
 * It may be kept with the place up to which it was folded, and folded on from there.
 */
export class VerifiedState {
  readonly #tables: ReadonlyMap<string, VerifiedTable>;
  readonly #covered: readonly CoveredTable[];
  #anchor: LogAnchor | null = null;
  /** The target that was compared with. */
  #server: string | null = null;

  constructor(options: { readonly tables: readonly CoveredTable[]; readonly dirtyCap?: number }) {
    const cap = options.dirtyCap === undefined ? {} : { cap: options.dirtyCap };
    this.#covered = options.tables;
    this.#tables = new Map(
      options.tables.map(({ id, ordered }) => [id, new VerifiedTable({ id, ordered, pass: -1, ...cap })]),
    );
  }

  /** The last entry that was taken; null before the first. */
  get anchor(): LogAnchor | null {
    return this.#anchor;
  }

  get tables(): readonly VerifiedTable[] {
    return [...this.#tables.values()];
  }

  table(id: string): VerifiedTable {
    const table = this.#tables.get(id);
    if (table === undefined) throw new DrayError("TABLE_UNKNOWN", { table: id });
    return table;
  }

  /** Where the lane's target is another server than was compared with, nothing is known of it. */
  comparesWith(server: string): void {
    if (this.#server !== null && this.#server !== server) this.reset();
    this.#server = server;
  }

  /** Nothing is known any more, but the entries of the log that come next. */
  reset(): void {
    for (const table of this.#tables.values()) table.reset(table.pass);
    this.#anchor = null;
  }

  /** Nothing is known of what came before; what comes behind this entry is folded. */
  startAt(anchor: LogAnchor | null): void {
    this.reset();
    this.#anchor = anchor;
  }

  /** An entry in its order. One that was folded before is passed over. */
  take({ header, anchor, changes, keys }: FoldedEntry): void {
    const last = this.#anchor;
    if (last !== null && anchor.seq <= last.seq) {
      // L7: the log lost its tail, and another writer has used the seqs again.
      if (anchor.seq === last.seq && anchor.nonce !== last.nonce) this.startAt(anchor);
      return;
    }
    this.#followPasses(header.coverage);
    const { detail } = header;
    if (detail.kind === "changes") {
      if (changes.length === 0) for (const id of Object.keys(detail.tables)) this.#loseTrack(id);
      for (const [i, { table }] of changes.entries()) this.table(table).changed(keys[i] ?? "", header.seq);
    } else if (detail.kind === "chunk") {
      // A repair: what it wrote is compared again.
      this.table(detail.range.table).forget(detail.range);
    }
    this.#anchor = anchor;
  }

  /** Everything needed to go on from here in another process; null before the first entry. */
  pack(): Uint8Array | null {
    if (this.#anchor === null || this.#server === null) return null;
    const tables = this.tables.map((table) => table.state());
    const stored: Stored = { version: VERSION, anchor: this.#anchor, server: this.#server, tables };
    return packr.pack(stored);
  }

  /** False where the bytes are of no use: of another version, or of other tables. Throws on damaged bytes. */
  unpack(bytes: Uint8Array): boolean {
    const stored = packr.unpack(bytes) as Partial<Stored> | null;
    if (stored?.version !== VERSION || !stored.anchor || !stored.server || !stored.tables) return false;
    const same =
      stored.tables.length === this.#covered.length && stored.tables.every(({ table }) => this.#tables.has(table));
    if (!same) return false;
    for (const table of stored.tables) this.table(table.table).restore(table);
    this.#anchor = stored.anchor;
    this.#server = stored.server;
    return true;
  }

  #followPasses({ tables }: Coverage): void {
    for (const { table, pass } of tables) {
      const known = this.table(table);
      if (known.pass !== pass) known.reset(pass);
    }
  }

  #loseTrack(id: string): void {
    const table = this.table(id);
    table.reset(table.pass);
  }
}
