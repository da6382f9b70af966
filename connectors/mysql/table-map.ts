import { type BinlogEvent, EVENT } from "./binlog-events.ts";

/** What a TABLE_MAP event says of the table that later rows events name by number. Its bytes are copies. */
export type TableMap = {
  readonly tableId: number;
  readonly schema: string;
  readonly table: string;
  readonly columnCount: number;
  /** One type code a column. */
  readonly types: Uint8Array;
  /** The types' own metadata, as many bytes a column as its type has. */
  readonly metadata: Uint8Array;
  /** Set bits are nullable columns. */
  readonly nullable: Uint8Array;
  /** Tag, length, value: signedness, character sets, names, labels. */
  readonly optional: Uint8Array;
};

/** A rows event up to its rows. */
export type RowsHeader = {
  readonly op: "insert" | "update" | "delete";
  readonly tableId: number;
  readonly endsStatement: boolean;
  readonly columnCount: number;
  /** Where the bitmap of the columns that are present begins: of the only image, or of an update's before image. */
  readonly presentAt: number;
  /** Of an update's after image, else the same. */
  readonly presentAfterAt: number;
  readonly rowsAt: number;
};

/** The head alone: most table maps are of tables that nobody moves. */
export function readTableMapName({ bytes, start }: BinlogEvent): { tableId: number; schema: string; table: string } {
  const schemaLength = bytes[start + 8] ?? 0;
  const tableAt = start + 9 + schemaLength + 1;
  const tableLength = bytes[tableAt] ?? 0;
  return {
    tableId: bytes.readUIntLE(start, 6),
    schema: bytes.toString("utf8", start + 9, start + 9 + schemaLength),
    table: bytes.toString("utf8", tableAt + 1, tableAt + 1 + tableLength),
  };
}

export function readTableMap(event: BinlogEvent): TableMap {
  const { bytes, start, end } = event;
  const name = readTableMapName(event);
  const tableAt = start + 10 + (bytes[start + 8] ?? 0);
  const columns = readLength(bytes, tableAt + 2 + (bytes[tableAt] ?? 0));
  const metadata = readLength(bytes, columns.next + columns.value);
  const nullableAt = metadata.next + metadata.value;
  const optionalAt = nullableAt + ((columns.value + 7) >>> 3);
  if (optionalAt > end) throw new RangeError(`the table map of ${name.schema}.${name.table} ends too early`);
  return {
    ...name,
    columnCount: columns.value,
    types: Uint8Array.prototype.slice.call(bytes, columns.next, columns.next + columns.value),
    metadata: Uint8Array.prototype.slice.call(bytes, metadata.next, nullableAt),
    nullable: Uint8Array.prototype.slice.call(bytes, nullableAt, optionalAt),
    optional: Uint8Array.prototype.slice.call(bytes, optionalAt, end),
  };
}

export function readRowsHeader({ type, bytes, start }: BinlogEvent): RowsHeader {
  const version1 = type >= EVENT.writeRowsV1 && type <= EVENT.deleteRowsV1;
  const extra = version1 ? 0 : bytes.readUInt16LE(start + 8);
  const columns = readLength(bytes, start + 8 + extra);
  const bitmap = (columns.value + 7) >>> 3;
  const isUpdate = type === EVENT.updateRows || type === EVENT.updateRowsV1;
  const isInsert = type === EVENT.writeRows || type === EVENT.writeRowsV1;
  return {
    op: isUpdate ? "update" : isInsert ? "insert" : "delete",
    tableId: bytes.readUIntLE(start, 6),
    endsStatement: (bytes.readUInt16LE(start + 6) & 1) !== 0,
    columnCount: columns.value,
    presentAt: columns.next,
    presentAfterAt: isUpdate ? columns.next + bitmap : columns.next,
    rowsAt: columns.next + bitmap * (isUpdate ? 2 : 1),
  };
}

/** Whether every column is in both images: anything less is not a row (M8). */
export function isComplete(bytes: Buffer, { columnCount, presentAt, presentAfterAt }: RowsHeader): boolean {
  const full = columnCount >>> 3;
  const rest = (1 << (columnCount & 7)) - 1;
  for (const at of presentAt === presentAfterAt ? [presentAt] : [presentAt, presentAfterAt]) {
    for (let i = 0; i < full; i++) if (bytes[at + i] !== 0xff) return false;
    if (rest !== 0 && ((bytes[at + full] ?? 0) & rest) !== rest) return false;
  }
  return true;
}

/** MySQL's length-encoded number. */
export function readLength(bytes: Buffer, at: number): { readonly value: number; readonly next: number } {
  const head = bytes[at] ?? 0;
  if (head < 251) return { value: head, next: at + 1 };
  if (head === 252) return { value: bytes.readUInt16LE(at + 1), next: at + 3 };
  if (head === 253) return { value: bytes.readUIntLE(at + 1, 3), next: at + 4 };
  if (head === 254) return { value: Number(bytes.readBigUInt64LE(at + 1)), next: at + 9 };
  throw new RangeError(`no length at ${at}`);
}
